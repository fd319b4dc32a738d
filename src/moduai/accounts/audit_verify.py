"""Checking the audit log: every entry, every chain, every root, and a published copy if there is one.

What is found, and by what: a *changed* entry by its hash; a *removed*, inserted or reordered one by its
number and the hash before it; a chain that was written anew from some entry on, or whose end was cut
off, by a root; a root that was changed or made by another by its signature; roots that were removed by
the one after them, and the newest ones by a copy of what was published.

Entries of after the last root rest on their chain alone. Fails closed: what cannot be checked is a
problem.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from moduai.accounts.audit import FIRST, Entry, digest, every_entry
from moduai.accounts.audit_roots import PURPOSE, Head, Published, Root, roots
from moduai.accounts.audit_roots import digest as root_digest
from moduai.store.database import Connection
from moduai.store.signing import SigningKeys, check

MOST_PROBLEMS = 100
"""What is told one by one."""
LATE_S = 2 * 86_400
"""An entry should be under a root by then."""


class Verdict(Struct, kw_only=True):
    """What was checked, and what is wrong."""

    entries: int = 0
    chains: dict[str, int] = {}
    """Number of the last entry by writer."""
    roots: int = 0
    sealed_until: str = ""
    """The day of the last root."""
    problems: list[str] = []
    """In plain words; empty: all is well."""
    notes: list[str] = []
    """What is no problem but should be known."""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def problem(self, text: str) -> None:
        """Tell of a problem."""
        if len(self.problems) == MOST_PROBLEMS:
            self.problems.append("and more of the same")
        elif len(self.problems) < MOST_PROBLEMS:
            self.problems.append(text)


async def verify(
    connection: Connection,
    signing: SigningKeys | None,
    published: Published | None = None,
    *,
    entries: bool = True,
) -> Verdict:
    """Check everything that is there. ``signing`` None: the keyring is lost; ``published``: a kept copy
    of what was published; ``entries`` False: only the roots. Raises one of the database's errors.
    """
    verdict = Verdict()
    found = await roots(connection)  # before the entries: those that come meanwhile are in no root yet
    _check_roots(found, signing, verdict)
    if published is not None:
        _check_copy(found, published, verdict)
    if entries:
        await _check_chains(connection, [*found, *(published.roots if published else ())], verdict)
    return verdict


def _check_roots(found: list[Root], signing: SigningKeys | None, verdict: Verdict) -> None:
    verdict.roots = len(found)
    previous, last_day = FIRST.hex(), ""
    for root in found:
        if root.previous != previous:
            before = f"that of {last_day}" if last_day else "nothing, though it is the first"
            verdict.problem(f"the root of {root.day} does not follow {before}: one was removed or changed")
        if root_digest(root.day, root.previous, root.heads).hex() != root.root:
            verdict.problem(f"the root of {root.day} was changed: it is not the hash of what it says")
        elif signing is not None:
            _check_signature(root, signing, verdict)
        previous, last_day = root.root, root.day
    verdict.sealed_until = last_day
    if signing is None and found:
        verdict.problem(
            "signatures cannot be checked: put back keyring/signing.json, or check a published copy"
        )
    if signing is not None and not found and signing.public(PURPOSE):
        verdict.problem("there is no root, though some were signed: they were removed")
    if last_day > f"{datetime.now(UTC):%Y-%m-%d}":
        verdict.problem(f"the last root is of {last_day}, which is to come: the clock was wrong")


def _check_signature(root: Root, signing: SigningKeys, verdict: Verdict) -> None:
    if root.key not in signing.public(PURPOSE):
        verdict.problem(
            f"the root of {root.day} is signed with {root.key[:40]}, which is not in keyring/signing.json: "
            "put back the file that signed it, or someone else did"
        )
    elif not signing.verify(PURPOSE, root.key, bytes.fromhex(root.root), bytes.fromhex(root.signature)):
        verdict.problem(f"the signature of the root of {root.day} is not right")


def _check_copy(found: list[Root], published: Published, verdict: Verdict) -> None:
    """A copy that was kept must be signed, and must say what the database says."""
    here = {root.day: root for root in found}
    for root in published.roots:
        signed = check(PURPOSE, published.keys.get(root.key, ""), _bytes(root.root), _bytes(root.signature))
        if root_digest(root.day, root.previous, root.heads).hex() != root.root or not signed:
            verdict.problem(f"the copy is no good: its root of {root.day} is not what it says, or not signed")
        elif root.day not in here:
            verdict.problem(f"the root of {root.day} was published and is not here: it was removed")
        elif here[root.day] != root:
            verdict.problem(f"the root of {root.day} is not the one that was published")


def _bytes(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""


async def _check_chains(connection: Connection, sealed: list[Root], verdict: Verdict) -> None:
    walk = _Walk(verdict, sealed)
    async for entry in every_entry(connection):
        walk.step(entry)
    walk.end()


class _Walk:
    """Goes along all chains, entry by entry."""

    def __init__(self, verdict: Verdict, sealed: list[Root]) -> None:
        self._verdict = verdict
        self._sealed: dict[str, dict[int, list[tuple[str, Head]]]] = {}
        """What roots say of each chain: by writer and number, the day and the head."""
        for root in sealed:
            for writer, head in root.heads.items():
                said = self._sealed.setdefault(writer, {}).setdefault(head.number, [])
                said.append((root.day, head))
        self._last: Entry | None = None
        self._rewritten: set[str] = set()
        self._unsealed_since = 0
        """When the oldest entry that no root covers was made, in Unix microseconds; 0: none."""

    def step(self, entry: Entry) -> None:
        """The next entry, in order of writer and number."""
        last = self._last
        if last is not None and last.writer != entry.writer:
            last = None
        number, previous = (last.number, last.hash) if last else (0, FIRST)
        name = f"entry {entry.number} of chain {entry.writer}"
        if entry.number != number + 1:
            self._verdict.problem(f"chain {entry.writer}: {_missing(number + 1, entry.number - 1)} removed")
        elif entry.previous != previous:
            self._verdict.problem(f"{name} does not follow the one before it: one of them was changed")
        if _hash(entry) != entry.hash:
            self._verdict.problem(f"{name} was changed")
        self._check_head(entry, name)
        self._verdict.entries += 1
        self._verdict.chains[entry.writer] = entry.number
        self._last = entry

    def end(self) -> None:
        """All entries were seen: no chain may end before what a root says of it."""
        for writer, said in self._sealed.items():
            last, number = self._verdict.chains.get(writer, 0), max(said)
            if last < number:
                day = said[number][0][0]
                self._verdict.problem(
                    f"chain {writer} ends at entry {last}, but had {number} at the root of {day}: "
                    "its end was cut off"
                )
        if 0 < self._unsealed_since < (time.time() - LATE_S) * 1e6:
            since = datetime.fromtimestamp(self._unsealed_since / 1e6, UTC)
            self._verdict.notes.append(
                f"entries since {since:%Y-%m-%d} are under no root yet: the service seals past days"
            )

    def _check_head(self, entry: Entry, name: str) -> None:
        said = self._sealed.get(entry.writer, {})
        if entry.number > max(said, default=0) and (
            not self._unsealed_since or entry.at < self._unsealed_since
        ):
            self._unsealed_since = entry.at
        for day, head in said.get(entry.number, ()):
            if head.hash != entry.hash.hex() and entry.writer not in self._rewritten:
                self._rewritten.add(entry.writer)  # later roots would say the same again
                self._verdict.problem(
                    f"{name} is not the one under the root of {day}: the chain was written anew"
                )


def _hash(entry: Entry) -> bytes:
    fields = msgspec.structs.asdict(entry)
    del fields["hash"]
    return digest(**fields)


def _missing(first: int, last: int) -> str:
    return f"entry {first} was" if first >= last else f"entries {first} to {last} were"
