"""Downloads a GGUF file from Hugging Face (or the hub that ``HF_ENDPOINT`` names), with its digest checked.

A download that broke off goes on where it was. A file without a published SHA-256, or with another
one, is removed and refused (fails closed).
"""

from __future__ import annotations

import errno
import fcntl
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from .weights import Say, Seen, WeightsError, remember, remembered, sha256

PREFERRED = ("q4_k_m", "q4_k_s", "q4_0", "q5_k_m", "q5_k_s", "q6_k", "q8_0", "q3_k_m", "q2_k", "f16", "bf16")
"""Quantisations in the order of what is sensible on a small machine."""
_SHOWN = 12


class NoNetworkError(WeightsError):
    """The hub could not be reached."""


class Choice(NamedTuple):
    """One file of a repository."""

    name: str
    sha256: str
    size: int


def download(home: Path, model: str, say: Say) -> Path:
    """Fetch ``HF_REPO[:FILE]`` into ``home/weights`` and return its path. Raises WeightsError."""
    from huggingface_hub import errors  # noqa: PLC0415

    repository, _, file = model.partition(":")
    folder = home / "weights" / repository.replace("/", "--")
    try:
        chosen, found = _fetch(repository, file, folder, say)
    except errors.GatedRepoError:
        raise WeightsError(f"{repository} asks for an agreement: accept it there and set HF_TOKEN") from None
    except errors.RepositoryNotFoundError:
        raise WeightsError(
            f"{repository}: there is no such repository, or it is private (HF_TOKEN)"
        ) from None
    except (errors.OfflineModeIsEnabled, errors.HfHubHTTPError, _transport_error(), OSError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise WeightsError(f"{folder}: the disk is full") from None
        raise NoNetworkError(_brief(error)) from None
    _keep(home, model, found, chosen)
    return found


def _fetch(repository: str, file: str, folder: Path, say: Say) -> tuple[Choice, Path]:
    from huggingface_hub import HfApi, hf_hub_url  # noqa: PLC0415
    from huggingface_hub.file_download import http_get  # noqa: PLC0415
    from huggingface_hub.utils._headers import build_hf_headers  # noqa: PLC0415

    info = HfApi().model_info(repository, files_metadata=True, timeout=30)
    chosen = choose(repository, file, _choices(info.siblings or []))
    if not chosen.sha256:
        raise WeightsError(f"{repository}/{chosen.name} has no published digest: it is not taken")
    found = folder / Path(chosen.name).name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = folder / f"{chosen.sha256}.part"
    with part.open("ab") as target:
        fcntl.flock(target, fcntl.LOCK_EX)  # another start that fetches the same is waited for
        there = target.tell()
        say(f"downloading {repository}/{chosen.name} ({chosen.size / 1e6:,.0f} MB, {there / 1e6:,.0f} there)")
        if there != chosen.size:
            url = hf_hub_url(repository, chosen.name, revision=info.sha)
            if there > chosen.size:
                target.truncate(there := 0)
            http_get(
                url,
                target,
                resume_size=there,
                headers=build_hf_headers(),
                expected_size=chosen.size,
                displayed_filename=chosen.name,
            )
    _check(part, chosen)
    part.replace(found)
    return chosen, found


def choose(model: str, file: str, choices: list[Choice]) -> Choice:
    """The file that was named, or the most sensible one. Raises WeightsError that lists what there is."""
    usable = [
        one for one in choices if one.name.lower().endswith(".gguf") and "mmproj" not in one.name.lower()
    ]
    listed = ", ".join(one.name for one in usable[:_SHOWN]) + (", …" if len(usable) > _SHOWN else "")
    if not usable:
        raise WeightsError(f"{model}: the repository has no GGUF file; look for one with GGUF in its name")
    if file:
        for one in usable:
            if one.name == file:
                return one
        raise WeightsError(f"{model}: there is no file {file}; there are: {listed}")
    whole = [one for one in usable if "-of-0" not in one.name]
    for wanted in PREFERRED:
        for one in whole:
            if wanted in one.name.lower().replace("-", "_"):
                return one
    if len(whole) == 1:
        return whole[0]
    raise WeightsError(f"{model}: name one file, as {model}:FILE; there are: {listed}")


def _choices(siblings: list[Any]) -> list[Choice]:
    return [Choice(one.rfilename, one.lfs.sha256 if one.lfs else "", one.size or 0) for one in siblings]


def _check(file: Path, chosen: Choice) -> None:
    found = sha256(file)
    if not chosen.sha256 or found != chosen.sha256:
        file.unlink()
        wanted = chosen.sha256 or "none published"
        raise WeightsError(f"{chosen.name} has not the digest it should ({found}, not {wanted}): removed")


def _keep(home: Path, model: str, file: Path, chosen: Choice) -> None:
    checked, status = remembered(home), file.stat()
    checked.files[str(file)] = Seen(status.st_size, status.st_mtime_ns, chosen.sha256)
    checked.downloads[model] = str(file)
    remember(home, checked)


def _transport_error() -> type[Exception]:
    """What huggingface_hub's HTTP client raises: httpx or its successor, by the version."""
    from huggingface_hub import get_session  # noqa: PLC0415

    module = import_module(type(get_session()).__module__.partition(".")[0])
    error: type[Exception] = module.HTTPError
    return error


def _brief(error: Exception) -> str:
    """The first line, short."""
    text = str(error.__cause__ or error).strip().splitlines()
    return text[0][:160] if text else type(error).__name__
