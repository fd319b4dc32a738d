"""A decision log of a live gateway, or of the twin itself, replays to the same hash."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from random import Random

import msgspec
import uvloop
from benchmarks.harness.behaviour import Behaviour
from benchmarks.harness.engine import running_engine

from moduai.gateway.policy_text import shipped
from moduai.planner import Engine, Twin, replay, traffic
from moduai.scheduling.journal import Journal
from tests.gateway.conftest import (
    KEY,
    OTHER_KEY,
    Gateway,
    chat,
    engine_of,
    request,
    running_gateway,
    shared,
    until,
)
from tests.planner.test_run import POLICY, STEP

REPLAY = """
import sys
from moduai.planner import replay
with open(sys.argv[1], "rb") as lines:
    print(replay(lines).replayed)
"""


async def _under_load(lines: list[bytes]) -> int:
    """A gateway with two engines: more is asked than they can, some leave, one fails, the policy changes."""
    random = Random(5)
    async with running_engine() as one, running_engine() as other:
        one.behaviour = other.behaviour = Behaviour(chunks=4, pace_s=0.003)
        engines = [engine_of(one, 1, concurrency=2), engine_of(other, 2, concurrency=1)]
        queue = Journal(shipped(), lines.append)
        async with running_gateway(*engines, queue=queue) as gateway:
            tasks = [asyncio.create_task(_client(gateway, random, number)) for number in range(60)]
            await until(lambda: sum(task.done() for task in tasks) > 10)
            other.script(*[Behaviour(fault="die")] * 3)
            await until(lambda: sum(task.done() for task in tasks) > 25)
            shared(gateway, "weight = 3\n[class.standard.organisation.org_b]\nweight = 4\n")
            await until(lambda: sum(task.done() for task in tasks) > 40)
            gateway.fleet.apply(engines[:1])
            await asyncio.gather(*tasks)
            assert "queued" in {row.step for row in gateway.ledger.rows}
            assert "cancelled" in {row.outcome for row in gateway.ledger.rows}
            assert gateway.lane.stats.retries
        queue.close()
        return queue.calls


async def _client(gateway: Gateway, random: Random, number: int) -> None:
    body = chat(
        stream=number % 3 == 0, max_tokens=random.choice([8, 300]), user="가" * random.randrange(3000)
    )
    key = KEY if number % 4 else OTHER_KEY
    if number % 5:
        await gateway.raw(request("/v1/chat/completions", body, key))
        return
    _, writer = await gateway.connect()
    writer.write(request("/v1/chat/completions", body, key))
    await asyncio.sleep(random.random() * 0.05)
    writer.close()


def test_the_log_of_a_live_gateway_replays_to_the_same_hash(tmp_path: Path) -> None:
    lines: list[bytes] = []
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        calls = runner.run(_under_load(lines))
    kinds = {msgspec.json.decode(line)[0] for line in lines}
    assert kinds >= {"begin", "replica", "submit", "finish", "progress", "cancel", "policy", "remove", "hash"}
    came = replay(lines)
    assert came.agrees
    assert came.calls == calls > 100
    file = tmp_path / "log"
    file.write_bytes(b"".join(lines))
    environ = {**os.environ, "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-c", REPLAY, str(file)]
    elsewhere = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert elsewhere.stdout.strip() == came.recorded


def test_a_log_of_the_twin_replays_and_a_changed_one_does_not() -> None:
    lines: list[bytes] = []
    journal = Journal(POLICY, lines.append)
    here = Twin(journal, {"replica-0": Engine(STEP, slots=4)})
    here.play(traffic.merged(traffic.light(1, 10, count=40, rate=0.5), traffic.heavy(2, 10, 4.0)))
    here.run(60)
    journal.close()
    assert replay(lines).agrees
    at = next(number for number, line in enumerate(lines) if line.startswith(b'["submit"'))
    came = replay([*lines[:at], *lines[at + 1 :]])
    assert not came.agrees
    assert came.differs == 0
