"""Where documents come from: a folder, a file, an address, a git repository, an open API, the box, the
country pack.

Rule: what is fetched goes through the outbound guard: no private address is reached unless the operator
lists it, and redirects are followed only by asking the guard again. The git program is told the address
that the guard checked, and speaks nothing but http(s): no hooks, no submodules, no checkout, bounded in
size and time. From a folder only regular files are read, never through a link, never the service's own
data. Everything here fails closed with a SourceError, or leaves the file out with a reason.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from operator import attrgetter
from pathlib import Path, PurePosixPath
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

import httpx2

from moduai.knowledge import connectors, git
from moduai.knowledge.connectors import Keys
from moduai.knowledge.errors import SourceError
from moduai.knowledge.item import Item
from moduai.knowledge.readers import LIMITS, SUFFIXES
from moduai.knowledge.store import Collection, Source
from moduai.outbound import Guard, Network, OutboundError, client_options
from moduai.packs.choose import once
from moduai.packs.read import PackError, told, unread

MOST_ITEMS = 1_000_000
"""Files of one source."""
MOST_REDIRECTS = 3
FETCH_S = 120.0
"""Longest time between two pieces of what is fetched."""
_TYPES = {
    "text/html": ".html",
    "application/xhtml+xml": ".html",
    "text/markdown": ".md",
    "text/plain": ".txt",
    "application/pdf": ".pdf",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
    "application/hwp+zip": ".hwpx",
    "application/x-hwp": ".hwp",
    "application/jsonl": ".jsonl",
}
"""Media types of answers whose address has no suffix."""
NO_KEYS: Keys = {}
BOX = Path(__file__).with_name("box")


def kind_of(place: str) -> Source:
    """What somebody means who adds this. Raises SourceError."""
    if connectors.is_place(place):
        return "api"
    split = _split(place)
    if split.scheme in {"git+https", "git+http"}:
        return "git"
    if split.scheme in {"https", "http"}:
        repository = split.hostname in git.SITES and len(split.path.strip("/").split("/")) == 2
        return "git" if repository or split.path.endswith(".git") else "web"
    if "://" in place:
        raise SourceError("scheme", f"{split.scheme}:// is not read: give a path, or an http(s) address")
    path = Path(place)
    if path.is_dir():
        return "folder"
    if path.is_file():
        return "file"
    raise SourceError("not_there", f"there is no file or folder {place}")


def canonical(kind: Source, place: str) -> str:
    """The place as it is kept. Raises SourceError for an address that names a password or a key."""
    if kind in {"folder", "file"}:
        return str(Path(place).expanduser().resolve())
    if kind == "api":
        return str(connectors.place(place))
    address = place.removeprefix("git+")
    split = _split(address)
    if split.username is not None or split.password is not None:
        raise SourceError("secret", "an address with a name or password in it is not kept")
    if connectors.holds_key(split):
        raise SourceError("secret", "an address with a key in it is not kept: see modu knowledge add --help")
    if split.scheme not in {"https", "http"} or not split.hostname:
        raise SourceError("address", f"{place} is no address")
    return split._replace(fragment="").geturl()


def title_of(kind: Source, address: str) -> str:
    """A name for people, where they give none."""
    if kind in {"folder", "file"}:
        return Path(address).name or address
    if kind == "api":
        return address
    split = _split(address)
    last = unquote(split.path.rstrip("/").rpartition("/")[2]).removesuffix(".git")
    return f"{split.hostname} {last}".strip()


def described(place: str, name: str = "", licence: str = "", ministry: str = "") -> Collection:
    """The collection that somebody means who adds a place. Raises SourceError."""
    kind = kind_of(place)
    address = canonical(kind, place)
    return Collection(
        id="",
        name=name or title_of(kind, address),
        kind=kind,
        address=address,
        licence=licence or connectors.LICENCES.get(address.partition(":")[0], ""),
        ministry=ministry,
    )


@asynccontextmanager
async def opened(
    kind: Source, address: str, home: Path, private: Iterable[Network] = (), keys: Keys = NO_KEYS
) -> AsyncIterator[list[Item]]:
    """The items of a source, in the order of their keys. Raises SourceError, and so does reading one."""
    private = tuple(private)
    match kind:
        case "box":
            yield await asyncio.to_thread(_limited, folder(BOX))
        case "pack":
            yield await asyncio.to_thread(_packed, address, home)
        case "folder":
            yield await asyncio.to_thread(_limited, folder(_outside(Path(address), home), home))
        case "file":
            yield [_file(_outside(Path(address), home), Path(address).name)]
        case "web":
            yield [await _fetched(address, private)]
        case "git":
            async with git.cloned(address, private) as clone:
                paths = (path for path in clone.paths() if _wanted(path))
                yield _limited(Item(_key(p), _name(p), clone.address(p), clone.reader(p)) for p in paths)
        case "api":
            async with connectors.opened(address, keys, private) as items:
                yield _limited(items)


def _packed(use: str, home: Path) -> list[Item]:
    """The documents of a country pack, of one without a fault. Fails closed."""
    try:
        pack = once(use, home, unread)
    except PackError as error:
        raise SourceError("pack", f"the pack {use} cannot be used: {told(error.faults[0])}") from None
    return [Item(f"{one.language}/{one.name}", one.name, "", one.text.encode) for one in pack.documents]


def folder(root: Path, apart: Path | None = None) -> Iterator[Item]:
    """The documents below a folder, but not those in the folder ``apart``. Hidden files and links are not
    looked at.
    """
    if not root.is_dir():
        raise SourceError("not_there", f"there is no folder {root}")
    root, apart = root.resolve(), apart and apart.resolve()  # either may be named by a link
    for above, folders, names in os.walk(root, onerror=_unreadable):
        folders[:] = [name for name in folders if not name.startswith(".") and Path(above, name) != apart]
        for name in names:
            path = Path(above, name)
            if _wanted(name) and not path.is_symlink():
                yield _file(path, path.relative_to(root).as_posix())


def _unreadable(error: OSError) -> None:
    raise SourceError("not_readable", f"the folder {error.filename} cannot be read: {error.strerror}")


def _outside(path: Path, home: Path) -> Path:
    """The place itself, if it does not lie in the service's own folder. Fails closed."""
    if path.resolve().is_relative_to(home.resolve()):
        raise SourceError("own_data", "the service's own data is no document")
    return path


def _file(path: Path, name: str) -> Item:
    return Item(_key(name), _name(name), "", lambda: _regular(path))


def _regular(path: Path) -> bytes:
    """The bytes of a regular file. It is opened first and looked at then, so nothing can be put in its
    place in between. Fails closed.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise SourceError("no_file", "it is no regular file")
        data = file.read(LIMITS.bytes + 1)
    if len(data) > LIMITS.bytes:
        raise SourceError("too_large", f"it is larger than {LIMITS.bytes >> 20} MB")
    return data


async def _fetched(address: str, private: tuple[Network, ...]) -> Item:
    """One document from an address, read at once."""
    options = client_options(private) | {
        "transport": Guard(private, LIMITS.bytes),
        "timeout": httpx2.Timeout(FETCH_S, connect=10.0),
        "headers": {"accept-encoding": "identity", "user-agent": "modu"},
    }
    at = address
    try:
        async with httpx2.AsyncClient(**options) as client:
            for _ in range(MOST_REDIRECTS + 1):
                answer = await client.get(at)
                if not answer.has_redirect_location:
                    break
                at = urljoin(at, answer.headers["location"])
                if _split(at).scheme not in {"https", "http"}:
                    raise SourceError("redirect", f"{address} leads to what is no http(s) address")
    except (httpx2.HTTPError, httpx2.InvalidURL, OutboundError) as error:
        raise SourceError("fetch", f"{address} cannot be fetched: {error or type(error).__name__}") from None
    if answer.status_code != httpx2.codes.OK:
        raise SourceError("fetch", f"{address} answers with status {answer.status_code}")
    name = unquote(_split(at).path.rpartition("/")[2]) or "index"
    media = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not _wanted(name):
        name += _TYPES.get(media, "")
    data = answer.content
    return Item(_key(address), name, address, lambda: data)


def _wanted(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in path.parts)


def _limited(items: Iterable[Item]) -> list[Item]:
    found = []
    for item in items:
        found.append(item)
        if len(found) > MOST_ITEMS:
            raise SourceError("too_many", f"there are more than {MOST_ITEMS:,} files")
    return sorted(found, key=attrgetter("key"))


def _key(name: str) -> str:
    """A key has no ``#``: behind one stands which of a file's documents it is."""
    return name.replace("#", "%23").encode("utf-8", "backslashreplace").decode()


def _name(name: str) -> str:
    """A file's name for people: one that is not UTF-8 is mostly Windows' Korean."""
    raw = name.encode("utf-8", "surrogateescape")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("cp949", "replace")


def _split(address: str) -> SplitResult:
    try:
        return urlsplit(address)
    except ValueError:
        raise SourceError("address", f"{address} is no address") from None
