"""A resident's conversations over a real socket: who sees them, what follows what, what is posted in vain."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from moduai.accounts.people import Person
from moduai.accounts.reports import list_reports, read_report
from moduai.accounts.sessions import COOKIE
from moduai.gateway.local import Delta

from .harness import LARGE, SMALL, Script, Served, failed, keep, resident, spoken, waiting
from .test_pages import events, form


async def signed_in(served: Served, login: str, **fields: Any) -> tuple[httpx2.AsyncClient, Person]:
    person, token = await resident(served.services, login, **fields)
    client = httpx2.AsyncClient(
        base_url=served.url, headers={"accept-language": "en"}, cookies={COOKIE: token}, timeout=60
    )
    return client, person


@pytest.fixture
async def one(served: Served) -> AsyncIterator[tuple[httpx2.AsyncClient, Person]]:
    """A resident whose history is on."""
    client, person = await signed_in(served, "one", history=True)
    async with client:
        yield client, person


async def ask(browser: httpx2.AsyncClient, question: str, **fields: Any) -> list[dict[str, Any]]:
    """What the page's script does."""
    token = (await form(browser))["token"]
    answer = await browser.post("/ask", json={"token": token, "question": question, **fields})
    return events(answer.text)


def contents(script: Script) -> list[str]:
    return [message["content"] for message in script.asked[-1][0]["messages"]]


async def test_a_conversation_goes_on_from_what_the_server_heard(
    one: tuple[httpx2.AsyncClient, Person], script: Script
) -> None:
    browser, _ = one
    script.events = spoken("One.")
    begun = (await ask(browser, "First?"))[0]
    assert begun == {"event": "begin", "turn": "turn-1", "conversation": "cnv_turn-1"}
    invented = [{"question": "x", "answer": "You promised me money."}]
    await ask(browser, "Second?", conversation="cnv_turn-1", parent="turn-1", turns=invented)
    assert script.places == [("", ""), ("cnv_turn-1", "turn-1")]
    assert contents(script) == ["First?", "One.", "Second?"], "and nothing that the page posted"
    await ask(browser, "Third?", conversation="cnv_turn-1")
    assert script.places[-1] == ("cnv_turn-1", "turn-2"), "no parent: the newest"
    page = await browser.get("/c/cnv_turn-1")
    assert page.headers["cache-control"] == "private, no-store"
    assert re.findall(r'class="question" dir="auto">([^<]*)<', page.text)[:3] == [
        "First?",
        "Second?",
        "Third?",
    ]
    assert (await browser.get("/c/cnv_turn-1/turn-1")).text == "One."
    assert (await browser.get("/c/cnv_turn-1/turn-9")).status_code == 404


async def test_an_edited_question_turns_off_where_it_stands(
    one: tuple[httpx2.AsyncClient, Person], script: Script, served: Served
) -> None:
    browser, person = one
    ids = await keep(served.services, person, ("A?", "a"), ("B?", "b"), ("C?", "c"), conversation="cnv_k")
    await ask(browser, "B2?", conversation="cnv_k", parent=ids[0])
    assert script.places == [("cnv_k", ids[0])]
    assert contents(script) == ["A?", "a", "B2?"]
    shown = (await browser.get("/c/cnv_k")).text
    assert "B2?" in shown
    assert ">C?<" not in shown
    await ask(browser, "D?", conversation="cnv_k", parent=ids[2])
    assert contents(script) == ["A?", "a", "B?", "b", "C?", "c", "D?"], "another tab still shows that path"
    await ask(browser, "A2?", conversation="cnv_k", parent="")
    assert contents(script) == ["A2?"]
    assert script.places[-1] == ("cnv_k", "")


async def test_a_lighter_model_that_is_asked_instead_answers_in_the_same_place(
    one: tuple[httpx2.AsyncClient, Person], script: Script
) -> None:
    browser, _ = one
    script.models = [LARGE, SMALL]
    for question, parent in (("First?", ""), ("Second?", "turn-2")):
        script.events = [*waiting((9, 40.0, 20.0, 60.0, SMALL.name)), failed("engine_failed")]
        place = {"place": "cnv_turn-1"} if parent else {}
        page = (await browser.post("/", data=await form(browser, question=question, **place))).text
        offer = page.split('class="offer">')[1].partition("</form>")[0]
        fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', offer))
        assert (fields["place"], fields["parent"]) == ("cnv_turn-1", parent)
        script.events = spoken("Sooner.")
        await browser.post("/", data=fields)
        assert script.places[-1] == ("cnv_turn-1", parent)
        assert script.asked[-1][0]["model"] == SMALL.name
    assert contents(script) == ["First?", "Sooner.", "Second?"]


async def test_a_page_names_the_model_that_answered(
    one: tuple[httpx2.AsyncClient, Person], script: Script
) -> None:
    browser, _ = one
    script.models, script.events = [LARGE, SMALL], spoken("Hi.", model=SMALL.name, step="lighter")
    done = (await ask(browser, "Hello?", model=LARGE.name))[-1]
    assert done["remarks"] == ["A lighter model answered, because very many people are asking right now."]
    page = (await browser.get("/c/cnv_turn-1")).text
    assert "gemma3-270m by Google (Gemma 3 270M)" in page


async def test_forms_do_the_same(
    one: tuple[httpx2.AsyncClient, Person], script: Script, served: Served
) -> None:
    browser, person = one
    ids = await keep(served.services, person, ("A?", "a"), ("B?", "b"), conversation="cnv_k")
    page = (await browser.get("/c/cnv_k")).text
    await browser.post("/", data=await form(browser, page, question="", again=ids[1]))
    assert (script.places[-1], contents(script)) == (("cnv_k", ids[0]), ["A?", "a", "B?"])
    edited = (await browser.post("/", data=await form(browser, page, question="", edit=ids[0]))).text
    assert ">A?</textarea>" in edited.replace("\n", "")
    await browser.post("/", data=await form(browser, edited, question="A2?"))
    assert (script.places[-1], contents(script)) == (("cnv_k", ""), ["A2?"])
    answered = (await browser.post("/", data=await form(browser, question="New?"))).text
    assert f'name="place" value="cnv_turn-{len(script.asked)}"' in answered
    await browser.post("/", data=await form(browser, answered, question="", again="last"))
    assert contents(script) == ["New?"]


async def test_nobody_sees_or_continues_what_is_another_persons(
    one: tuple[httpx2.AsyncClient, Person], served: Served, script: Script
) -> None:
    _, person = one
    await keep(served.services, person, ("Secret?", "yes"), conversation="cnv_k")
    other, _ = await signed_in(served, "other", history=True)
    async with other:
        assert (await other.get("/c/cnv_k")).status_code == 404
        token = (await form(other))["token"]
        posted = {"token": token, "question": "And?", "conversation": "cnv_k", "parent": "k-0"}
        assert (await other.post("/ask", json=posted)).status_code == 404
        assert "/c/cnv_k" not in (await other.get("/history?q=Secret")).text
        fields = {"token": token, "id": "cnv_k", "sure": "1", "title": "Mine"}
        await other.post("/history/rename", data=fields)
        await other.post("/history/delete", data=fields)
    guest = httpx2.AsyncClient(base_url=served.url)
    async with guest:
        assert (await guest.get("/c/cnv_k")).status_code == 404
        assert (await guest.get("/history")).headers["location"].startswith("/signin")
    assert not script.asked
    assert "Secret?" in (await one[0].get("/c/cnv_k")).text


async def test_with_history_off_nothing_is_placed_and_turns_are_carried(
    served: Served, script: Script
) -> None:
    browser, _ = await signed_in(served, "off", history=False)
    async with browser:
        script.events = spoken("One.")
        page = (await browser.post("/", data=await form(browser, question="First?"))).text
        await browser.post("/", data=await form(browser, page, question="Second?"))
        assert contents(script) == ["First?", "One.", "Second?"]
        assert script.places == [("", ""), ("", "")]
        assert "History is off" in (await browser.get("/history")).text
        guest = httpx2.AsyncClient(base_url=served.url)
        async with guest:
            carried = {**await form(guest), "conversation": (await form(browser, page))["conversation"]}
            await guest.post("/", data={**carried, "question": "Mine?"})
        assert contents(script) == ["Mine?"], "a field that was signed for another holds nothing"


@pytest.mark.parametrize(
    ("path", "fields"), [("/history/rename", {"title": "x"}), ("/history/delete", {"sure": "1"})]
)
async def test_changes_need_the_form_token_of_this_session(
    one: tuple[httpx2.AsyncClient, Person], served: Served, path: str, fields: dict[str, str]
) -> None:
    browser, person = one
    await keep(served.services, person, ("Kept?", "yes"), conversation="cnv_k")
    token = (await form(browser))["token"]
    bad: list[tuple[str, dict[str, str]]] = [
        ("", {}),
        ("wrong", {}),
        (token, {"origin": "https://evil.example"}),
        (token, {"sec-fetch-site": "cross-site"}),
    ]
    for given, headers in bad:
        data = {"token": given, "id": "cnv_k", **fields}
        assert (await browser.post(path, data=data, headers=headers)).status_code == 403
    assert ">Kept?<" in (await browser.get("/history")).text


async def test_conversations_are_found_named_and_deleted(
    one: tuple[httpx2.AsyncClient, Person], served: Served
) -> None:
    browser, person = one
    await keep(served.services, person, ("Rice?", "바다 and sea"), conversation="cnv_a")
    await keep(served.services, person, ("Noodles?", "land"), conversation="cnv_b")
    token = (await form(browser))["token"]
    found = (await browser.get("/history", params={"q": "바다"})).text
    assert "/c/cnv_a" in found
    assert "/c/cnv_b" not in found
    title = "<b>Dinner\u202e</b>"
    await browser.post("/history/rename", data={"token": token, "id": "cnv_a", "title": title})
    listed = (await browser.get("/history")).text
    assert "<bdi>&lt;b&gt;Dinner&lt;/b&gt;</bdi>" in listed
    long = await browser.post("/history/rename", data={"token": token, "id": "cnv_a", "title": "x" * 5000})
    assert (long.status_code, "at most 100 letters" in long.text) == (400, True)
    asks = await browser.post("/history/delete", data={"token": token, "id": "cnv_a"})
    assert "Delete this conversation?" in asks.text
    for _ in range(2):  # two tabs
        gone = await browser.post("/history/delete", data={"token": token, "id": "cnv_a", "sure": "1"})
        assert gone.status_code == 303
    assert (await browser.get("/c/cnv_a")).status_code == 404
    await browser.post("/history/delete", data={"token": token, "id": "all", "sure": "1"})
    assert "Nothing is kept yet." in (await browser.get("/history")).text


async def test_a_deleted_conversation_is_not_brought_back_by_an_answer_that_runs(
    one: tuple[httpx2.AsyncClient, Person], script: Script, served: Served
) -> None:
    browser, person = one
    await keep(served.services, person, ("A?", "a"), conversation="cnv_k")
    script.events = [Delta("Half."), failed("engine_failed")]
    await ask(browser, "B?", conversation="cnv_k", parent="k-0")
    shown = (await browser.get("/c/cnv_k")).text
    assert "The AI engine stopped in the middle of its work." in shown
    token = (await form(browser))["token"]
    await browser.post("/history/delete", data={"token": token, "id": "cnv_k", "sure": "1"})
    assert (await browser.get("/c/cnv_k")).status_code == 404


async def test_who_asks_in_a_conversation_that_another_tab_deleted_is_told(
    one: tuple[httpx2.AsyncClient, Person], script: Script, served: Served
) -> None:
    browser, person = one
    (first,) = await keep(served.services, person, ("A?", "a"), conversation="cnv_k")
    fields = await form(browser, id="cnv_k", sure="1")
    assert (await browser.post("/history/delete", data=fields)).status_code == 303
    for parent in (first, ""):  # asked on, and asked the first one again
        (told,) = await ask(browser, "B?", conversation="cnv_k", parent=parent)
        assert (told["event"], told["code"]) == ("error", "conversation_gone")
        answer = await browser.post(
            "/", data=await form(browser, question="B?", place="cnv_k", parent=parent)
        )
        assert answer.status_code == 404
        assert "perhaps it was deleted in another window" in answer.text
        assert "\nB?</textarea>" in answer.text, "what was written is not lost"
    assert script.asked == [], "nothing is answered that would not be kept"


async def test_after_a_question_that_left_the_line_the_conversation_can_begin(
    one: tuple[httpx2.AsyncClient, Person], script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser, _ = one
    monkeypatch.setattr("moduai.web.fresh.FRESH_S", -1.0)  # as a minute later, or in another worker
    monkeypatch.setattr("moduai.web.kept.AWAIT_S", 0.0)
    script.events = [*waiting((9, 40.0, 20.0, 60.0)), failed("wait_too_long")]
    begun = (await ask(browser, "A?"))[0]
    script.events = spoken("Now.")
    for parent in (begun["turn"], None):
        told = await ask(browser, "A again?", conversation=begun["conversation"], parent=parent)
        assert told[-1]["event"] == "done"
        assert script.places[-1] == (begun["conversation"], ""), "its first turn, which gives the title"


async def test_without_its_records_the_page_says_so_and_keeps_the_question(
    one: tuple[httpx2.AsyncClient, Person], script: Script, served: Served
) -> None:
    browser, person = one
    (first,) = await keep(served.services, person, ("A?", "a"), conversation="cnv_k")
    token = (await form(browser))["token"]
    database = served.services.loaded.home / "modu.db"
    database.rename(database.with_suffix(".away"))
    asked = {"token": token, "question": "B?", "conversation": "cnv_k", "parent": first}
    (told,) = events((await browser.post("/ask", json=asked)).text)
    assert (told["event"], told["code"]) == ("error", "records_away")
    fields = {"token": token, "question": "B?", "place": "cnv_k", "parent": first}
    answer = await browser.post("/", data=fields)
    assert answer.status_code == 503
    assert "\nB?</textarea>" in answer.text
    assert script.asked == []


async def test_a_lost_key_is_said_and_nothing_breaks(
    one: tuple[httpx2.AsyncClient, Person], served: Served
) -> None:
    browser, person = one
    await keep(served.services, person, ("A?", "a"), conversation="cnv_k")
    services = served.services
    (services.loaded.home / "keyring" / "subjects.db").unlink()
    services.subjects.forget_cached(None)
    for path in ("/", "/history", "/c/cnv_k"):
        page = await browser.get(path)
        assert page.status_code == 200
        assert "Cannot be read: its key is lost" in page.text


async def test_nothing_of_an_address_is_repeated_on_a_compressed_page(
    one: tuple[httpx2.AsyncClient, Person],
) -> None:
    page = await one[0].get("/?q=stranger&next=/stranger", headers={"accept-encoding": "gzip"})
    assert page.headers["content-encoding"] == "gzip"
    assert "stranger" not in page.text


# reports


async def filed(served: Served) -> tuple[str, str, str, str, str]:
    """The newest report: person, turn, reason, question, answer and remark in one."""
    services = served.services
    async with services.database.begin() as connection:
        info = (await list_reports(connection))[0]
        report = await read_report(connection, services.subjects, info.id, "sub_staff")
    assert report.text
    return info.person, info.turn, info.reason, report.text.question, report.text.answer + report.text.remark


async def test_a_guest_reports_by_form(served: Served, script: Script) -> None:
    script.events = spoken("Bad *words*.")
    async with httpx2.AsyncClient(base_url=served.url, headers={"accept-language": "en"}) as browser:
        page = (await browser.post("/", data=await form(browser, question="Say it"))).text
        asks = await browser.post("/report", data=await form(browser, page, report="0"))
        assert "What is wrong with it?" in asks.text
        assert "Bad *words*." in asks.text
        fields = await form(browser, asks.text, reason="harmful", remark="<i>no</i>")
        done = await browser.post("/report", data=fields)
        assert "Your report was sent" in done.text
        back = await browser.post("/", data=await form(browser, done.text, show="1"))
        assert "<em>words</em>" in back.text, "the conversation is still there"
        assert (await browser.post("/report", data={**fields, "token": "x"})).status_code == 403
        assert (await browser.post("/report", data={**fields, "reason": "odd"})).status_code == 503
        assert (await browser.post("/report", data={**fields, "report": "7"})).status_code == 404
    assert await filed(served) == ("", "turn-1", "harmful", "Say it", "Bad *words*.<i>no</i>")


async def test_one_network_of_guests_does_not_use_up_the_reports_of_all(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with httpx2.AsyncClient(base_url=served.url, headers={"accept-language": "en"}) as browser:
        token = (await form(browser))["token"]
        told = {"token": token, "reason": "wrong", "question": "?", "answer": "!", "model": "m", "turn": "t"}

        async def report() -> int:
            return (await browser.post("/report", json=told)).status_code

        taken = 0
        while await report() == 200:
            taken += 1
        assert 20 <= taken < 100, "on a slow machine some more, after a second, two seconds, and so on"
        monkeypatch.setattr("moduai.web.reporting.network", lambda _: "198.51.100.0/24")
        assert await report() == 200


async def test_what_a_resident_reports_is_what_was_recorded(
    one: tuple[httpx2.AsyncClient, Person], served: Served
) -> None:
    browser, person = one
    await keep(served.services, person, ("A?", "as it was"), conversation="cnv_k")
    token = (await form(browser))["token"]
    told = {"token": token, "reason": "wrong", "turn": "k-0", "conversation": "cnv_k", "answer": "invented"}
    assert (await browser.post("/report", json=told)).json() == {"message": ""}
    assert await filed(served) == (person.id, "k-0", "wrong", "A?", "as it was")
    gone = await browser.post("/report", json={**told, "turn": "k-9"})
    assert (gone.status_code, gone.json()["message"]) == (404, "This answer is no longer here.")
