"""The real engine in its real process: it answers, it stops, it comes back."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from moduai.child import socket_path
from moduai.engines.address import parse_url
from moduai.engines.embedded import record, resolve
from moduai.engines.http import Reply, fetch
from moduai.settings import Embedded as EmbeddedSettings
from tests.engines.conftest import KEY, Embedded, answers, start_embedded, stop_embedded


async def ask(engine: Embedded, key: str = KEY, **body: object) -> Reply:
    return await fetch(
        parse_url(engine.url),
        "POST",
        "/v1/chat/completions",
        key=key,
        body=json.dumps(body).encode(),
        timeout_s=110,
    )


async def answer(engine: Embedded, *texts: str, **body: object) -> tuple[str, str]:
    """The text and the finish reason; texts are by turns the person's and the model's."""
    messages = [
        {"role": "assistant" if turn % 2 else "user", "content": text} for turn, text in enumerate(texts)
    ]
    reply = await ask(engine, messages=messages, **body)
    assert reply.status == 200, reply.body
    choice = json.loads(reply.body)["choices"][0]
    return choice["message"]["content"], choice["finish_reason"]


async def test_answers_in_english_and_stops_by_itself(embedded):
    text, reason = await answer(embedded, "What is the capital of Japan?", temperature=0)
    assert "Tokyo" in text
    assert reason == "stop"
    assert "#" not in text


async def test_answers_in_korean_and_stops_by_itself(embedded):
    text, reason = await answer(embedded, "안녕하세요", temperature=0)
    assert text.startswith("안녕하세요")
    assert reason == "stop"
    assert "###" not in text


async def test_content_in_parts_and_a_system_message_are_read(embedded):
    parts = [{"type": "text", "text": "안녕하세요"}]
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": parts}]
    reply = await ask(embedded, messages=messages, temperature=0)
    assert any(
        "가" <= letter <= "힣" for letter in json.loads(reply.body)["choices"][0]["message"]["content"]
    )


async def test_a_talk_goes_on(embedded):
    address = parse_url(embedded.url)
    messages = [
        {"role": "system", "content": "SYSTEM-MARK"},
        {"role": "user", "content": "First?"},
        {"role": "assistant", "content": "One."},
        {"role": "user", "content": "Second?"},
    ]
    body = json.dumps({"messages": messages}).encode()
    reply = await fetch(address, "POST", "/apply-template", key=KEY, body=body)
    prompt = json.loads(reply.body)["prompt"]
    assert prompt.endswith(
        "SYSTEM-MARK\n\n### Question\nFirst?\n### Answer\nOne.\n\n### Question\nSecond?\n### Answer\n"
    )


async def test_an_answer_without_max_tokens_cannot_ramble(embedded):
    text, _ = await answer(embedded, "Count from 1 to 1000.", stop=["no such text"])
    assert len(text) < 2000


async def test_max_tokens_of_the_request_counts(embedded):
    _, reason = await answer(embedded, "What is photosynthesis?", max_tokens=2)
    assert reason == "length"


async def test_streams(embedded):
    messages = [{"role": "user", "content": "Hello!"}]
    reply = await ask(embedded, messages=messages, stream=True)
    assert reply.status == 200
    assert reply.body.count(b"data: ") > 2
    assert reply.body.rstrip().endswith(b"data: [DONE]")


async def test_wants_its_key(embedded):
    assert (await ask(embedded, key="another", messages=[])).status == 401


def test_its_socket_and_files_are_ours_alone(embedded):
    assert stat.S_IMODE(embedded.socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(embedded.socket.parent.stat().st_mode) == 0o700


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_is_bounded_and_behind_the_gateway(embedded):
    proc = Path(f"/proc/{embedded.process.pid}")
    limits = (proc / "limits").read_text()
    data = next(line for line in limits.splitlines() if line.startswith("Max data size"))
    assert int(data.split()[3]) == 4096 * 1_048_576
    assert int((proc / "stat").read_text().rsplit(")", 1)[1].split()[16]) >= 10
    assert int((proc / "oom_score_adj").read_text()) >= 500


def test_a_second_child_does_not_take_the_first_ones_place(embedded):
    second = start_embedded(embedded.home)
    assert second.process.wait(30) == 1
    assert b"another process serves" in second.process.stderr.read()
    second.process.stderr.close()
    assert embedded.socket.exists()


async def test_killed_it_starts_again_at_once_and_stops_cleanly(tmp_path, embedded):
    weights = str(embedded.home / "weights" / "gemma-3-270m-q4_k_m.gguf")
    first = start_embedded(tmp_path, "--model", weights, "--name", "other")
    await answers(first)
    assert stop_embedded(first, signal.SIGKILL) == -signal.SIGKILL
    assert first.socket.exists()
    second = start_embedded(tmp_path, "--model", weights, "--name", "other")
    await answers(second)
    listed = await fetch(parse_url(second.url), "GET", "/v1/models", key=KEY)
    assert json.loads(listed.body)["data"][0]["id"] == "other"
    assert stop_embedded(second) == 0
    assert not second.socket.exists()


def test_ends_when_its_parent_dies(tmp_path, embedded):
    weights = embedded.home / "weights" / "gemma-3-270m-q4_k_m.gguf"
    script = (
        "import os, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-m', 'moduai.engines.embedded', '--model', sys.argv[1],"
        " '--socket', sys.argv[2]], env={**os.environ, 'MODU_ENGINE_KEY': 'k'}, stderr=subprocess.PIPE)\n"
        "child.stderr.readline()\n"
    )
    socket = tmp_path / "e.sock"
    done = subprocess.run(
        [sys.executable, "-c", script, str(weights), str(socket)],
        timeout=120,
        check=True,
        capture_output=True,
    )
    assert done.returncode == 0
    _until(lambda: not socket.exists())


def _until(true, within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("options", "environ", "status", "says"),
    [
        ((), {"MODU_ENGINE_KEY": ""}, 2, b"MODU_ENGINE_KEY is not set"),
        ((), {"MODU_ENGINE_URL": "http://127.0.0.1:1"}, 2, b"give --socket"),
        ((), {"MODU_ACCEPT_TERMS": "0"}, 1, b"terms are not accepted"),
        (("--model", "/no/such.gguf"), {}, 1, b"there is no such file"),
        (("--model", __file__), {}, 1, b"not a GGUF file"),
    ],
)
def test_says_in_a_line_why_it_cannot_start(tmp_path, options, environ, status, says):
    engine = start_embedded(tmp_path, *options, **environ)
    assert engine.process.wait(30) == status
    assert says in engine.process.stderr.read()
    engine.process.stderr.close()


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA is enforced on Linux")
def test_more_memory_than_allowed_ends_the_child_alone(tmp_path, embedded):
    weights = str(embedded.home / "weights" / "gemma-3-270m-q4_k_m.gguf")
    engine = start_embedded(tmp_path, "--model", weights, MODU_EMBEDDED__MEMORY_MB="100")
    assert engine.process.wait(60) != 0
    assert b"raise embedded.memory_mb (100)" in engine.process.stderr.read()
    engine.process.stderr.close()


def test_the_record_says_what_it_is(embedded):
    weights = resolve(embedded.home, "")
    assert weights is not None
    settings = EmbeddedSettings(context=2048, slots=3, watts=50)
    engine = record(settings, weights, embedded.url, KEY)
    assert (engine.id, engine.kind, engine.concurrency) == ("eng_embedded", "embedded", 3)
    assert (engine.hardware.kind, engine.hardware.count, engine.hardware.watts) == ("CPU", 1, 50)
    (model,) = engine.models
    assert (model.name, model.capability.context) == ("gemma-3-270m", 2048)
    assert "base model" in model.capability.description
    assert "Google" in model.capability.origin
    assert model.capability.licence == "Gemma Terms of Use"


def test_a_long_home_gets_a_short_socket(tmp_path):
    assert socket_path(tmp_path, "engine") == tmp_path / "run" / "engine.sock"
    long = tmp_path / ("x" * 120)
    assert len(bytes(socket_path(long, "engine"))) < 100
    assert socket_path(long, "engine") != socket_path(tmp_path / ("y" * 120), "engine")
    assert socket_path(long, "engine") != socket_path(long, "search")
