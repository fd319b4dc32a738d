"""Public documents on the pages: the switch, citations in an answer, and the page of a source."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import httpx2
import pytest
from benchmarks.harness.quoting import Shelf
from playwright.async_api import Browser, expect

from moduai.desk import Desk, Known
from moduai.knowledge.types import Found, Query
from moduai.web import create_app
from moduai.web.markdown import render

from .harness import SMALL, Script, Served, _listening, services, spoken
from .pages import AskPage, check_accessibility

TEXT = "저장된 대화는 동의하지 않으면 학습에 쓰이지 않습니다. 동의는 언제든지 거둘 수 있습니다."
QUESTION = "내 대화가 학습에 쓰이나요? 동의는 거둘 수 있나요?"
SAID = "동의는 언제든지 거둘 수 있습니다. 대화는 학습에 쓰입니다."


class Room(Shelf):
    """A shelf that finds all it has."""

    async def search(self, query: Query) -> list[Found]:
        return self.found

    found: list[Found]


@pytest.fixture
def room() -> Room:
    room = Room()
    room.found = room.put("doc_1", 3, "대화와 학습 <안내>", [TEXT, "다른 문단입니다."])
    return room


@pytest.fixture
async def reading(script: Script, room: Room) -> AsyncIterator[Served]:
    """The pages with documents, which answer first."""
    script.events = spoken(SAID)
    async with services(script) as given:
        desk = Desk(script.ask, room, room, {SMALL.name: Known(2048, in_the_box=True)}.get)
        parts = replace(given, ask=desk, desk=desk, documents_first=lambda: True)
        async with _listening(create_app(parts)) as url, AsyncExitStack() as stack:
            yield Served(url, script, parts, stack)


async def test_an_answer_is_cited_and_the_citation_opens_by_keyboard(
    reading: Served, chromium: Browser
) -> None:
    context = await chromium.new_context(locale="ko-KR")
    ask = await AskPage(await context.new_page(), reading.url).open()
    switch = ask.page.get_by_label("공공 문서")
    await expect(switch).to_be_checked()
    await ask.check("empty")
    await ask.ask(QUESTION)
    await ask.expect_done()
    await expect(ask.answer).to_contain_text("동의는 언제든지 거둘 수 있습니다.")
    await expect(ask.answer).not_to_contain_text("쓰입니다")
    await ask.check("answered")
    link = ask.answer.get_by_role("link", name="대화와 학습 <안내> › 제1조").first
    await link.focus()
    async with context.expect_page() as opened:
        await ask.page.keyboard.press("Enter")
    page = await opened.value
    mark = page.locator("mark")
    await expect(mark).to_contain_text("동의는 언제든지 거둘 수 있습니다.")
    await expect(mark).to_be_in_viewport()
    await expect(page.locator("h1")).to_have_text("대화와 학습 <안내>")
    await check_accessibility(page, "source")
    await context.close()


async def test_without_the_switch_the_model_answers_alone(reading: Served, chromium: Browser) -> None:
    context = await chromium.new_context(locale="en")
    ask = await AskPage(await context.new_page(), reading.url).open()
    await ask.page.get_by_label("Public documents").uncheck()
    await ask.ask(QUESTION)
    await ask.expect_done()
    await expect(ask.answer).to_contain_text("쓰입니다")
    assert reading.script.asked[0][0]["messages"][-1]["content"] == QUESTION
    await context.close()


async def test_without_a_script_the_form_does_the_same(reading: Served) -> None:
    async with httpx2.AsyncClient(base_url=reading.url, timeout=60) as browser:
        html = (await browser.get("/")).text
        hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', html))
        page = (await browser.post("/", data={**hidden, "question": QUESTION, "public": "1"})).text
        link = re.search(r'href="(/source/[^"]+)"', page)
        assert link is not None
        assert 'name="public" value="1" checked' in page
        again = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page))
        shown = (await browser.post("/", data={**again, "show": "1"})).text
        assert link.group() in shown
        source = (await browser.get(link[1].replace("&amp;", "&"))).text
        assert "<mark" in source


@pytest.mark.parametrize(
    ("place", "cited"),
    [
        ("from=31&to=50", "동의는 언제든지 거둘 수 있습니다."),
        ("from=0&to=9999999", ""),
        ("from=9&to=3", ""),
        ("from=-1&to=3", ""),
        ("from=²&to=3", ""),
        ("", ""),
    ],
)
async def test_the_page_marks_a_range_that_is_there(reading: Served, place: str, cited: str) -> None:
    async with httpx2.AsyncClient(base_url=reading.url, headers={"accept-language": "en"}) as browser:
        answer = await browser.get(f"/source/doc_1/3?{place}")
        assert answer.status_code == 200
        assert ("<mark" in answer.text) == bool(cited)
        assert f"</span>{cited}<span" in answer.text if cited else "No words of it are cited." in answer.text
        assert "<안내>" not in answer.text
        assert "<script" not in answer.text


@pytest.mark.parametrize(
    "address",
    ["doc_1/4", "doc_2/3", "doc_1/x", f"doc_1/{2**31}", "%00/1", "d%F0%9F%98%80c/1", "d" * 65 + "/1"],
)
async def test_what_is_not_stored_is_not_shown(reading: Served, address: str) -> None:
    async with httpx2.AsyncClient(base_url=reading.url) as browser:
        assert (await browser.get(f"/source/{address}")).status_code == 404


async def test_the_page_says_what_became_of_a_version(reading: Served, room: Room) -> None:
    room.put("doc_1", 5, "대화와 학습", ["새 글입니다."])
    async with httpx2.AsyncClient(base_url=reading.url, headers={"accept-language": "en"}) as browser:
        older, gone = [await browser.get(f"/source/doc_1/{version}") for version in (3, 2)]
        assert '<a href="/source/doc_1/5">there is a newer version, 5</a>' in older.text
        assert "newer version" not in (await browser.get("/source/doc_1/5")).text
        assert (gone.status_code, "This document was removed" in gone.text) == (410, True)


async def test_a_long_text_is_cut_around_the_place(reading: Served, room: Room) -> None:
    room.put("long", 1, "긴 글", [f"{number}째 줄입니다." for number in range(20_000)])
    text = room.kept["long", 1][1]
    start = text.index("10000째")
    async with httpx2.AsyncClient(base_url=reading.url) as browser:
        answer = await browser.get(f"/source/long/1?from={start}&to={start + 6}")
    assert "10000째" in answer.text
    assert len(answer.text) < 40_000


async def test_no_documents_no_switch(served: Served) -> None:
    async with httpx2.AsyncClient(base_url=served.url) as browser:
        assert 'name="public"' not in (await browser.get("/")).text
        assert (await browser.get("/source/doc_1/3")).status_code == 404


def test_only_what_the_desk_wrote_links_to_a_source() -> None:
    made_up = "[1](/source/doc_1/3?from=0&to=3) [2](/history/delete) [3](//evil.example)"
    assert "href" not in render(made_up)
    assert re.findall(r'href="([^"]+)"', render(made_up, sources=True)) == ["/source/doc_1/3?from=0&amp;to=3"]
