"""A small index for tests of the process around it: whole documents in one file, found by a word in them."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct

from moduai.knowledge.following import MOST_CHANGES
from moduai.knowledge.types import Found, Parsed, Query, Stored
from moduai.store.files import write

PANIC, SLOW = "what breaks a search", "what takes a second"


class PanicError(BaseException):
    """As native code raises it."""


class Held(Struct, frozen=True):
    documents: int
    passages: int
    position: int
    waiting: int = 0


class Kept(Struct):
    """What is in the file."""

    documents: dict[str, tuple[Stored, Parsed]] = {}
    position: int = 0


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
        self._keep({**self._kept.documents, **new}, position)

    def remove(self, documents: Iterable[str], *, position: int | None) -> None:
        gone = set(documents)
        self._keep({name: one for name, one in self._kept.documents.items() if name not in gone}, position)

    def fill(self) -> int:
        return 0

    def _keep(self, held: dict[str, tuple[Stored, Parsed]], position: int | None) -> None:
        kept = Kept(held, self._kept.position if position is None else position)
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
        return Held(len(held), sum(len(parsed.passages) for _, parsed in held), self._kept.position)

    def close(self) -> None:
        """Nothing runs in it."""


if __name__ == "__main__":
    from moduai.knowledge.__main__ import main

    sys.exit(main(Shelf))
