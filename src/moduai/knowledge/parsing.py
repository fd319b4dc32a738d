"""Reading documents in processes of their own.

Rule: what is in a document may be made to do harm, so nothing of it is read in a process that serves. One
document has a bound of memory and of the processor's time; a reader that ends, or that takes more, costs
that document and nothing else. None outlives whoever asked it. Fails closed.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import resource
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple, Self

from moduai.child import end_with_parent
from moduai.knowledge.types import Parsed, ReadError

MEMORY_BYTES = 4 << 30
"""Most memory of one reader."""
DOCUMENT_CPU_S = 120
"""Most time of the processor for one document."""
AT_ONCE = 4

Read = Callable[[str, bytes], Sequence[tuple[str, Parsed]]]
"""A file's name and bytes to its documents, each with what it is called in the file: "" where it is the
only one. Raises ReadError. A function of a module, for another process calls it.
"""


class Failure(NamedTuple):
    """What a process answers in place of ReadError, which does not come through whole."""

    code: str
    reason: str


log = logging.getLogger(__name__)


def read_file(name: str, data: bytes) -> Sequence[tuple[str, Parsed]]:
    """The documents of one file, as the readers find them."""
    from moduai.knowledge.readers import read_all  # noqa: PLC0415  (only where documents are read)

    return read_all(name, data)


class Parsers:
    """Some processes that read, each one document at a time. Close it in the end, or use ``with``."""

    def __init__(self, read: Read = read_file, at_once: int = 0, cpu_s: int = DOCUMENT_CPU_S) -> None:
        self.at_once = at_once or min(AT_ONCE, os.cpu_count() or 1)
        self._read = read
        self._cpu_s = cpu_s
        self._free: asyncio.Queue[ProcessPoolExecutor] = asyncio.Queue()
        for _ in range(self.at_once):
            self._free.put_nowait(_reader())

    async def parse(self, name: str, data: bytes) -> Sequence[tuple[str, Parsed]]:
        """The documents of one file. Raises ReadError."""
        reader = await self._free.get()
        try:
            future = reader.submit(_within_bounds, self._cpu_s, self._read, name, data)
            outcome = await asyncio.wrap_future(future)
        except BrokenProcessPool:
            reader.shutdown(wait=False)
            reader = _reader()
            raise ReadError("reader_ended", "reading it took too much time or memory, or failed") from None
        finally:
            self._free.put_nowait(reader)
        if isinstance(outcome, Failure):
            raise ReadError(outcome.code, outcome.reason)
        return outcome

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while not self._free.empty():
            self._free.get_nowait().shutdown(wait=False, cancel_futures=True)


def _reader() -> ProcessPoolExecutor:
    """One process; it starts with its first document."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, mp_context=context, initializer=_bound)


def _bound() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever asked hears of it, and ends this process
    end_with_parent(signal.SIGKILL)
    with suppress(ValueError, OSError):  # where the system has no such bound, the counts of readers remain
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def _within_bounds(cpu_s: int, read: Read, name: str, data: bytes) -> Sequence[tuple[str, Parsed]] | Failure:
    """Runs in the process that reads; the system ends it where one document takes too long."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + cpu_s + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))
    try:
        return read(name, data)
    except ReadError as error:
        return Failure(error.code, str(error))
    except (MemoryError, RecursionError):
        return Failure("too_large", "reading it takes too much memory")
    except Exception:  # the boundary: whatever a reader raises costs one document, and a line in the log
        log.exception("a reader failed", extra={"document": name})
        return Failure("reader_failed", "the reader failed on it")
