"""The load generator counts whole and right answers only, and reads the CPU of what it watches."""

import os
import subprocess
import sys
import time

import pytest
from benchmarks.bars import median
from benchmarks.harness import load, nginx, process
from benchmarks.harness.behaviour import Behaviour
from benchmarks.harness.engine import running_engine
from benchmarks.harness.load import Load


async def test_counts_what_the_engine_answered():
    async with running_engine() as engine:
        result = await load.run(Load(url=engine.url, clients=4, warm_s=0.0, window_s=20, answers=200))
        assert result.errors == 0
        assert 200 <= result.answers <= engine.counts.finished <= result.answers + 8
        assert 0 < result.p50_ms <= result.p99_ms


async def test_counts_chunks_of_streams():
    async with running_engine(behaviour=Behaviour(chunks=20)) as engine:
        asked = Load(url=engine.url, kind="sse", clients=1, warm_s=0.0, window_s=20, answers=10)
        result = await load.run(asked)
    each = result.chunks / result.answers
    assert 20 <= each < 26, "a role, 20 pieces, a finish, [DONE]; the first and the last may be cut off"


@pytest.mark.parametrize("fault", ["refuse", "die", "die_mid", "garbage_http"])
@pytest.mark.parametrize("kind", ["json", "sse"])
async def test_wrong_answers_are_errors(fault, kind):
    async with running_engine(behaviour=Behaviour(fault=fault)) as engine:
        result = await load.run(Load(url=engine.url, kind=kind, clients=2, warm_s=0.0, window_s=0.3))
    assert result.answers == 0
    assert result.errors > 0
    assert result.first_error


async def test_an_error_inside_a_stream_is_an_error():
    async with running_engine(behaviour=Behaviour(fault="error_mid")) as engine:
        result = await load.run(Load(url=engine.url, kind="sse", clients=1, warm_s=0.0, window_s=0.3))
    assert result.errors > 0


async def test_chunked_json_is_whole():
    async with running_engine(behaviour=Behaviour(chunked=True)) as engine:
        result = await load.run(Load(url=engine.url, clients=1, warm_s=0.0, window_s=20, answers=20))
    assert result.errors == 0


async def test_nothing_listens():
    with pytest.raises(OSError, match="Connect call failed"):
        await load.run(Load(url=f"http://127.0.0.1:{process.free_port()}", clients=1))


def test_cpu_of_threads_that_have_ended_counts():
    burn = "\ndef burn():\n    while time.thread_time() < 0.3: pass\n"
    code = (
        f"import threading, time{burn}t = threading.Thread(target=burn)\nt.start()\nt.join()\ntime.sleep(30)"
    )
    child = subprocess.Popen([sys.executable, "-c", code])
    try:
        deadline = time.monotonic() + 60
        while process.cpu_s(child.pid) < 0.3 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert process.running_s(child.pid) >= 0.28
    finally:
        process.stop(child)
    assert process.running_s(child.pid) == 0


def test_cpu_of_a_process_and_its_children():
    burn = "while time.process_time() < 0.4: pass"
    code = f"import os, time; os.fork()\n{burn}\ntime.sleep(30)"
    child = subprocess.Popen([sys.executable, "-c", code])
    try:
        deadline = time.monotonic() + 60
        while process.tree_cpu_s(child.pid) < 0.6 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(process.tree(child.pid)) == 2
        assert 0.6 <= process.tree_cpu_s(child.pid) < 1.2
        assert process.running_s(child.pid) == pytest.approx(process.cpu_s(child.pid), abs=0.1)
        assert process.pss(child.pid) > 2**20
    finally:
        process.stop(child)
    assert process.cpu_s(child.pid) == 0.0


def test_stop_ends_children_too(tmp_path):
    fork = "import os, time; os.fork(); time.sleep(60)"
    child = process.start([sys.executable, "-c", fork], on=set(), log=tmp_path / "log")
    deadline = time.monotonic() + 60
    while len(pids := process.tree(child.pid)) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.stop(child)
    assert len(pids) == 2
    assert not any(process.command(pid) for pid in pids)


def test_a_measured_process_gets_none_of_our_secrets(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "secret")
    show = "import os; print(sorted(os.environ), flush=True)"
    child = process.start([sys.executable, "-c", show], on=set(), log=tmp_path / "log", first_line=True)
    assert "SOME_API_KEY" not in process.first_line(child, tmp_path / "log")
    process.stop(child)


def test_the_median():
    assert median([3.0, 1.0, 2.0]) == 2.0
    assert median([4.0, 1.0, 2.0, 3.0]) == 2.5


@pytest.mark.skipif(nginx.binary() is None, reason="nginx is not installed")
async def test_nginx_asks_for_the_key_and_relays(tmp_path):
    async with running_engine() as engine:
        with nginx.running_nginx(tmp_path, engine.url, on=set(os.sched_getaffinity(0))) as target:
            asked = Load(url=target.url, key=target.key, clients=2, warm_s=0.0, window_s=20, answers=20)
            right = await load.run(asked)
            wrong = await load.run(Load(url=target.url, key="no", clients=1, warm_s=0.0, window_s=0.2))
            assert len(target.pids) == 1
    assert (right.errors, right.answers >= 20) == (0, True)
    assert wrong.answers == 0
    assert "401" in wrong.first_error
