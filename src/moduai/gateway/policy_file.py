"""The policy in the home folder: read, followed by every worker, replaced whole.

Words: the policy *in force* is what workers share by; the *last good* one is kept in ``run/``. Rule: a file
that is wrong, half written or gone changes nothing: the policy in force stays, the problem is logged and
shown, and a restart finds the last good one (fails closed). Without any file the policy of the country pack
counts, and where that has none the one that comes with Modu.

Workers look at the file twice a second: that needs no database, works with any number of workers on the
machine, and takes what an editor wrote as it takes what ``modu policy apply`` did. It is read once it has
stayed the same between two looks, so that what is being written is left alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from moduai.accounts.networks import opaque
from moduai.gateway.policy_text import MOST_BYTES, PolicyError, networks, parse, shipped_text, told
from moduai.packs.where import POLICY, folder
from moduai.scheduling.policy import Policy, Problem, trusted
from moduai.settings import Loaded
from moduai.store.files import write

FILE = "policy.toml"
PREVIOUS = "policy.previous.toml"
LAST_GOOD = "run/policy.toml"
LOOK_S = 0.25
"""Time between two looks at the file; a change counts after two of them."""

log = logging.getLogger(__name__)


Source = Literal["shipped", "pack", "file", "last good"]
"""``shipped``: it comes with Modu."""


class InForce(Struct, frozen=True, kw_only=True):
    """A policy as it was found."""

    policy: Policy
    text: str
    source: Source
    problems: tuple[Problem, ...] = ()
    """Why the file is not what counts."""

    @property
    def digest(self) -> str:
        """Names the text: the first 16 digits of its SHA-256."""
        return digest(self.text)


def digest(text: str) -> str:
    """The first 16 digits of a text's SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read(loaded: Loaded) -> InForce:
    """The policy that a worker which starts now takes: the file's, else the last good one where the file
    has problems, else the one that counts without a file. Fails closed.
    """
    home = loaded.home
    try:
        found = load(home / FILE)
        if found is not None:
            return found
        problems: tuple[Problem, ...] = ()
    except PolicyError as error:
        problems = tuple(error.problems)
        with contextlib.suppress(PolicyError):
            if good := load(home / LAST_GOOD):
                return replace(good, source="last good", problems=problems)
    try:
        return replace(without_file(loaded), problems=problems)
    except PolicyError as error:
        return replace(from_modu(), problems=(*problems, *error.problems))


def without_file(loaded: Loaded) -> InForce:
    """The country pack's policy; where that has none, Modu's. Raises PolicyError."""
    file = folder(loaded.settings.pack.use, loaded.home) / POLICY
    return (load(file, "pack") if file.is_file() else None) or from_modu()  # a stranger's may be a pipe


def from_modu() -> InForce:
    """The policy that comes with Modu."""
    text = shipped_text()
    return InForce(policy=parse(text), text=text, source="shipped")


def load(file: Path, source: Source = "file") -> InForce | None:
    """A policy file, checked; None: there is none. Raises PolicyError."""
    try:
        with file.open("rb") as content:
            raw = content.read(MOST_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PolicyError([Problem((), f"it cannot be read: {error.strerror}")]) from None
    return InForce(policy=parse(raw), text=raw.decode(), source=source)


def for_lane(policy: Policy, loaded: Loaded, secret: bytes) -> Policy:
    """The policy as a worker uses it: nothing for groups that people choose themselves, and networks by
    what stands for them in a principal.
    """
    policy = trusted(policy, loaded.settings.people.groups)

    def hidden(name: str) -> str:
        return opaque(secret, str(ip_network(name))) if any(networks([name])) else name

    classes = {
        name: replace(rule, organisations={hidden(each): node for each, node in rule.organisations.items()})
        for name, rule in policy.classes.items()
    }
    assign = tuple(
        replace(rule, organisations=frozenset(map(hidden, rule.organisations))) for rule in policy.assign
    )
    return replace(policy, classes=classes, assign=assign)


class PolicyFile:
    """What one worker knows of the policy."""

    def __init__(self, loaded: Loaded, secret: bytes) -> None:
        """Reads it. ``secret``: that of the pages, for the networks of guests."""
        self._loaded, self._secret = loaded, secret
        self._read = self._seen = self._identity()
        self.found = read(loaded)
        """What is in force, and why the file is not, if it is not."""
        self.policy = for_lane(self.found.policy, loaded, secret)
        """The policy in force, as the lane uses it."""
        self._note()

    def look(self) -> bool:
        """Whether there is a file to read: another one than was read, and the same as at the last look."""
        last, self._seen = self._seen, self._identity()
        return self._seen == last and self._seen != self._read

    async def watch(self, on_policy: Callable[[Policy], None]) -> None:
        """Follow the file until cancelled; ``on_policy`` is called with each new policy that is valid."""
        while True:
            await asyncio.sleep(LOOK_S)
            if self.look():
                self._read = self._seen
                before, self.found = self.found.policy, await asyncio.to_thread(self._again)
                self._note()
                if self.found.policy != before:
                    self.policy = for_lane(self.found.policy, self._loaded, self._secret)
                    on_policy(self.policy)

    def _again(self) -> InForce:
        """The file's policy, or the one in force with the problem. Fails closed."""
        try:
            found = load(self._loaded.home / FILE)
        except PolicyError as error:
            return replace(self.found, problems=tuple(error.problems))
        gone = Problem((), "the file is gone: what it said still counts")
        return found or replace(self.found, problems=(gone,))

    def _note(self) -> None:
        """Log what was found, and keep it for the next start if it is good."""
        found = self.found
        for problem in found.problems:
            log.error("the policy file cannot be used", extra={"file": FILE, "why": told(problem)})
        log.info("policy in force", extra={"digest": found.digest, "source": found.source})
        if found.source == "file" and not found.problems:
            self._keep(found.text)

    def _keep(self, text: str) -> None:
        """Where the disk refuses, it goes on without: fails open."""
        file = self._loaded.home / LAST_GOOD
        try:
            if not file.exists() or file.read_bytes() != text.encode():
                write(file, text)
        except OSError as error:
            log.warning("the last good policy cannot be kept", extra={"why": str(error)})

    def _identity(self) -> tuple[int, int, int] | None:
        try:
            found = (self._loaded.home / FILE).stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size


@contextlib.contextmanager
def replaced(loaded: Loaded, text: str) -> Iterator[None]:
    """Put a text in force and keep what was in force before; taken back if the block fails, for what cannot
    be recorded does not happen. Raises PolicyError or OSError: nothing changed then. Fails closed.
    """
    parse(text)
    home, last = loaded.home, read(loaded).text
    wanted = {PREVIOUS: last} if last != text else {}
    with contextlib.ExitStack() as undo:
        for name, new in (wanted | {LAST_GOOD: text, FILE: text}).items():
            old = (home / name).read_bytes() if (home / name).exists() else None
            write(home / name, new)
            undo.callback(_put_back, home / name, old)
        yield
        undo.pop_all()


def _put_back(file: Path, content: bytes | None) -> None:
    if content is None:
        file.unlink()
    else:
        write(file, content)


def previous(loaded: Loaded) -> InForce:
    """What was in force before the last change; where the file has problems, what still is. Raises
    PolicyError.
    """
    if (now := read(loaded)).problems:
        return now
    if found := load(loaded.home / PREVIOUS):
        return found
    raise PolicyError([Problem((), "there is no policy before this one")])
