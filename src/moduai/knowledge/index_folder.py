"""The folder of the index: opened, found damaged, and then built anew at the next start.

Rule: an index that the process before could not open, or that is of another database, is thrown away; one
that turns out to be damaged is not searched from then on. Both fail closed.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from moduai.knowledge.index_protocol import Index
from moduai.settings import Loaded
from moduai.store.files import write

log = logging.getLogger(__name__)

CHECK_EVERY_S = 5.0
"""Between two looks at the files, which read all of them: failing searches may come in numbers."""
LEAST_FREE_BYTES = 64 << 20
"""With less space than this on its disk an index that cannot be written is not its document's fault."""


class UnusableError(RuntimeError):
    """The index cannot be used any more: the process has to begin anew, and with it the index."""


class IndexFolder:
    """Where the index of one database lies."""

    def __init__(self, loaded: Loaded, url: str, make: Callable[[Path], Index]) -> None:
        """``url`` names the database; ``make`` opens the index in a folder, or begins one there."""
        self._folder = loaded.index_folder
        self._source = loaded.index_source
        self._of = hashlib.sha256(url.encode()).hexdigest()
        self._make = make
        self._index: Index
        self._looked = -CHECK_EVERY_S
        self._broken = asyncio.Event()
        self.anew = ""
        """Why the index is being built anew, in words; empty: it can be searched."""

    def open(self) -> Index:
        """Open the index. A mark stands while it is opened: who finds it there knows that the last opening
        did not end. The other one says why it is built anew, until it is whole. Raises OSError, or what
        opening raises.
        """
        mark, place, anew = self._folder / "opening", self._folder / "index", self._folder / "anew"
        if mark.exists() or not self._source.exists() or self._source.read_text("utf-8") != self._of:
            if place.exists():
                log.warning("the index cannot be used as it is, and is built anew")
                shutil.rmtree(place)
            write(self._source, self._of)
        write(mark, "the index is being opened\n")
        place.mkdir(mode=0o700, exist_ok=True)
        self._index = self._make(place)
        held = self._index.status()
        if held.rebuilt:
            log.warning("the index cannot be used, and is built anew", extra={"why": held.rebuilt})
        if held.rebuilt or not (held.position or anew.exists()):
            write(anew, held.rebuilt or "there is none yet")
        self.anew = anew.read_text("utf-8") if anew.exists() else ""
        mark.unlink()
        return self._index

    def whole(self) -> None:
        """The index has all that the database has: it can be searched, unless it was found damaged."""
        if not self._broken.is_set():
            self.anew = ""
            (self._folder / "anew").unlink(missing_ok=True)

    def forget(self, why: str) -> None:
        """Have the index built anew at the next start."""
        self.anew = why
        self._source.unlink(missing_ok=True)
        with suppress(OSError):  # a full disk may not keep a damaged index in use
            write(self._folder / "anew", why)
        self._broken.set()

    async def watch(self) -> None:
        """Return never. Raises UnusableError once the index has turned out to be damaged."""
        await self._broken.wait()
        raise UnusableError(self.anew)

    async def look(self) -> None:
        """Something failed in the index: is it damaged? Then nothing is searched from now on (fails closed)
        until it was built anew.
        """
        now = time.monotonic()
        if now - self._looked < CHECK_EVERY_S or self._broken.is_set():
            return
        self._looked = now
        if found := await asyncio.to_thread(self._index.damage):
            self.forget(f"its file {found} is damaged")

    @property
    def full(self) -> bool:
        """Whether its disk is, or nearly."""
        return shutil.disk_usage(self._folder).free < LEAST_FREE_BYTES
