"""The desk as those see it who ask a model: events, what is kept, and OpenAI's shapes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import msgspec
import pytest
from benchmarks.harness.quoting import Shelf
from msgspec.structs import replace

from moduai.accounts.principal import Principal
from moduai.desk import Desk, Known, Told
from moduai.desk.api import Counter
from moduai.desk.shown import markdown, name
from moduai.gateway.ask import look
from moduai.gateway.endpoint import Endpoint
from moduai.gateway.local import Begun, Delta, Done, Event, Failed, Place
from moduai.history.record import NEW
from moduai.history.recorder import Heard
from moduai.history.text import read_passed
from moduai.knowledge.answer import Citation, Claim
from moduai.knowledge.types import Facts, Found, Query, SearchAwayError

TEXT = "저장된 대화는 동의하지 않으면 학습에 쓰이지 않습니다. 동의는 언제든지 거둘 수 있습니다."
QUESTION = "내 대화가 학습에 쓰이나요? 동의는 거둘 수 있나요?"
SAID = [Delta("동의는 언제든지 거둘 수 있습니다. "), Delta("대화는 학습에 쓰입니다.")]
END = Done("stop", "m", 30, 9, "t1")
WHO = Principal(subject="sub_1", history=True)


class Room:
    """A shelf, a search and a model, and the desk between them."""

    def __init__(self, *events: Event, away: bool = False) -> None:
        self.events: Sequence[Event] = events
        self.shelf, self.away = Shelf(), away
        self.found = self.shelf.put("doc", 1, "대화와 학습", [TEXT])
        self.asked: list[tuple[dict[str, Any], Principal]] = []
        self.queries: list[Query] = []
        self.kept: list[Heard] = []
        self.desk = Desk(
            self.ask, self, self.shelf, {"m": Known(2048, in_the_box=True)}.get, self.kept.append
        )

    async def search(self, query: Query) -> list[Found]:
        self.queries.append(query)
        if self.away:
            raise SearchAwayError("search is away")
        return self.found

    async def ask(
        self, body: dict[str, Any], principal: Principal, *, conversation: str = "", parent: str = ""
    ) -> AsyncGenerator[Event, None]:
        self.asked.append((body, principal))
        for event in self.events:
            yield event

    async def told(self, question: str = QUESTION, model: str = "m+public") -> list[Event]:
        body = {"model": model, "messages": [{"role": "user", "content": question}]}
        return [event async for event in self.desk(body, WHO)]


def text_of(events: Sequence[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


async def test_a_checked_sentence_is_told_with_its_place_and_the_rest_is_not() -> None:
    room = Room(Begun("t1"), Place(1, 2.0), *SAID, END)
    begun, place, told, beside, done = await room.told()
    assert begun == Begun("t1", "cnv_t1")
    assert place == Place(1, 2.0)
    assert isinstance(told, Told)
    assert told.text.startswith("동의는 언제든지 거둘 수 있습니다. [대화와 학습 › 제1조](/source/doc/1?from=")
    assert told.citations[0].quote == "동의는 언제든지 거둘 수 있습니다."
    assert TEXT in text_of([beside])
    assert done == msgspec.structs.replace(END, model="m+public")
    body, principal = room.asked[0]
    assert body["model"] == "m"
    assert not principal.history


async def test_what_is_kept_is_what_was_asked_and_shown() -> None:
    room = Room(Begun("t1"), *SAID, END)
    events = await room.told()
    kept = room.kept[0].clear()
    text = read_passed(kept)  # type: ignore[arg-type]
    assert (text.question, text.answer) == (QUESTION, text_of(events))
    assert room.kept[0].row.outcome == "ok"


async def test_another_model_is_asked_as_it_is() -> None:
    room = Room(Begun("t1"), *SAID, END)
    assert await room.told(model="m") == [Begun("t1"), *SAID, END]
    assert not room.queries
    assert room.asked[0][1] is WHO


async def test_a_failed_model_leaves_the_passages() -> None:
    room = Room(Failed("line_full", "full", 429))
    begun, told, done = await room.told()
    assert isinstance(begun, Begun)
    assert TEXT in told.text  # type: ignore[union-attr]
    assert isinstance(done, Done)


async def test_a_stopped_service_answers_nothing() -> None:
    failed = Failed("service_stopped", "stopped", 503)
    assert await Room(failed).told() == [failed]


async def test_without_the_search_there_is_no_answer() -> None:
    failed = (await Room(away=True).told())[0]
    assert isinstance(failed, Failed)
    assert failed.code == "search_unavailable"


async def test_nobody_serves_it() -> None:
    failed = (await Room().told(model="x+public"))[0]
    assert isinstance(failed, Failed)
    assert failed.code == "model_not_found"


@pytest.mark.parametrize(
    "text", ["[여기](https://evil.example)", "![](x)", "<b>*굵게*</b>", "a\n\n# b", "1. c"]
)
def test_nothing_that_a_document_or_model_writes_is_markup(text: str) -> None:
    from moduai.web.markdown import render  # noqa: PLC0415

    citation = Citation("doc", 1, 0, 1, "x", "", Facts("[제목](https://evil.example)"))
    html = render(markdown(Claim(text, citation), "ko"), sources=True)
    assert html.count("<a ") == 1
    assert '<a href="/source/doc/1?from=0&amp;to=1#here"' in html
    assert not any(tag in html for tag in ("<img", "<b>", "<em>", "<h", "<ol"))


class Kept:
    """A sink that keeps all."""

    framed = True

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self.status, self.body = 0, b""

    def head(self, status: int, content_type: bytes, request_id: str) -> None:
        self.status = status

    def write(self, data: bytes) -> None:
        size, _, rest = data.partition(b"\r\n")
        assert len(rest) == int(size, 16) + 2
        self.body += rest[:-2]

    def end(self, *, close: bool = False) -> None:
        self.over.set()

    def whole(self, status: int, content_type: bytes, headers: bytes, body: bytes, request_id: str) -> None:
        self.status, self.body = status, body
        self.over.set()

    def abort(self) -> None:
        self.over.set()


async def asked(room: Room, **fields: Any) -> Kept:
    body = {"model": "m+public", "messages": [{"role": "user", "content": QUESTION}], **fields}
    sink = Kept()
    ask = look(msgspec.json.encode(body), Endpoint.CHAT, 1, frozenset())
    Counter(room.desk).answer(ask, WHO, sink, NEW)
    await asyncio.wait_for(sink.over.wait(), 5)
    return sink


async def test_an_answer_of_the_api_has_annotations_over_its_text() -> None:
    sink = await asked(Room(Begun("t1"), *SAID, END))
    answer = msgspec.json.decode(sink.body)
    message = answer["choices"][0]["message"]
    note = message["annotations"][0]
    cited = note["url_citation"]
    assert message["content"][cited["start_index"] : cited["end_index"]].startswith("동의는 언제든지")
    assert TEXT[note["modu"]["from"] : note["modu"]["to"]] == note["modu"]["quote"]
    assert [each["modu"]["kind"] for each in message["annotations"]] == ["claim", "passage"]
    assert (answer["model"], answer["usage"]["total_tokens"]) == ("m+public", 39)


async def test_a_stream_of_the_api_says_the_same() -> None:
    sink = await asked(Room(Begun("t1"), Place(2, 1.5), *SAID, END), stream=True)
    lines = sink.body.decode().split("\n\n")
    assert lines[0] == ": queue position=2 eta=1.5"
    assert lines[-2:] == ["data: [DONE]", ""]
    chunks = [msgspec.json.decode(line[6:]) for line in lines if line.startswith("data: {")]
    text = "".join(each["choices"][0]["delta"].get("content", "") for each in chunks)
    whole = msgspec.json.decode((await asked(Room(Begun("t1"), *SAID, END))).body)
    assert text == whole["choices"][0]["message"]["content"]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


async def test_a_refusal_keeps_its_status() -> None:
    sink = await asked(Room(away=True), stream=True)
    assert sink.status == 503
    assert msgspec.json.decode(sink.body)["error"]["code"] == "search_unavailable"


async def searched(room: Room, query: bytes) -> tuple[int, dict[str, Any]]:
    sink = Kept()
    Counter(room.desk).search(query, WHO, sink)
    await asyncio.wait_for(sink.over.wait(), 5)
    return sink.status, msgspec.json.decode(sink.body)


async def test_a_search_has_openais_shape_and_the_place() -> None:
    room = Room()
    status, body = await searched(
        room, b"q=%EB%8F%99%EC%9D%98&limit=3&kind=statute&kind=page&in_force_on=2026-11-22"
    )
    assert status == 200
    first = body["data"][0]
    assert first["content"] == [{"type": "text", "text": TEXT}]
    assert (first["file_id"], first["modu"]["url"]) == ("doc", "/source/doc/1?from=0&to=50#here")
    query = room.queries[0]
    assert (query.text, query.limit, query.kinds, str(query.in_force_on)) == (
        "동의", 3, ("statute", "page"), "2026-11-22",
    )  # fmt: skip


@pytest.mark.parametrize(
    "query", [b"", b"q=", b"q=a&q=b", b"q=a&limit=0", b"q=a&limit=999", b"q=a&x=1", b"q=%ff"]
)
async def test_a_search_that_cannot_be_read_is_refused(query: bytes) -> None:
    status, body = await searched(Room(), query)
    assert (status, body["error"]["code"]) == (400, "invalid_parameter")


async def test_a_place_is_named_once_and_then_called_the_same() -> None:
    room = Room(Begun("t1"), Delta(TEXT), END)
    events = await room.told()
    texts = [event.text for event in events if isinstance(event, Told) and event.kind == "claim"]
    assert ["[대화와 학습 › 제1조](" in text for text in texts] == [True, False]
    assert "[같은 글](/source/doc/1?from=31&to=50#here)" in texts[1]


def test_a_title_that_is_the_place_too_is_said_once() -> None:
    found = Shelf().put("doc", 1, "제1조", [TEXT])[0]
    place = Citation("doc", 1, 0, 2, TEXT[:2], found.passage.label, found.facts)
    assert [name(place), name(replace(place, label="제2조"))] == ["제1조", "제1조 › 제2조"]


@pytest.mark.parametrize(("said", "answer"), [("안녕하세요", "안녕하세요."), ("Thanks!", "You are welcome.")])
async def test_a_greeting_is_returned_without_model_and_search(said: str, answer: str) -> None:
    room = Room(Begun("t1"), *SAID, END)
    begun, told, done = await room.told(said)
    assert isinstance(begun, Begun)
    assert isinstance(done, Done)
    assert text_of([told]).startswith(answer)
    assert not room.asked
    assert not room.queries


async def test_the_question_before_is_looked_for_where_one_refers_to_it() -> None:
    room = Room(Begun("t1"), *SAID, END)
    turns = [("user", QUESTION), ("assistant", "동의는 거둘 수 있습니다."), ("user", "그건 언제든지요?")]
    said = [{"role": role, "content": content} for role, content in turns]
    events = [event async for event in room.desk({"model": "m+public", "messages": said}, WHO)]
    assert [each.text for each in room.queries] == [f"{QUESTION} 그건 언제든지요?"]
    assert "동의는 언제든지 거둘 수 있습니다." in text_of(events)
