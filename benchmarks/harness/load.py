"""The load generator: raw keep-alive connections on uvloop, in a closed loop, in its own process.

Words: a *client* is one connection that asks again as soon as its answer is whole; the *window* is
the measured time after the warm-up. Rule: the generator reads the target's CPU at both edges of its
window, counts only answers that are whole and right, and reports its own CPU, so that its ceiling is
seen. Two loads: ``json`` (32 clients) and ``sse`` (64 streams at the engine's pace).
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Literal

import msgspec
import uvloop
from msgspec import Struct

from benchmarks.harness import process

QUESTION = "대한민국의 모든 국민이 쓸 수 있는 공공 AI 서비스는 어떤 것이어야 하나요? 세 문장으로 답해 주세요."
Kind = Literal["json", "sse"]
TOKENS = {"json": 32, "sse": 200}


class Load(Struct, frozen=True, kw_only=True):
    """One run of the generator."""

    url: str
    """http://host:port of the target."""
    kind: Kind = "json"
    clients: int = 32
    window_s: float = 4.0
    answers: int = 0
    """End the window early, after so many whole answers."""
    warm_s: float = 1.0
    key: str = ""
    model: str = "fake-model"
    watch: tuple[int, ...] = ()
    """Processes whose CPU is read at the edges of the window."""
    pace_s: float = 0.01
    """Pace of the streams, over which their starts are spread."""
    asks: bytes = b""
    """The whole request, where it is not the chat question."""


class Result(Struct, frozen=True, kw_only=True):
    """What happened in the window."""

    answers: int
    """Whole answers."""
    chunks: int
    """Events of streams."""
    errors: int
    seconds: float
    own_cpu_s: float
    cpu_s: tuple[float, ...]
    """CPU of each watched process."""
    p50_ms: float
    """Median time of a whole answer."""
    p99_ms: float
    first_error: str = ""

    @property
    def each_us(self) -> float:
        """CPU of all watched processes for one answer, in microseconds."""
        return sum(self.cpu_s) / max(self.answers, 1) * 1e6

    @property
    def chunk_us(self) -> float:
        """CPU of all watched processes for one chunk, in microseconds."""
        return sum(self.cpu_s) / max(self.chunks, 1) * 1e6


def request(load: Load, host: str) -> bytes:
    """The bytes of one request: a chat question of one message."""
    body = msgspec.json.encode(
        {
            "model": load.model,
            "messages": [{"role": "user", "content": QUESTION}],
            "max_tokens": TOKENS[load.kind],
            "stream": load.kind == "sse",
        }
    )
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {load.key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode() + body


class Tally:
    """What all clients have done since the window began."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.chunks = 0
        self.errors = 0
        self.first_error = ""
        self.times: list[float] = []

    def error(self, text: str) -> None:
        self.errors += 1
        self.first_error = self.first_error or text


class Client(asyncio.Protocol):
    """One connection. ``answered`` is told the whole answer's bytes where it is given."""

    def __init__(
        self,
        tally: Tally,
        asks: bytes,
        reconnect: Callable[[Client], None],
        answered: Callable[[bytes, float], None] | None = None,
    ) -> None:
        self.tally = tally
        self.asks = asks
        self._reconnect = reconnect
        self._answered = answered
        self.transport: asyncio.Transport
        self._got = b""
        self._tail = b""
        self._need = 0  # length of the whole answer where it is known; -1: chunked
        self._size = 0
        self.since = 0.0
        self.open = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.ask()

    def ask(self) -> None:
        self._got = self._tail = b""
        self._need = self._size = 0
        self.since = time.perf_counter()
        self.transport.write(self.asks)

    def connection_lost(self, error: Exception | None) -> None:
        if self.open:
            self.tally.error(f"connection closed after {self._size} bytes: {self._got[:120]!r}")
            self._reconnect(self)

    def data_received(self, data: bytes) -> None:
        self._size += len(data)
        if self._need == 0 or self._answered is not None:
            self._got += data
            if self._need == 0 and not self._head():
                return
        if self._need > 0:
            if self._size >= self._need:
                self._whole()
            return
        self.tally.chunks += (self._tail[-5:] + data).count(b"data: ")  # one may come in two pieces
        self._tail = (self._tail + data)[-7:]
        if self._tail == b"\r\n0\r\n\r\n":
            self._whole()

    def _head(self) -> bool:
        end = self._got.find(b"\r\n\r\n")
        if end < 0:
            return False
        if not self._got.startswith(b"HTTP/1.1 200"):
            self.tally.error(self._got[:200].decode("latin-1"))
            self.transport.close()
            return False
        head = self._got[:end].lower()
        at = head.find(b"content-length:")
        self._need = end + 4 + int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else -1
        return True

    def _whole(self) -> None:
        now = time.perf_counter()
        self.tally.times.append(now - self.since)
        if self._answered is not None:
            self._answered(self._got, now)
        if self.open:
            self.ask()

    def end(self) -> None:
        """Ask no more; the running answer is dropped."""
        self.open = False
        self.transport.abort()


async def run(load: Load) -> Result:
    """Warm up, measure one window, stop. Raises OSError if the target cannot be reached."""
    host, _, port = load.url.removeprefix("http://").partition(":")
    loop = asyncio.get_running_loop()
    tally = Tally()
    asks = load.asks or request(load, f"{host}:{port}")
    clients: set[Client] = set()
    tasks: set[asyncio.Task[None]] = set()
    ended = asyncio.Event()

    async def connect(after_s: float = 0.0) -> None:
        if after_s:
            await asyncio.sleep(after_s)
        _, client = await loop.create_connection(lambda: Client(tally, asks, lost), host, int(port))
        clients.add(client)

    def lost(client: Client) -> None:
        clients.discard(client)
        if ended.is_set():
            return
        task = loop.create_task(connect(0.05))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    spread = random.Random(7)
    starts = [spread.uniform(0, load.pace_s * 20) if load.kind == "sse" else 0.0 for _ in range(load.clients)]
    await asyncio.gather(*(connect(start) for start in starts))
    await asyncio.sleep(load.warm_s)
    tally.reset()
    began, cpu = time.perf_counter(), [process.running_s(pid) for pid in load.watch]
    own = time.process_time()
    while time.perf_counter() - began < load.window_s:
        await asyncio.sleep(0.005 if load.answers else load.window_s)
        if load.answers and len(tally.times) >= load.answers:
            break
    seconds = time.perf_counter() - began
    used = tuple(process.running_s(pid) - before for pid, before in zip(load.watch, cpu, strict=True))
    result = _result(tally, seconds, time.process_time() - own, used)
    ended.set()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for client in clients:
        client.end()
    await asyncio.sleep(0)  # connections that are broken off close in the loop's next round
    return result


def _result(tally: Tally, seconds: float, own: float, used: tuple[float, ...]) -> Result:
    times = sorted(tally.times) or [0.0]
    return Result(
        answers=len(tally.times),
        chunks=tally.chunks,
        errors=tally.errors,
        seconds=seconds,
        own_cpu_s=own,
        cpu_s=used,
        p50_ms=times[len(times) // 2] * 1e3,
        p99_ms=times[min(len(times) - 1, len(times) * 99 // 100)] * 1e3,
        first_error=tally.first_error,
    )


def ask_once(load: Load, within_s: float = 5.0) -> bytes:
    """One answer, over a connection of its own. Raises OSError if it is not 200."""
    host, _, port = load.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), within_s) as connection:
        asks = request(load, f"{host}:{port}")
        connection.sendall(asks.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1))
        got = b""
        while part := connection.recv(65536):
            got += part
    if not got.startswith(b"HTTP/1.1 200"):
        raise OSError(f"{load.url} answers {got[:200]!r}")
    return got


def measure(load: Load, *, on: set[int]) -> Result:
    """Run the generator in its own process on the CPUs ``on``. Raises StartError if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.harness.load"],
        input=msgspec.json.encode(load),
        capture_output=True,
        check=False,
        timeout=load.warm_s + load.window_s + 30,
        preexec_fn=lambda: os.sched_setaffinity(0, on),
        cwd=process.ROOT,
    )
    if done.returncode:
        raise process.StartError(f"load on {load.url}: {done.stderr.decode()[-400:]}")
    return msgspec.json.decode(done.stdout, type=Result)


def main() -> None:
    """Read a Load as JSON from standard input, print the Result as JSON."""
    load = msgspec.json.decode(sys.stdin.buffer.read(), type=Load)
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(run(load))) + b"\n")


if __name__ == "__main__":
    main()
