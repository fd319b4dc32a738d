"""The recorder: turns from the lane, sealed, into segments of this worker.

Recording fails open: an answer is given whether or not its turn can be kept. Where turns cannot be sealed
(the keys are away) or written (the disk is full), ``failing`` says so, they wait in memory as far as that
is set aside for them, and later ones are not kept.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from pathlib import Path

import msgspec
from msgspec import Struct

from moduai.history.record import Line, Passed, Text, TurnPlace, turn_purpose
from moduai.history.text import Answer, compose, pack, read_passed
from moduai.metering.row import UsageRow
from moduai.metering.segment import Appender
from moduai.settings import Ledger
from moduai.store.keyring import KeyringError
from moduai.store.subjects import SubjectGoneError, SubjectKeys, SubjectsAwayError

SUFFIX = ".seg"
SMALL = 32_768
"""Bytes up to which a turn is sealed as it passed; of a larger one the text, for then less is written."""
FLUSH_S = 0.03
"""Longest time a turn stays in memory: short, so that its bytes are still in the processor's cache."""
MOST_HEARD = 5_000
"""Turns that may wait for the next flush."""
MOST_HELD = 64 << 20
"""Bytes of requests and answers that may wait while they cannot be sealed or written."""

log = logging.getLogger(__name__)
SIZE = 4
"""Bytes before each batch of a segment that say how long it is; the batch is msgpack, a list of lines."""
BATCH = 500
"""Most turns of a batch, which are loaded in one transaction."""
_encode = msgspec.msgpack.Encoder().encode


class Heard(Struct, frozen=True, gc=False):
    """What passed of one exchange. Not followed by the garbage collector, as nothing in it refers back."""

    row: UsageRow
    """Its request's in the ledger."""
    place: TurnPlace
    asked: bytes
    """The request's body."""
    body: bytes
    """The answer's, if it came whole."""
    events: bytes
    """The answer's events, if it was a stream; those after ``answer`` if that is given."""
    answer: Answer | None
    """The beginning of a long stream, as text."""

    @property
    def size(self) -> int:
        """About how many bytes it holds."""
        return len(self.asked) + len(self.body) + len(self.events)

    def clear(self) -> Passed | Text:
        """What is to be sealed; may be asked for again."""
        if self.answer is None:
            passed = Passed(self.asked, self.body, self.events)
            return passed if self.size <= SMALL else read_passed(passed)
        answer = self.answer.copy()
        answer.take_events((self.events,))
        return compose(self.asked, answer)


class _Turns(Appender[Heard]):
    suffix = SUFFIX
    what = "history"

    def _whole(self, done: int) -> int:
        """Batches have no marks: all go again, and count once."""
        return 0


class Recorder:
    """Turns of one worker. ``add`` is for the hot lane; ``flush`` is called every ``FLUSH_S``."""

    def __init__(self, folder: Path, subjects: SubjectKeys, settings: Ledger, worker: str) -> None:
        """``folder`` is made at the first turn; ``worker`` is part of the segments' names."""
        self._subjects = subjects
        self._writer = _Turns(folder, settings, worker, self._batches)
        self._heard: list[Heard] = []
        self._again: list[Heard] = []
        """Those that could not be sealed for now."""
        self._held = 0
        self._unsealed = False
        self._writing = threading.Lock()
        self.skipped = 0
        """Turns that were not kept, because too many waited or their person's key could not be used."""

    @property
    def failing(self) -> bool:
        """Turns cannot be sealed or written now."""
        return self._writer.failing or self._unsealed

    @property
    def waiting(self) -> int:
        """Turns that are not yet on disk."""
        return len(self._heard) + len(self._again) + self._writer.rows_waiting

    def add(self, heard: Heard) -> None:
        """Keep a turn until the next flush."""
        if len(self._heard) >= MOST_HEARD or self._held >= MOST_HELD:
            self.skipped += 1
            return
        self._heard.append(heard)

    async def flush(self) -> None:
        """Seal what waits, at once where that takes microseconds a turn, else in a thread, as keys have to be
        read; then write it, in a thread.
        """
        people = {heard.row.subject for heard in self._heard}
        if self._take():
            if not self.failing and all(map(self._subjects.at_hand, people)):
                self._writer.encode()
            await asyncio.to_thread(self._write)
            self._let_go()

    def close(self) -> None:
        """Write what waits and give up the segment; what cannot be written is lost, with an error."""
        with self._writing:
            self._take()
            self._writer.close()
        if self._again:
            log.error("history is lost: it cannot be sealed", extra={"turns": len(self._again)})

    def _write(self) -> None:
        with self._writing:
            self._writer.flush()

    def _take(self) -> bool:
        """Hand to the writer what waits, while nothing else runs in the loop: then each is complete."""
        heard, self._again, self._heard = [*self._again, *self._heard], [], []
        for each in heard:
            self._writer.add(each)
        return self._writer.rows_waiting > 0

    def _let_go(self) -> None:
        if not self.failing:
            self._held = 0
            return
        rows, encoded = self._writer.waiting
        self._held = encoded + sum(heard.size for heard in (*self._again, *self._heard, *rows))

    def _batches(self, turns: list[Heard]) -> bytes:
        lines, failed = list[Line](), False
        texts = [(each.row.subject, turn_purpose(each.row.id), pack(each.clear())) for each in turns]
        for each, sealed in zip(turns, self._subjects.seal_all(texts), strict=True):
            if isinstance(sealed, bytes):
                lines.append(_line(each, sealed))
            elif isinstance(sealed, SubjectsAwayError):
                self._again.append(each)
                failed = self._failed(sealed)
            elif not isinstance(sealed, SubjectGoneError):  # else the account was deleted: nothing is kept
                self.skipped += 1
                failed = self._failed(sealed)
        self._unsealed = failed
        batches = [_encode(lines[start : start + BATCH]) for start in range(0, len(lines), BATCH)]
        return b"".join(len(batch).to_bytes(SIZE) + batch for batch in batches)

    def _failed(self, error: KeyringError) -> bool:
        if not self._unsealed:
            log.warning("history cannot be sealed", extra={"why": str(error)})
            self._unsealed = True
        return True


def _line(heard: Heard, sealed: bytes) -> Line:
    row, place = heard.row, heard.place
    return Line(
        row.id, place.conversation_of(row.id), row.subject, row.at, row.model, row.engine, row.outcome,
        "", place.parent, sealed,
    )  # fmt: skip
