"""What breaks around a running service, with its real processes: nothing is lost, nothing hangs."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from benchmarks.harness import modu, process

from tests.conftest import until

BODY = {"model": "fake-model", "messages": [{"role": "user", "content": "?"}]}
CPUS = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="prlimit and /proc are Linux's")


class Started:
    """A service of its own for one test."""

    def __init__(self, url: str, home: modu.Home, pids: tuple[int, ...], log: Path) -> None:
        self.url, self.home, self.pids, self.log = url, home, pids, log
        self.client = httpx.Client(base_url=url, headers={"authorization": f"Bearer {home.key}"}, timeout=60)

    def close(self) -> None:
        self.client.close()

    def ask(self, **fields: Any) -> httpx.Response:
        return self.client.post("/v1/chat/completions", json={**BODY, **fields})

    def served(self, count: int) -> list[str]:
        """Ids of so many good answers."""
        answers = [self.ask() for _ in range(count)]
        assert {answer.status_code for answer in answers} == {200}
        return [answer.headers["x-request-id"] for answer in answers]

    def rows(self) -> list[tuple[str, str]]:
        """Id and outcome of every row in the database."""
        with contextlib.closing(
            sqlite3.connect(f"file:{self.home.folder / 'modu.db'}?mode=ro", uri=True)
        ) as db:
            return list(db.execute("SELECT id, outcome FROM usage"))

    def all_there(self, ids: list[str], within_s: float = 60.0) -> None:
        """Each id has its row, once."""
        until(lambda: set(ids) <= {row[0] for row in self.rows()}, within_s=within_s)
        found = [row[0] for row in self.rows()]
        assert len(found) == len(set(found))

    def ready(self) -> tuple[int, dict[str, Any]]:
        answer = self.client.get("/health/ready")
        return answer.status_code, answer.json()

    def stream(self) -> socket.socket:
        """A stream that has begun."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        body = json.dumps({**BODY, "stream": True}).encode()
        opened = socket.create_connection((host, int(port)), 10)
        opened.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer %b\r\n"
            b"content-length: %d\r\n\r\n%b" % (self.home.key.encode(), len(body), body)
        )
        assert opened.recv(65536).startswith(b"HTTP/1.1 200")
        return opened


@contextlib.contextmanager
def engine(place: Path, *options: str) -> Iterator[tuple[str, process.Started]]:
    """A fake engine that a test may kill."""
    log = place / "engine.log"
    command = [sys.executable, "-m", "benchmarks.harness.engine", "--port", "0", *options]
    started = process.start(command, on=CPUS, log=log, first_line=True)
    try:
        yield process.first_line(started, log), started
    finally:
        process.stop(started)


@contextlib.contextmanager
def service(place: Path, engine_url: str, **settings: str) -> Iterator[Started]:
    """Worker and metering process on a home of their own."""
    home = modu.prepare(place / "home", [engine_url])
    with running(home, place / "modu.log", **settings) as here:
        yield here


@contextlib.contextmanager
def running(home: modu.Home, log: Path, **settings: str) -> Iterator[Started]:
    """The same, on a home that is there."""
    with (
        modu.running_modu(home, log, on=CPUS, beside=CPUS, settings=settings) as target,
        contextlib.closing(Started(target.url, home, target.pids, log)) as here,
    ):
        yield here
    assert "Traceback" not in log.read_text("utf-8", "replace")


def test_a_full_disk_keeps_rows_says_so_and_refuses_when_the_buffer_is_full(tmp_path: Path) -> None:
    with engine(tmp_path) as (url, _), service(tmp_path, url, ledger__buffer_rows="40") as here:
        ids = here.served(3)
        here.all_there(ids)
        limits = resource.prlimit(here.pids[0], resource.RLIMIT_FSIZE)
        resource.prlimit(here.pids[0], resource.RLIMIT_FSIZE, (4096, limits[1]))
        answer = here.ask()
        for _ in range(80):
            if answer.status_code == 503:
                break  # a refusal used nothing, and leaves no row while there is no room for one
            ids.append(answer.headers["x-request-id"])
            assert answer.status_code == 200
            answer = here.ask()
        assert answer.json()["error"]["code"] == "ledger_unavailable"
        assert int(answer.headers["retry-after"]) >= 1
        status, said = here.ready()
        assert (status, "ledger" in said["degraded"]) == (503, True)
        kept = len(here.rows())
        assert kept < len(ids), "the disk took everything"
        resource.prlimit(here.pids[0], resource.RLIMIT_FSIZE, limits)
        until(lambda: here.ready() == (200, {"status": "ready", "degraded": []}))
        here.all_there([*ids, *here.served(3)])


def test_a_disk_that_is_nearly_full_degrades_before_it_refuses(tmp_path: Path) -> None:
    with engine(tmp_path) as (url, _), service(tmp_path, url) as here:
        ids = here.served(1)
        limits = resource.prlimit(here.pids[0], resource.RLIMIT_FSIZE)
        resource.prlimit(here.pids[0], resource.RLIMIT_FSIZE, (2048, limits[1]))
        ids += here.served(20)
        until(lambda: here.ready() == (200, {"status": "degraded", "degraded": ["ledger"]}))
        resource.prlimit(here.pids[0], resource.RLIMIT_FSIZE, limits)
        here.all_there(ids)


def test_a_locked_database_costs_no_row_and_no_answer(tmp_path: Path) -> None:
    with engine(tmp_path) as (url, _), service(tmp_path, url) as here:
        with contextlib.closing(sqlite3.connect(here.home.folder / "modu.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            ids, ends = here.served(20), time.monotonic() + 2.0
            while time.monotonic() < ends:
                ids += here.served(5)
            assert not set(ids) & {row[0] for row in here.rows()}
            other.execute("ROLLBACK")
        here.all_there(ids)


def test_a_database_that_goes_away_and_comes_back_costs_no_row(tmp_path: Path) -> None:
    with engine(tmp_path) as (url, _), service(tmp_path, url) as here:
        ids = here.served(5)
        here.all_there(ids)
        away = tmp_path / "away"
        away.mkdir()
        files = [file for file in here.home.folder.glob("modu.db*") if file.is_file()]
        for file in files:
            file.rename(away / file.name)
        ends = time.monotonic() + 2.5
        while time.monotonic() < ends:
            ids += here.served(5)
        strange = [file.name for file in here.home.folder.glob("modu.db*")]
        for file in files:
            (away / file.name).replace(file)
        ids += here.served(5)
        here.all_there(ids)
        assert not strange, "an empty database was made in its place"


def test_kill_of_a_worker_closes_its_streams_and_the_next_one_serves(tmp_path: Path) -> None:
    with engine(tmp_path, "--chunks", "400", "--pace", "0.02") as (url, _):
        home, log = modu.prepare(tmp_path / "home", [url]), tmp_path / "modu.log"
        with modu.up(home, log, on=CPUS) as supervisor:
            here = Started(modu.wait_for_status(home.folder, supervisor, log), home, (), log)
            until(lambda: here.client.get("/v1/models").json()["data"])
            ids = here.served(5)
            streams = [here.stream() for _ in range(8)]
            time.sleep(0.3)  # rows are promised to be safe after 200 ms
            (worker,) = [
                pid for pid in process.tree(supervisor.pid)[1:] if "moduai.app" in process.command(pid)
            ]
            os.kill(worker, signal.SIGKILL)
            for stream in streams:
                stream.settimeout(30)  # one that hangs raises
                with contextlib.suppress(ConnectionResetError):
                    while stream.recv(65536):
                        pass
                stream.close()
            here.client.close()
            here = Started(here.url, home, (), log)
            answer = until(lambda: _answered(here), within_s=60)
            here.all_there([*ids, answer.headers["x-request-id"]])
            here.client.close()


def _answered(here: Started) -> httpx.Response | None:
    with contextlib.suppress(httpx.TransportError):
        answer = here.ask()
        if answer.status_code == 200:
            return answer
    time.sleep(0.05)
    return None


def test_kill_of_an_engine_in_a_stream_ends_it_with_an_error(tmp_path: Path) -> None:
    with (
        engine(tmp_path, "--chunks", "400", "--pace", "0.02") as (url, running),
        service(tmp_path, url) as here,
    ):
        with here.client.stream("POST", "/v1/chat/completions", json={**BODY, "stream": True}) as answer:
            request_id = answer.headers["x-request-id"]
            lines = answer.iter_lines()
            assert next(lines).startswith("data: ")
            running.kill()
            last = [line for line in lines if line.startswith("data: ")][-1]
        assert json.loads(last[6:])["error"]["code"] == "engine_failed"
        until(lambda: (request_id, "failed") in here.rows())
        codes = [here.ask().json()["error"]["code"] for _ in range(4)]
        assert set(codes[:2]) <= {"engine_failed", "engine_unavailable"}
        assert codes[-1] == "engine_unavailable"  # the third failure in a row: nothing is sent there now
        assert here.ready() == (200, {"status": "degraded", "degraded": ["engines"]})


def test_a_crowd_of_slow_clients_does_not_slow_the_others(tmp_path: Path) -> None:
    with engine(tmp_path) as (url, _), service(tmp_path, url, limits__head_s="2") as here:
        host, _, port = here.url.removeprefix("http://").partition(":")
        slow = [socket.create_connection((host, int(port)), 10) for _ in range(200)]
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nx-slow: " + b"a" * 500
        waits: list[float] = []
        cut_off: set[int] = set()
        began = time.monotonic()
        for step in range(400):
            if len(cut_off) == len(slow):
                break
            assert time.monotonic() - began < 60, f"{len(slow) - len(cut_off)} slow clients are still there"
            for number, each in enumerate(slow):
                if number not in cut_off and not _drip(each, head[step : step + 1]):
                    cut_off.add(number)
            at = time.monotonic()
            assert here.ask().status_code == 200
            waits.append(time.monotonic() - at)
            time.sleep(0.05)
        for each in slow:
            each.close()
        assert len(cut_off) == len(slow)
        assert sorted(waits)[int(len(waits) * 0.95)] < 0.5
        assert here.client.get("/health/ready").status_code == 200


def _drip(slow: socket.socket, byte: bytes) -> bool:
    """Send one more byte; False when the other side has given up."""
    try:
        slow.send(byte)
        slow.setblocking(False)
        got = slow.recv(4096)
    except BlockingIOError:
        return True
    except OSError:
        return False
    assert not got or got.startswith(b"HTTP/1.1 408")
    return False


def test_a_revoked_key_is_refused_at_once(tmp_path: Path, record_property: Any) -> None:
    def command(*words: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "moduai.cli", *words],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, **here.home.environ()},
        ).stdout.strip()

    with engine(tmp_path) as (url, _), service(tmp_path, url) as here:
        key = command("key", "create", "short", "--quiet")
        mine = {"authorization": f"Bearer {key}"}
        ask = lambda: here.client.post("/v1/chat/completions", json=BODY, headers=mine).status_code  # noqa: E731
        until(lambda: ask() == 200)
        listed = json.loads(command("key", "list", "--json"))
        revoked = next(each["id"] for each in listed if each["name"] == "short")
        command("key", "revoke", revoked, "--yes")
        began = time.monotonic()
        until(lambda: ask() == 401)
        record_property("revoked_after_s", time.monotonic() - began)
        assert here.ask().status_code == 200  # the other key
