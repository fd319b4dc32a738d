"""The fake engine does what it says: its answers, its faults and its counts, over real sockets."""

import asyncio
import json
from pathlib import Path

import httpx
import pytest
from benchmarks.harness.behaviour import Behaviour
from benchmarks.harness.engine import MODEL, FakeEngine, running_engine

ASK = {"model": MODEL, "messages": [{"role": "user", "content": "안녕?"}]}


async def ask(engine: FakeEngine, **fields: object) -> httpx.Response:
    async with httpx.AsyncClient(base_url=engine.url, timeout=60) as client:
        return await client.post("/v1/chat/completions", json={**ASK, **fields})


async def raw(engine: FakeEngine, fault: str, *, stream: bool = False, **how: object) -> bytes:
    """All bytes of an answer with a fault, until the engine closes or is silent for 0.2 s."""
    host, port = engine.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    body = json.dumps({**ASK, "stream": stream, "x_fake": {"fault": fault, **how}}).encode()
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
    got = b""
    try:
        while part := await asyncio.wait_for(reader.read(65536), 0.2):
            got += part
    except TimeoutError:
        got += b"<silence>"
    writer.close()
    return got


async def test_json_answer_counts_its_tokens():
    async with running_engine() as engine:
        answer = (await ask(engine)).json()
        short = (await ask(engine, max_tokens=2)).json()
    assert answer["usage"]["completion_tokens"] == 16
    assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 4
    assert short["choices"][0]["finish_reason"] == "length"
    assert engine.counts.finished == 2
    assert engine.counts.cancelled == 0


async def test_stream_has_the_same_text_and_usage_when_asked():
    async with running_engine() as engine:
        whole = (await ask(engine)).json()["choices"][0]["message"]["content"]
        text = (await ask(engine, stream=True, stream_options={"include_usage": True})).text
    events = [json.loads(line[6:]) for line in text.split("\n\n") if line and "[DONE]" not in line]
    assert "".join(e["choices"][0]["delta"].get("content", "") for e in events if e["choices"]) == whole
    assert events[-1]["usage"]["completion_tokens"] == 16
    assert text.endswith("data: [DONE]\n\n")


async def test_split_characters_are_right_bytes():
    async with running_engine(behaviour=Behaviour(fault="split_character")) as engine:
        assert "모두의" in (await ask(engine, stream=True)).text
        assert "모두의" in (await ask(engine)).json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize(
    ("fault", "status"),
    [("refuse", 503), ("busy", 429), ("bad_request", 400), ("unauthorised", 401), ("server_error", 500)],
)
async def test_refusals(fault, status):
    async with running_engine() as engine:
        engine.script(Behaviour(fault=fault))
        assert (await ask(engine)).status_code == status
        assert (await ask(engine)).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fault", "ends"),
    [
        ("hang", b"<silence>"),
        ("die", b""),
        ("half_head", b"content-ty"),
        ("garbage_http", b"nonsense\r\n\r\n"),
    ],
)
async def test_faults_before_the_head(fault, ends, stream):
    async with running_engine() as engine:
        assert (await raw(engine, fault, stream=stream)).endswith(ends)


async def test_faults_in_the_middle():
    async with running_engine() as engine:
        hung = await raw(engine, "hang_mid", stream=True, after=3)
        died = await raw(engine, "die_mid", stream=True, after=3)
        half = await raw(engine, "half_character", stream=True)
    assert hung.endswith(b"<silence>")
    assert hung.count(b"data: ") == died.count(b"data: ") == 4
    assert b"0\r\n\r\n" not in died
    with pytest.raises(UnicodeDecodeError):
        half.decode()


async def test_a_client_that_leaves_is_counted():
    async with running_engine(behaviour=Behaviour(pace_s=0.05, chunks=1000)) as engine:
        async with (
            httpx.AsyncClient(base_url=engine.url) as client,
            client.stream("POST", "/v1/chat/completions", json={**ASK, "stream": True}) as answer,
        ):
            await anext(answer.aiter_bytes())
            assert engine.counts.running == 1
        async with asyncio.timeout(60):
            while engine.counts.running:  # noqa: ASYNC110 - the engine has no event for it
                await asyncio.sleep(0.01)
    assert engine.counts.cancelled == 1


async def test_it_shows_what_it_received_on_a_unix_socket(tmp_path: Path):
    async with running_engine(unix=tmp_path / "engine.sock", behaviour=Behaviour(fault="echo")) as engine:
        transport = httpx.AsyncHTTPTransport(uds=str(tmp_path / "engine.sock"))
        async with httpx.AsyncClient(transport=transport, base_url="http://engine") as client:
            answer = await client.post("/v1/chat/completions", json=ASK, headers={"x-here": "yes"})
    echo = json.loads(answer.json()["choices"][0]["message"]["content"])
    assert json.loads(echo["body"]) == ASK
    assert ["x-here", "yes"] in echo["headers"]
    assert engine.seen[0].header("X-Here") == "yes"


async def test_it_asks_for_its_key_and_comes_back_after_being_away():
    async with running_engine(key="secret") as engine:
        assert (await ask(engine)).status_code == 401
        await engine.close()
        with pytest.raises(httpx.ConnectError):
            await ask(engine)
        await engine.reopen()
        assert (await ask(engine)).status_code == 401
