"""The pages over a real socket, with a scripted engine."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from collections.abc import AsyncIterator
from html import unescape
from typing import Any

import httpx2
import pytest

from moduai.gateway.local import Delta
from moduai.web.conversation import QUESTION_CHARS
from moduai.web.markdown import render

from .harness import ANSWER, LARGE, SMALL, Script, Served, failed, serve, spoken, waiting

ENGLISH = {"accept-language": "en"}


@pytest.fixture
async def browser(served: Served) -> AsyncIterator[httpx2.AsyncClient]:
    """A client that keeps cookies, as a browser does, and speaks English."""
    async with httpx2.AsyncClient(base_url=served.url, headers=ENGLISH, timeout=60) as client:
        yield client


async def form(browser: httpx2.AsyncClient, page: str | None = None, **fields: str) -> dict[str, str]:
    """The fields of the form on a page (the empty page unless given)."""
    html = page or (await browser.get("/")).text
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', html))
    return {**hidden, **fields}


async def posted(browser: httpx2.AsyncClient, question: str = "Hello?", **fields: Any) -> dict[str, Any]:
    """What the page's script would post."""
    return {"token": (await form(browser))["token"], "question": question, **fields}


def events(body: str) -> list[dict[str, Any]]:
    return [json.loads(part[6:]) for part in body.split("\n\n") if part.startswith("data: ")]


def shown(found: list[dict[str, Any]]) -> str:
    blocks = {event["index"]: event["html"] for event in found if event["event"] == "block"}
    return "".join(blocks[index] for index in sorted(blocks))


# the form


async def test_a_form_is_answered_with_a_whole_page(browser: httpx2.AsyncClient, script: Script) -> None:
    script.events = [*waiting((2, 4.0), (1, None)), *spoken(ANSWER)]
    answer = await browser.post("/", data=await form(browser, question="Where is <Seoul>?"))
    assert answer.status_code == 200
    assert render(ANSWER, "Copy code") in answer.text
    assert "Where is &lt;Seoul&gt;?" in answer.text
    assert "You are number 2 in line. About 4 seconds to go." in answer.text
    assert answer.text.count("Made by AI") == 2  # this answer, and the script's template
    assert "gemma3-270m by Google (Gemma 3 270M) · " in answer.text
    assert answer.text.rstrip().endswith("</html>")
    body, principal = script.asked[0]
    assert body["messages"] == [{"role": "user", "content": "Where is <Seoul>?"}]
    assert principal.subject.startswith("gst_")
    assert principal.service_class == "guest"
    assert (principal.organisation, principal.network[:4]) == ("", "net_")


async def test_the_page_is_written_while_the_answer_is_made(
    browser: httpx2.AsyncClient, script: Script
) -> None:
    script.gate = asyncio.Event()
    script.events = [Delta("First.\n\nSecond\n"), None, *spoken("half.")]
    fields = await form(browser, question="Hello?")
    async with browser.stream("POST", "/", data=fields) as answer:
        text = ""
        async for piece in answer.aiter_text():
            text += piece
            if "<p>First.</p>" in text and not script.gate.is_set():
                assert "Second" not in text
                script.gate.set()
    assert "<p>Second\nhalf.</p>" in text


async def test_turns_are_carried_and_asked_again(browser: httpx2.AsyncClient, script: Script) -> None:
    script.events = spoken("One.")
    page = (await browser.post("/", data=await form(browser, question="First?"))).text
    script.events = spoken("Two.")
    page = (await browser.post("/", data=await form(browser, page, question="Second?"))).text
    roles = [(m["role"], m["content"]) for m in script.asked[1][0]["messages"]]
    assert roles == [("user", "First?"), ("assistant", "One."), ("user", "Second?")]
    assert "<p>One.</p>" in page
    assert "<p>Two.</p>" in page
    await browser.post("/", data=await form(browser, page, again="1", question=""))
    assert script.asked[2][0]["messages"] == script.asked[1][0]["messages"]


async def test_suggestions_and_models_are_taken(browser: httpx2.AsyncClient, script: Script) -> None:
    script.models = [SMALL, LARGE]
    page = (await browser.get("/")).text
    assert page.count('type="radio" name="model"') == 2
    assert "한빛연구소" in page
    await browser.post("/", data=await form(browser, suggestion="Idea", question="", model="haneul-32b"))
    assert script.asked[0][0]["model"] == "haneul-32b"
    assert script.asked[0][0]["messages"][-1]["content"] == "Idea"


async def test_an_error_is_told_in_words_and_the_answer_so_far_stays(
    browser: httpx2.AsyncClient, script: Script
) -> None:
    script.events = [Delta("So far."), failed("engine_failed")]
    page = (await browser.post("/", data=await form(browser, question="Hello?"))).text
    assert "<p>So far.</p>" in page
    assert "The AI engine stopped in the middle of its work." in page
    assert "for programmes" not in page


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"question": "  "}, 400, "Please write a question first."),
        ({"question": "x" * (QUESTION_CHARS + 1)}, 400, "The question is too long."),
        ({"question": "x", "token": "wrong"}, 403, "Please load it again."),
        ({"question": "x", "model": "gone"}, 404, "This model is no longer here."),
        ({"question": "x", "conversation": "A" * 900_000}, 413, "has become too long"),
        ({"question": "draft &amp; kept", "token": ""}, 403, "draft &amp;amp; kept"),
    ],
)
async def test_bad_forms_are_told_what_to_do(
    browser: httpx2.AsyncClient, script: Script, fields: dict[str, str], status: int, words: str
) -> None:
    answer = await browser.post("/", data=await form(browser, **fields))
    assert answer.status_code == status
    assert words in answer.text
    assert not script.asked


async def test_no_engine_yet(browser: httpx2.AsyncClient, script: Script) -> None:
    script.models = []
    assert "No AI engine is running yet." in (await browser.get("/")).text
    answer = await browser.post("/", data=await form(browser, question="Hello?"))
    assert answer.status_code == 503
    assert "No AI engine is running yet." in answer.text


async def test_guests_may_be_turned_off(script: Script) -> None:
    async with (
        serve(script, **{"web.guests": False}) as served,
        httpx2.AsyncClient(base_url=served.url, headers=ENGLISH) as browser,
    ):
        assert "only people with an account can ask" in (await browser.get("/")).text
        assert (await browser.post("/", data=await form(browser, question="Hi"))).status_code == 403
    assert not script.asked


# posts from elsewhere


@pytest.mark.parametrize(
    "headers",
    [{"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}],
)
async def test_posts_from_other_sites_are_refused(
    browser: httpx2.AsyncClient, script: Script, headers: dict[str, str]
) -> None:
    fields = await form(browser, question="Hello?")
    assert (await browser.post("/", data=fields, headers=headers)).status_code == 403
    assert (await browser.post("/ask", json=await posted(browser), headers=headers)).status_code == 403
    assert not script.asked


async def test_another_guests_form_token_is_refused(served: Served, script: Script) -> None:
    async with (
        httpx2.AsyncClient(base_url=served.url) as mine,
        httpx2.AsyncClient(base_url=served.url) as other,
    ):
        fields = await form(other, question="Hello?")
        await mine.get("/")
        assert (await mine.post("/", data=fields)).status_code == 403
        mine.cookies.clear()
        assert (await mine.post("/", data=fields)).status_code == 403
    assert not script.asked


# the script's stream


async def test_the_stream_shows_the_answer_and_its_figures(
    browser: httpx2.AsyncClient, script: Script
) -> None:
    script.events, script.pause_s = [*waiting((3, 8.0)), *spoken(ANSWER)], 0.005
    answer = await browser.post("/ask", json=await posted(browser))
    found = events(answer.text)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert found[0] == {"event": "begin", "turn": "turn-1", "conversation": ""}
    assert found[1] == {
        "event": "place",
        "position": 3,
        "wait_s": 8.0,
        "text": "You are number 3 in line. About 8 seconds to go.",
        "lighter": "",
        "offer": "",
    }
    assert shown(found) == render(ANSWER, "Copy code")
    done = found[-1]
    assert done["event"] == "done"
    assert done["text"] == ANSWER
    assert done["model"] == "gemma3-270m"
    assert done["origin"] == "gemma3-270m by Google (Gemma 3 270M)"
    assert done["tokens"] == len(spoken(ANSWER)) - 1


async def test_a_lighter_model_is_offered_without_javascript(
    browser: httpx2.AsyncClient, script: Script
) -> None:
    """Each notice has a form of its own, for the rest of the page is not there yet."""
    script.models = [SMALL, LARGE]
    script.events = spoken("One.")
    page = (await browser.post("/", data=await form(browser, question="First?", model=LARGE.name))).text
    script.events = [
        *waiting((9, 80.0, 41.0, 130.0, SMALL.name), (8, 70.0, 40.0, 120.0, "gone")),
        *spoken("Two."),
    ]
    fields = await form(browser, page, question='What is "<b>"?', model=LARGE.name)
    page = (await browser.post("/", data=fields)).text
    offers = re.findall(r'<form method="post" action="/" class="offer">.*?</form>', page, flags=re.DOTALL)
    assert len(offers) == 1, "not for a model that is not there"
    assert "Ask gemma3-270m instead" in offers[0]
    assert "About 80 seconds to go (up to 3 minutes)." in page
    given = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', offers[0]))
    given = {name: unescape(value) for name, value in given.items()}
    script.events = spoken("Sooner.")
    page = (await browser.post("/", data=given)).text
    body = script.asked[-1][0]
    assert body["model"] == SMALL.name
    contents = [message["content"] for message in body["messages"]]
    assert contents == ["First?", "One.", 'What is "<b>"?']
    assert "<p>Sooner.</p>" in page
    assert "A lighter model answered" not in page, "it was asked"


async def test_an_answer_says_what_the_pressure_did_to_it(
    browser: httpx2.AsyncClient, script: Script
) -> None:
    script.models = [SMALL, LARGE]
    script.events = spoken("Short.", model=SMALL.name, finish_reason="length", step="shortened")
    done = events((await browser.post("/ask", json=await posted(browser, model=LARGE.name))).text)[-1]
    assert done["remarks"] == [
        "A lighter model answered, because very many people are asking right now.",
        "The answer was cut short, because very many people are asking right now.",
    ]
    assert done["origin"] == "gemma3-270m by Google (Gemma 3 270M)"
    script.events = spoken("Whole.", step="shortened")
    done = events((await browser.post("/ask", json=await posted(browser))).text)[-1]
    assert done["remarks"] == [], "it ended before its bound"


async def test_growing_blocks_are_paced_and_finished_ones_never_come_again(
    browser: httpx2.AsyncClient, script: Script
) -> None:
    script.events, script.pause_s = spoken("word " * 150, 5), 0.004
    found = [e for e in events((await browser.post("/ask", json=await posted(browser))).text) if "index" in e]
    assert 3 <= len(found) <= 25, "150 pieces in about 0.7 s, one frame each 0.08 s at most"
    finished = [e["index"] for e in found if e["finished"]]
    assert finished == sorted(set(finished))
    assert [e["finished"] for e in found if e["index"] == finished[-1]][-1]


async def test_the_first_word_is_not_held_back(browser: httpx2.AsyncClient, script: Script) -> None:
    script.gate, script.events = asyncio.Event(), [Delta("Hel"), None, *spoken("lo")]
    async with browser.stream("POST", "/ask", json=await posted(browser)) as answer:
        async for text in answer.aiter_text():
            if "Hel" in text:
                script.gate.set()
    assert script.gate.is_set()


@pytest.mark.parametrize("where", ["in line", "in the middle"])
async def test_leaving_cancels_upstream(browser: httpx2.AsyncClient, script: Script, where: str) -> None:
    script.gate = asyncio.Event()
    script.events = [*(waiting((1, None)) if where == "in line" else [Delta("Hello")]), None]
    async with browser.stream("POST", "/ask", json=await posted(browser)) as answer:
        async for text in answer.aiter_text():
            if "data:" in text:
                break
    await asyncio.wait_for(script.ended.wait(), 5)
    assert script.closed == 1


async def test_leaving_a_form_cancels_upstream(browser: httpx2.AsyncClient, script: Script) -> None:
    script.gate, script.events = asyncio.Event(), [None]
    async with browser.stream("POST", "/", data=await form(browser, question="Hello?")) as answer:
        async for _ in answer.aiter_text():
            break
    await asyncio.wait_for(script.ended.wait(), 5)


async def test_stream_errors_have_code_words_and_time(browser: httpx2.AsyncClient, script: Script) -> None:
    script.events = [failed("line_full", 40)]
    found = events((await browser.post("/ask", json=await posted(browser))).text)
    assert found == [
        {
            "event": "error",
            "code": "line_full",
            "message": "Very many people are asking right now, and the line is full. "
            "Please try again in 40 seconds.",
            "retry_after_s": 40,
        }
    ]
    script.events = [Delta("Half")]
    found = events((await browser.post("/ask", json=await posted(browser))).text)
    assert found[-1]["code"] == "engine_failed", "an engine that ends without an end"


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b'{"token": 1, "question": "x"}', "application/json", 400),
        (b'{"question": "x"}', "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"x" * 1_100_000, "application/json", 413),
        (b'{"token":"t","question":"x"}', "text/plain", 415),
    ],
)
async def test_bad_posts_of_the_script(
    browser: httpx2.AsyncClient, script: Script, body: bytes, kind: str, status: int
) -> None:
    answer = await browser.post("/ask", content=body, headers={"content-type": kind})
    assert answer.status_code == status
    assert events(answer.text)[0]["event"] == "error"
    assert not script.asked


async def test_earlier_turns_are_sent_along(browser: httpx2.AsyncClient, script: Script) -> None:
    turns = [{"question": "First?", "answer": "One."}]
    await browser.post("/ask", json=await posted(browser, "Second?", turns=turns))
    contents = [message["content"] for message in script.asked[0][0]["messages"]]
    assert contents == ["First?", "One.", "Second?"]


# what stands around


async def test_every_answer_has_the_security_headers(browser: httpx2.AsyncClient) -> None:
    for path in ("/", "/about", "/nothing", "/favicon.svg", "/robots.txt"):
        headers = (await browser.get(path)).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
    assert "httponly" in (await browser.get("/?lang=ko")).headers["set-cookie"].lower()


async def test_a_page_that_fails_is_a_500_in_the_same_look(
    served: Served, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> list[Any]:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(Script, "models", property(lambda _: broken()), raising=False)
    async with httpx2.AsyncClient(base_url=served.url, headers=ENGLISH) as browser:
        answer = await browser.get("/")
    assert answer.status_code == 500
    assert "Something went wrong" in answer.text
    assert "secret" not in answer.text
    assert "content-security-policy" in answer.headers


async def test_no_page_has_inline_script_or_style(browser: httpx2.AsyncClient, script: Script) -> None:
    pages = [(await browser.get(path)).text for path in ("/", "/about", "/nothing")]
    pages.append((await browser.post("/", data=await form(browser, question="Hello?"))).text)
    for html in pages:
        assert not re.search(r"<style|\sstyle=|<script(?![^>]*\ssrc=)|\son\w+=", html)
        assert not re.findall(r'(?:src|href|action)="(?:https?:)?//(?!www\.seoul)', html), (
            "leaves the machine"
        )


async def test_static_files_are_addressed_by_content_and_kept(browser: httpx2.AsyncClient) -> None:
    html = (await browser.get("/")).text
    for address in re.findall(r'(?:href|src)="(/static/[^"]+)"', html):
        file = await browser.get(address)
        assert "immutable" in file.headers["cache-control"]
        assert file.headers["content-encoding"] == "gzip"
        again = await browser.get(address, headers={"if-none-match": file.headers["etag"]})
        assert again.status_code == 304
        plain = await browser.get(address, headers={"accept-encoding": "identity"})
        assert plain.text == file.text
        for name in re.findall(r'from "\./([^"]+)"', file.text):
            assert (await browser.get(f"/static/{name}")).status_code == 200
    assert (await browser.get("/static/modu.000000000000.css")).status_code == 404
    assert (await browser.get("/static/..%2fapp.py")).status_code == 404


async def test_first_load_is_small(browser: httpx2.AsyncClient) -> None:
    """All files of the first visit, compressed: at most 40 kB."""
    headers = {"accept-encoding": "gzip"}
    sizes, queue, seen = {}, ["/"], set()
    while queue:
        address = queue.pop()
        seen.add(address)
        async with browser.stream("GET", address, headers=headers) as answer:
            raw = b"".join([piece async for piece in answer.aiter_raw()])
        sizes[address] = len(raw)
        text = gzip.decompress(raw).decode()
        found = re.findall(r'(?:href|src)="(/(?:static/|favicon)[^"]*)"', text)
        found += [f"/static/{name}" for name in re.findall(r'from "\./([^"]+)"', text)]
        queue += [address for address in found if address not in seen]
    assert len(sizes) == 8, sizes
    assert sum(sizes.values()) <= 40_000, sizes


async def test_about_robots_and_unknown_addresses(browser: httpx2.AsyncClient) -> None:
    about = await browser.get("/about")
    assert "What is kept about you" in about.text
    assert "Gemma Terms" in about.text
    assert "set-cookie" not in about.headers
    assert (await browser.get("/robots.txt")).text.startswith("User-agent: *")
    missing = await browser.get("/nothing")
    assert missing.status_code == 404
    assert "This page does not exist" in missing.text
    assert (await browser.put("/")).status_code == 405


async def test_both_languages(browser: httpx2.AsyncClient) -> None:
    korean = await browser.get("/?lang=ko")
    assert '<html lang="ko" dir="ltr">' in korean.text
    assert "무엇이든 물어보세요" in korean.text
    assert "무엇이든 물어보세요" in (await browser.get("/")).text, "the cookie keeps it"
    assert '<html lang="en"' in (await browser.get("/?lang=en")).text
