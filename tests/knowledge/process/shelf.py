"""A small index for tests of the process around it: whole documents in one file, found by a word in them."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct

from moduai.knowledge.following import MOST_CHANGES
from moduai.knowledge.types import Aside, Found, Parsed, Query, Stored
from moduai.store.files import write

REFUSED = "what cannot be indexed"
PANIC, SLOW = "what breaks a search", "what takes a second"


class PanicError(BaseException):
    """As native code raises it."""


class Held(Struct, frozen=True):
    documents: int
    passages: int
    position: int
    waiting: int = 0
    aside: tuple[Aside, ...] = ()
    rebuilt: str = ""


class Kept(Struct):
    """What is in the file."""

    documents: dict[str, tuple[Stored, Parsed]] = {}
    position: int = 0
    aside: dict[str, Aside] = {}


class Morphemes:
    """There are none."""

    def load(self) -> None:
        raise ImportError("no Kiwi here")


class Shelf:
    """As a real one, it holds after a crash what it held before or after what was under way."""

    morphemes = Morphemes()

    def __init__(self, folder: Path) -> None:
        self._file = folder / "shelf"
        self._kept = Kept()
        if self._file.exists():
            self._kept = msgspec.msgpack.decode(self._file.read_bytes(), type=Kept)

    def add(self, documents: Iterable[tuple[Stored, Parsed]], *, position: int | None) -> None:
        new = {stored.id: (stored, parsed) for stored, parsed in documents}
        if len(new) == MOST_CHANGES:
            time.sleep(0.3)  # many are slow to index
        if any(REFUSED in parsed.text for _, parsed in new.values()):
            raise PanicError(REFUSED)
        aside = {name: one for name, one in self._kept.aside.items() if name not in new}
        self._keep({**self._kept.documents, **new}, position, aside)

    def remove(self, documents: Iterable[str], *, position: int | None) -> None:
        self._without(set(documents), position, {})

    def set_aside(self, documents: Iterable[Aside], *, position: int | None) -> None:
        aside = {each.document: each for each in documents}
        self._without(set(aside), position, aside)

    def _without(self, gone: set[str], position: int | None, new: dict[str, Aside]) -> None:
        held = {name: one for name, one in self._kept.documents.items() if name not in gone}
        aside = {name: one for name, one in self._kept.aside.items() if name not in gone}
        self._keep(held, position, aside | new)

    unwritten = False

    def write(self) -> None:
        """All of it is in the file."""

    def fill(self) -> int:
        return 0

    def _keep(
        self, held: dict[str, tuple[Stored, Parsed]], position: int | None, aside: dict[str, Aside]
    ) -> None:
        kept = Kept(held, self._kept.position if position is None else position, aside)
        write(self._file, msgspec.msgpack.encode(kept))
        self._kept = kept

    def search(self, query: Query, allowed: frozenset[str] | None) -> list[Found]:
        if query.text == PANIC or self._file.with_name("broken").exists():
            raise PanicError(query.text)
        if query.text == SLOW:
            time.sleep(1.0)
        return [
            Found(stored.id, stored.version, number, passage, told, stored.facts, stored.collection, 1.0)
            for stored, parsed in self._kept.documents.values()
            for number, passage in enumerate(parsed.passages)
            if query.text in (told := parsed.text[passage.start : passage.end])
            and (allowed is None or stored.collection in allowed)
        ][: query.limit]

    def status(self) -> Held:
        held = self._kept.documents.values()
        passages = sum(len(parsed.passages) for _, parsed in held)
        return Held(len(held), passages, self._kept.position, aside=tuple(self._kept.aside.values()))

    def damage(self) -> str:
        return "shelf" if self._file.with_name("broken").exists() else ""

    def close(self) -> None:
        """Nothing runs in it."""


if __name__ == "__main__":
    from moduai.knowledge.__main__ import main

    sys.exit(main(Shelf))
