"""The supervisor with small real child processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import time
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from moduai import service, supervisor
from moduai.service import NotStartedError, PortTakenError
from moduai.supervisor import Child, supervise

WORKER = """
import os, signal, socket, sys, time
def over(*_):
    open(sys.argv[1], "a").write("worker\\n")
    if "slow" in sys.argv and not over.again:
        over.again = True
        return
    os._exit(0)
over.again = False
signal.signal(signal.SIGTERM, over)
listening = socket.socket(fileno=int(os.environ["MODU_LISTEN_FD"]))
while True:
    client, _ = listening.accept()
    path = client.recv(4096).split(b" ")[1]
    if path == b"/hang":
        time.sleep(60)
    body = b'{"status":"live"}' if path == b"/health/live" else b"%d" % os.getpid()
    client.sendall(b"HTTP/1.1 200 OK\\r\\n\\r\\n" + body)
    client.close()
"""
OTHER = """
import os, signal, sys, time
def over(*_):
    open(sys.argv[1], "a").write("other\\n")
    os._exit(0)
signal.signal(signal.SIGTERM, over)
open(sys.argv[1], "a").write("up\\n")
time.sleep(120)
"""


def python(code, *arguments):
    return (sys.executable, "-c", textwrap.dedent(code), *map(str, arguments))


async def until(condition, within_s=60.0):
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)
    return found


async def ask(url, path="/"):
    reader, writer = await asyncio.open_connection(*url.removeprefix("http://").split(":"))
    writer.write(f"GET {path} HTTP/1.1\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return int(answer.rsplit(b"\r\n", 1)[1])


def is_gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@asynccontextmanager
async def supervised(home, *others, slow=False):
    listening = service.listen("127.0.0.1", 0)
    url = service.url_of(listening, tls=False)
    worker = Child(
        "worker",
        python(WORKER, home / "order", *(["slow"] if slow else [])),
        {"MODU_LISTEN_FD": str(listening.fileno())},
        (listening.fileno(),),
        live=url,
    )
    ready = asyncio.Event()
    running = asyncio.create_task(supervise(home, url, listening, [*others, worker], ready.set))
    try:
        async with asyncio.timeout(60):
            await asyncio.wait({running, asyncio.ensure_future(ready.wait())}, return_when="FIRST_COMPLETED")
            if running.done():
                running.result()
        yield url, running
    finally:
        if not running.done():
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(0)
        with suppress(NotStartedError):
            async with asyncio.timeout(60):
                await running


async def test_it_says_when_it_is_ready_and_stops_in_the_reverse_order(tmp_path):
    other = Child("other", python(OTHER, tmp_path / "order"), when_ready=True)
    async with supervised(tmp_path, other) as (url, running):
        status = tmp_path / "run" / "service.json"
        assert json.loads(status.read_text())["url"] == url
        assert stat.S_IMODE(status.stat().st_mode) == 0o600
        await until(lambda: (tmp_path / "order").exists() and "up" in (tmp_path / "order").read_text())
        os.kill(os.getpid(), signal.SIGTERM)
        await running
    assert (tmp_path / "order").read_text().split() == ["up", "worker", "other"]
    assert not status.exists()


async def test_a_killed_worker_is_started_again_and_connections_wait_for_it(tmp_path):
    async with supervised(tmp_path) as (url, _):
        first = await ask(url)
        os.kill(first, signal.SIGKILL)
        await until(lambda: is_gone(first))  # what it takes before it dies is lost with it
        answers = await asyncio.gather(*(ask(url) for _ in range(20)))
        assert first not in answers
        assert len(set(answers)) == 1


async def test_a_worker_that_hangs_is_killed_and_started_again(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "LIVE_EVERY_S", 0.05)
    monkeypatch.setattr(supervisor, "LIVE_WITHIN_S", 0.2)
    async with supervised(tmp_path) as (url, _):
        first = await ask(url)
        hung = asyncio.create_task(ask(url, "/hang"))
        assert await asyncio.wait_for(ask(url), 10) != first
        with suppress(ValueError, IndexError, OSError):
            await hung


async def test_a_child_that_cannot_run_is_left_alone(tmp_path):
    engine = Child("engine", python(f"raise SystemExit({supervisor.CANNOT_RUN})"), needed=False)
    async with supervised(tmp_path, engine) as (url, running):
        assert await ask(url)
        assert not running.done()


@pytest.mark.parametrize("code", [f"raise SystemExit({supervisor.CANNOT_RUN})", "raise SystemExit(3)"])
async def test_a_needed_child_that_never_starts_ends_the_service(tmp_path, monkeypatch, code):
    monkeypatch.setattr(supervisor, "BACK_OFF_S", (0.001, 0.002))
    listening = service.listen("127.0.0.1", 0)
    children = [Child("other", python(OTHER, tmp_path / "order")), Child("worker", python(code))]
    with pytest.raises(NotStartedError, match="worker"):
        await asyncio.wait_for(
            supervise(tmp_path, service.url_of(listening, tls=False), listening, children), 10
        )


async def test_the_second_signal_stops_now(tmp_path):
    async with supervised(tmp_path, slow=True) as (_, running):
        os.kill(os.getpid(), signal.SIGINT)
        await until((tmp_path / "order").exists)
        assert not running.done()
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.wait_for(running, 60)
    assert (tmp_path / "order").read_text().split() == ["worker", "worker"]


async def test_the_pause_grows_and_a_settled_child_begins_anew(tmp_path, monkeypatch):
    pauses = []

    async def pause(seconds):
        pauses.append(round(seconds, 1))
        if len(pauses) == 11:
            monkeypatch.setattr(supervisor, "SETTLED_S", 0.0)
        if len(pauses) == 12:
            raise asyncio.CancelledError

    loop = asyncio.get_running_loop()
    kept = supervisor.Kept(Child("other", python("pass")), asyncio.Event())
    kept.ready.set()
    loop.add_signal_handler(signal.SIGCHLD, kept.changed.set)
    monkeypatch.setattr(supervisor.asyncio, "sleep", pause)
    with pytest.raises(asyncio.CancelledError):
        await kept.keep()
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0, 0.1]


async def test_a_worker_that_had_answered_is_back_at_once_however_often_it_dies(
    tmp_path, monkeypatch, caplog
):
    probe, answered = supervisor.probe, []

    async def seen(url, path, **options):
        answered.append(await probe(url, path, **options))
        return answered[-1]

    monkeypatch.setattr(supervisor, "probe", seen)
    async with supervised(tmp_path) as (url, _):
        for _ in range(5):
            process = await ask(url)
            answered.clear()
            os.kill(process, signal.SIGKILL)
            await until(lambda: answered and answered[-1])
    assert [record.in_s for record in caplog.records if hasattr(record, "in_s")] == [0.1] * 5


async def test_a_child_that_never_gets_well_backs_off_to_its_own_limit(monkeypatch):
    pauses = []

    async def pause(seconds):
        pauses.append(round(seconds, 1))
        if len(pauses) == 8:
            raise asyncio.CancelledError

    child = Child("worker", python("pass"), longest_pause_s=supervisor.WORKER_PAUSE_S)
    kept = supervisor.Kept(child, asyncio.Event())
    kept.ready.set()
    asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, kept.changed.set)
    monkeypatch.setattr(supervisor.asyncio, "sleep", pause)
    with pytest.raises(asyncio.CancelledError):
        await kept.keep()
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's signal to orphans is Linux only")
async def test_children_end_when_the_supervisor_is_killed(tmp_path):
    code = f"""
    import asyncio, pathlib
    from moduai import service
    from moduai.supervisor import Child, supervise
    home = pathlib.Path({str(tmp_path)!r})
    listening = service.listen("127.0.0.1", 0)
    child = Child("worker", {python(OTHER, tmp_path / "order")!r})
    asyncio.run(supervise(home, service.url_of(listening, tls=False), listening, [child]))
    """
    process = subprocess.Popen(python(code))  # noqa: ASYNC220
    order = tmp_path / "order"
    await until(lambda: order.exists() and "up" in order.read_text())
    process.kill()
    process.wait()
    await until(lambda: "other" in order.read_text())


def test_one_service_a_home_folder(tmp_path):
    assert service.running(tmp_path) is None
    lock = service.hold(tmp_path)
    assert service.running(tmp_path) == (0, "", 0)
    service.write_status(tmp_path, service.Service(os.getpid(), "http://127.0.0.1:1", 5))
    assert service.running(tmp_path) == (os.getpid(), "http://127.0.0.1:1", 5)
    with pytest.raises(NotStartedError, match="already runs"):
        service.hold(tmp_path)
    os.close(lock)
    assert service.running(tmp_path) is None
    assert not (tmp_path / "run" / "service.json").exists(), "what a crash left behind is removed"


def test_a_taken_port_is_named_and_a_free_one_offered():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTakenError, match=f"port {port} is taken by another program") as caught:
            service.listen("127.0.0.1", port)
    service.listen("127.0.0.1", caught.value.free).close()


async def test_a_port_taken_by_modu_is_told_apart(tmp_path):
    async with supervised(tmp_path) as (url, _):
        with pytest.raises(PortTakenError, match="another Modu"):
            await asyncio.to_thread(service.listen, "127.0.0.1", int(url.rsplit(":", 1)[1]))


@pytest.mark.parametrize("host", ["203.0.113.1", "no such host"])
def test_an_address_of_another_machine_is_refused(host):
    with pytest.raises(NotStartedError, match="not an address of this machine"):
        service.listen(host, 0)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
    ],
)
def test_what_counts_as_loopback(host, loopback):
    assert service.is_loopback(host) is loopback


def test_the_lock_is_in_a_home_that_others_cannot_read(tmp_path):
    lock = service.hold(tmp_path / "a" / "home")
    os.close(lock)
    assert (tmp_path / "a" / "home").stat().st_mode & 0o777 == 0o700
