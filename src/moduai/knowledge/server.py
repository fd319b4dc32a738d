"""The search process's door: HTTP on a Unix socket that only our own user can open.

One request a connection. Rule: everything is bounded (bytes, time, searches at once) and what is unclear, too
much or too late is refused with a reason; a search that fails harms no other. Fails closed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from moduai.knowledge.following import Follower
from moduai.knowledge.index_folder import UnusableError
from moduai.knowledge.index_protocol import Index
from moduai.knowledge.types import Found
from moduai.knowledge.wire import MOST_BODY, Asked, Refusal
from moduai.store.database import brief

log = logging.getLogger(__name__)

THREADS = 2
"""Searches that run at once."""
MOST_WAITING = 64
"""Searches that run or wait for a thread."""
READ_S = 5.0
"""Time for a whole request to arrive."""
MOST_HEAD = 16_384
MOST_CONNECTIONS = 256
_HEAD = re.compile(rb"(GET|POST) (/[a-z]+) HTTP/1\.1\r\n")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,9})[ \t]*\r\n", re.IGNORECASE)
_decode = msgspec.json.Decoder(Asked).decode


class _Refused(Exception):  # noqa: N818  (an answer, not an error of ours)
    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class _Request(NamedTuple):
    method: bytes
    path: bytes
    body: bytes


class Server:
    """Answers from an index that ``follower`` keeps up."""

    def __init__(self, follower: Follower, within_s: float) -> None:
        """``within_s`` bounds a search, in seconds."""
        self._follower = follower
        self._within_s = within_s
        self._threads = ThreadPoolExecutor(THREADS, "search")
        self._searches = 0
        self._connections: set[asyncio.Task[None]] = set()

    async def listen(self, socket: Path) -> asyncio.Server:
        """Listen there, for our own user only; nobody else may be listening."""
        before = os.umask(0o177)
        try:
            return await asyncio.start_unix_server(self._connected, socket, limit=MOST_HEAD)
        finally:
            os.umask(before)

    async def drain(self, within_s: float) -> None:
        """Let those who were heard have their answers."""
        if self._connections:
            await asyncio.wait(self._connections, timeout=within_s)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._connections) >= MOST_CONNECTIONS:
            writer.transport.abort()
            return
        self._connections.add(task)
        try:
            with suppress(OSError, EOFError, TimeoutError):
                status, body = await self._answer(reader)
                head = b"HTTP/1.1 %d -\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
                writer.write((head + b"Connection: close\r\n\r\n") % (status, len(body)) + body)
                await asyncio.wait_for(writer.drain(), READ_S)
        finally:
            self._connections.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(READ_S):
                request = await _read(reader)
            match request.method, request.path:
                case b"POST", b"/search":
                    answer: object = await self._search(request.body)
                case b"POST", b"/changed":
                    answer = await self._changed()
                case b"GET", b"/status":
                    answer = await asyncio.to_thread(self._follower.status)  # counting takes milliseconds
                case _:
                    raise _Refused(404, "there is nothing at this address")
        except _Refused as refused:
            return refused.status, msgspec.json.encode(Refusal(str(refused)))
        return 200, msgspec.json.encode(answer)

    async def _search(self, body: bytes) -> list[Found]:
        try:
            asked = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _Refused(400, str(error)) from None
        if self._searches >= MOST_WAITING:
            raise _Refused(503, "too many search at once")
        if self._follower.folder.anew:
            raise _Refused(503, f"the index is being built: {self._follower.folder.anew}")
        self._searches += 1
        try:
            async with asyncio.timeout(self._within_s):
                return await self._in_thread(asked)
        except TimeoutError:
            raise _Refused(503, f"it took longer than {self._within_s:g} s") from None
        except _FailedError as error:
            log.error("a search failed", extra={"why": str(error)})  # noqa: TRY400  (it might hold the question)
            await self._follower.folder.look()
            raise _Refused(500, "the search failed") from None
        finally:
            self._searches -= 1

    async def _in_thread(self, asked: Asked) -> list[Found]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, _look, self._follower.index, asked)

    async def _changed(self) -> object:
        try:
            return await self._follower.catch_up()
        except UnusableError as error:
            raise _Refused(503, str(error)) from None
        except self._follower.errors as error:
            raise _Refused(503, brief(error)) from None


class _FailedError(RuntimeError):
    """A search broke; the text is the kind of error, for its words might hold the question."""


def _look(index: Index, asked: Asked) -> list[Found]:
    try:
        return index.search(asked.query, asked.allowed)
    except BaseException as error:  # noqa: BLE001  (a panic of native code is no Exception)
        raise _FailedError(type(error).__name__) from None


async def _read(reader: asyncio.StreamReader) -> _Request:
    """One request. Raises _Refused for what is not HTTP as we speak it, EOFError for what ends early."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise _Refused(400, "the head is too long") from None
    line = _HEAD.match(head)
    if line is None:
        raise _Refused(400, "this is not a request")
    length = _LENGTH.search(head)
    size = int(length[1]) if length else 0
    if size > MOST_BODY:
        raise _Refused(400, f"a request has at most {MOST_BODY:,} bytes")
    return _Request(line[1], line[2], await reader.readexactly(size))
