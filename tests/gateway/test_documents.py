"""Public documents at the gateway's own addresses, before a fake engine: who may ask, and what comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from benchmarks.harness.behaviour import Behaviour
from benchmarks.harness.engine import MODEL, FakeEngine
from benchmarks.harness.quoting import Shelf

from moduai.desk import Desk, Known
from moduai.desk.api import Counter
from moduai.gateway.local import LocalAsk
from moduai.gateway.routes import Routes
from moduai.gateway.switches import Stop
from moduai.knowledge.types import Found, Query

from .conftest import KEY, READ_ONLY, Gateway, engine_of, read_reply, request, running_gateway, until

PUBLIC = f"{MODEL}+public"
TEXT = "저장된 대화는 동의하지 않으면 학습에 쓰이지 않습니다."
QUESTION = [{"role": "user", "content": "대화가 학습에 쓰이나요?"}]


class Room(Shelf):
    """A shelf that finds all it has."""

    def __init__(self) -> None:
        super().__init__()
        self.found = self.put("doc", 1, "대화와 학습", [TEXT])

    async def search(self, query: Query) -> list[Found]:
        return self.found


@pytest.fixture
async def reading(fake: FakeEngine) -> AsyncIterator[Gateway]:
    async with running_gateway(engine_of(fake)) as gateway:
        room = Room()
        known, check = {MODEL: Known(8192, in_the_box=False)}.get, gateway.lane.switches.check
        desk = Desk(LocalAsk(gateway.lane), room, room, known, check=check)
        gateway.server.documents = Counter(desk)
        yield gateway


async def test_a_model_that_says_something_else_leaves_the_passage(reading: Gateway) -> None:
    reply = await reading.ask(model=PUBLIC, messages=QUESTION)
    message = reply.json["choices"][0]["message"]
    assert (reply.status, reply.headers["x-ai-generated"]) == (200, "true")
    assert TEXT in message["content"]
    assert message["annotations"][0]["modu"]["quote"] == TEXT
    row = reading.ledger.rows[0]
    assert (row.model, row.outcome, row.subject) == (MODEL, "ok", "sub_a")


async def test_a_sentence_that_the_passage_supports_is_shown_once(reading: Gateway, fake: FakeEngine) -> None:
    fake.behaviour = Behaviour(text=f"{TEXT} ", chunks=60)
    content = (await reading.ask(model=PUBLIC, messages=QUESTION)).json["choices"][0]["message"]["content"]
    assert content == f"{TEXT} [대화와 학습 › 제1조](/source/doc/1?from=0&to={len(TEXT)}#here)\n\n"


async def test_a_stream_is_whole_and_the_connection_goes_on(reading: Gateway) -> None:
    reader, writer = await reading.connect()
    for _ in range(2):
        writer.write(request("/v1/chat/completions", {"model": PUBLIC, "messages": QUESTION, "stream": True}))
        reply = await read_reply(reader)
        assert reply.done
        assert TEXT in "".join(each["choices"][0]["delta"].get("content", "") for each in reply.events)
    writer.close()


async def test_who_leaves_frees_the_engine(reading: Gateway, fake: FakeEngine) -> None:
    fake.behaviour = Behaviour(chunks=10_000, pace_s=0.01)
    _, writer = await reading.connect()
    writer.write(request("/v1/chat/completions", {"model": PUBLIC, "messages": QUESTION, "stream": True}))
    await until(lambda: reading.lane.exchanges)
    writer.close()
    await until(lambda: not reading.lane.exchanges)


@pytest.mark.parametrize(
    ("stop", "code", "searched"),
    [
        ("service", "service_stopped", 503),
        (f"model:{MODEL}", "model_stopped", 200),
        (f"model:{PUBLIC}", "model_stopped", 200),
    ],
)
async def test_a_stop_is_of_documents_too(reading: Gateway, stop: str, code: str, searched: int) -> None:
    reading.lane.switches.replace({stop: Stop(words={"en": "An incident."})})
    reply = await reading.ask(model=PUBLIC, messages=QUESTION)
    assert (reply.status, reply.code) == (503, code)
    assert TEXT not in reply.body.decode()
    asked = request("/v1/search?q=%EB%8C%80%ED%99%94", b"", KEY, method="GET")
    assert (await reading.raw(asked)).status == searched
    reading.lane.switches.replace({})
    assert (await reading.ask(model=PUBLIC, messages=QUESTION)).status == 200
    assert (await reading.raw(asked)).status == 200


async def test_search_needs_a_key_that_may_ask(reading: Gateway) -> None:
    path = "/v1/search?q=%EB%8C%80%ED%99%94"
    found = await reading.raw(request(path, b"", KEY, method="GET"))
    assert (found.status, found.json["data"][0]["content"][0]["text"]) == (200, TEXT)
    assert (await reading.raw(request(path, b"", None, method="GET"))).code == "missing_api_key"
    assert (await reading.raw(request(path, b"", READ_ONLY, method="GET"))).code == "scope_missing"
    assert (await reading.raw(request(path, b"", KEY))).code == "method_not_allowed"


async def test_models_are_listed_a_second_time(reading: Gateway) -> None:
    routes = Routes(reading.lane, list, 0)
    assert PUBLIC.encode() not in routes.answer(b"GET", b"/v1/models", None, local=True).body
    routes.documents = True
    assert PUBLIC.encode() in routes.answer(b"GET", b"/v1/models", None, local=True).body
    one = routes.answer(b"GET", f"/v1/models/{PUBLIC}".encode(), None, local=True)
    assert one.status == 200


async def test_without_documents_there_is_nothing(gateway: Gateway) -> None:
    assert (await gateway.ask(model=PUBLIC, messages=QUESTION)).code == "model_not_found"
    assert (await gateway.raw(request("/v1/search?q=a", b"", KEY, method="GET"))).code == "not_found"
