"""``/plan`` over HTTP: what stands on it, as of which day, for whom, and its files."""

from __future__ import annotations

import asyncio
import csv
import dataclasses
import io
import re
import time
import tomllib
from collections.abc import AsyncIterator
from gettext import NullTranslations
from html import unescape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import httpx2
import msgspec
import pytest

from moduai.gateway.policy_text import parse
from moduai.metering.disclosure import LEAST
from moduai.metering.loader import put_usage
from moduai.metering.row import UsageRow
from moduai.packs import strategy
from moduai.packs.choose import chosen
from moduai.packs.schema import Live
from moduai.packs.strategy import Plan
from moduai.web.plan import export, live
from moduai.web.plan.words import LIVE
from tests.web.office import URL, Office, office

XA = Path(__file__).parents[2] / "packs" / "xa"
ATOM = {"a": "http://www.w3.org/2005/Atom"}


@pytest.fixture
async def desk() -> AsyncIterator[Office]:
    async with office() as opened:
        yield opened


@pytest.fixture
async def guest(desk: Office) -> AsyncIterator[httpx2.AsyncClient]:
    async with desk.client() as client:
        yield client


def plan_of(desk: Office) -> Plan:
    return strategy.as_of(chosen(desk.services.loaded, parse))


def text_of(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


async def test_everything_of_the_plan_is_there_with_its_source(
    desk: Office, guest: httpx2.AsyncClient
) -> None:
    html = (await guest.get("/plan")).text
    plan, shown = plan_of(desk), text_of(html)
    for entry in plan.entries.values():
        assert f'href="/plan/items/{entry.item.id}"' in html, entry.item.id
    for one in strategy.money(plan):
        assert f'<data value="{one.low:.15g}"' in html
    for one, other in strategy.conflicts(plan):
        assert plan.standing[one].claim.what["en"] in shown
        assert plan.standing[other].claim.what["en"] in shown
    for source in set(re.findall(r'href="#s-([a-z0-9.-]+)"', html)):
        assert f'<li id="s-{source}"' in html, "every note leads somewhere"
    lacking = [entry for entry in plan.entries.values() if entry.gaps]
    assert shown.count("Missing – not in the documents") == len(lacking) > 0
    assert "<script" not in html
    assert "style=" not in html


async def test_a_claim_of_accelerators_is_given_as_a_scenario(guest: httpx2.AsyncClient) -> None:
    place = "/plan/items/gpus-200000/d-gpus-200000.toml"
    assert f'href="{place}"' in (await guest.get("/plan/items/gpus-200000")).text
    answer = await guest.get(place)
    assert 'filename="d-gpus-200000.toml"' in answer.headers["content-disposition"]
    assert tomllib.loads(answer.text)["fleet"][0]["claim"] == "d-gpus-200000"
    for other in (
        "gpus-50000/d-gpus-200000",
        "gpus-200000/x",
        "committee/x",
        "gpu-purchase-2025/later-gpu-2025-cost",
    ):
        assert (await guest.get(f"/plan/items/{other}.toml")).status_code == 404, other


async def test_every_item_has_its_page(desk: Office, guest: httpx2.AsyncClient) -> None:
    for name, entry in plan_of(desk).entries.items():
        html = (await guest.get(f"/plan/items/{name}")).text
        for one in entry.claims:
            assert f'id="c-{one.claim.id}"' in html
        assert ("followed only" in html) == (not entry.item.serves)
        for source in set(re.findall(r'href="#s-([a-z0-9.-]+)"', html)):
            assert f'<li id="s-{source}"' in html
    for missing in (
        "/plan/items/none",
        "/plan/items/",
        "/plan/x",
        "/plan/feed.json",
        "/plan.xml",
        "/plan/.csv",
    ):
        assert (await guest.get(missing)).status_code == 404, missing
    assert (await guest.post("/plan")).status_code == 405


async def test_the_plan_of_an_earlier_day(guest: httpx2.AsyncClient) -> None:
    then = (await guest.get("/plan?as_of=2025-04-20")).text
    assert 'value="2025-04-20"' in then
    assert "What changed after 2025-04-20" in then
    assert "/plan/items/gpus-200000?as_of" not in then, "said later"
    assert "/plan/items/investment-100tn?as_of=2025-04-20" in then
    item = await guest.get("/plan/items/gpus-200000?as_of=2025-04-20")
    assert item.status_code == 404
    assert not msgspec.json.decode((await guest.get("/plan.json?as_of=2000-01-01")).content)["items"]
    for wrong in (
        "yesterday",
        "2025-13-01",
        "20250420",
        "2025-W01-1",
        "２０２５-04-20",
        "<script>",
        "2025-04-20T00:00",
    ):
        answer = await guest.get("/plan", params={"as_of": wrong})
        assert answer.status_code == 400
        assert "is no day" in answer.text
        assert "<script" not in answer.text
        assert (await guest.get("/plan.csv", params={"as_of": wrong})).status_code == 400


async def test_who_was_in_charge_is_told_of_its_day(guest: httpx2.AsyncClient) -> None:
    place = "/plan/items/ai-for-all"
    then, now = [
        text_of((await guest.get(place + query)).text).replace(" :", ":")
        for query in ("?as_of=2025-06-03", "")
    ]
    assert "In charge Lee Jae-myung" in then
    assert "What changed in it" not in then
    assert "In charge Ministry of Science and ICT" in now
    assert "2025-06-18 In charge: Ministry of Science and ICT" in now
    assert "Before: In charge: Lee Jae-myung" in now
    feed = (await guest.get("/plan/feed.xml?lang=ko")).text
    assert "<title>모두의 AI: 맡은 곳: 과학기술정보통신부</title>" in feed
    for query, owner in (("?as_of=2025-06-03", "Lee Jae-myung"), ("", "Ministry of Science and ICT")):
        told = csv.DictReader(io.StringIO((await guest.get(f"/plan.csv{query}")).content.decode("utf-8-sig")))
        assert {row["owner"] for row in told if row["item"] == "ai-for-all"} == {owner}
    (item,) = (one for one in (await guest.get("/plan.json")).json()["items"] if one["id"] == "ai-for-all")
    assert (item["owner"], [one["owner"] for one in item["revisions"]]) == ("msit", ["msit"])


async def test_how_a_figure_follows_is_told_in_the_pages_language(guest: httpx2.AsyncClient) -> None:
    told = {}
    for language in ("en", "ko"):
        page = await guest.get("/plan/items/gpus-50000", headers={"accept-language": language})
        told[language] = [
            text_of(cell) for cell in re.findall(r'data-label="(?:How|계산)">(.*?)</td>', page.text)
        ]
    assert "What was said × One GPU with its server, cooling and network" in " ".join(told["en"])
    assert any(" / about 51.2" in one for one in told["en"]), "populations are rounded"
    assert told["ko"]
    assert not re.search("[a-z]{2}", " ".join(told["ko"]).replace("kWh", "")), told["ko"]


async def test_numbers_are_grouped_as_the_language_does(guest: httpx2.AsyncClient) -> None:
    bought = ">1.46 trillion</data>", ">1조 4,600억</data>"
    for language, there, other in (("en", *bought), ("ko", *reversed(bought))):
        html = (await guest.get("/plan", headers={"accept-language": language})).text
        assert f'<data value="1460000000000" title="1,460,000,000,000"{there}' in html
        assert other not in html


async def test_a_page_is_made_once_for_guests_and_never_shown_with_a_strangers_query(
    desk: Office, guest: httpx2.AsyncClient
) -> None:
    first = await guest.get("/plan", params={"q": "zzyzx"})
    assert "zzyzx" in first.text, "it stays in the address of the other language"
    assert "zzyzx" not in (await guest.get("/plan")).text
    async with desk.client("officer") as officer:
        assert "/console/plan" in (await officer.get("/plan")).text
    assert "/console/plan" not in (await guest.get("/plan")).text
    kept = desk.app.state.plan.kept
    assert len(kept) == 1
    for day in range(1, 29):
        for month in (1, 2):
            await guest.get(f"/plan?as_of=2024-{month:02}-{day:02}")
    assert len(kept) == 32


async def test_what_was_accepted_is_on_the_page_in_the_files_and_in_the_feed(desk: Office) -> None:
    given = {
        "day": "2026-11-20",
        "item": "gpus-50000",
        "who": "msit",
        "what": ["지어낸 말", "Words that a test made up"],
        "number": 60_000,
        "unit": "gpus",
        "source_title": ["새 기사", "A new article"],
        "source_publisher": "Test",
        "source_url": "https://example.org/1",
    }
    places = ("/plan/items/gpus-50000", "/plan.json", "/plan.csv", "/plan.jsonld", "/plan/feed.xml")
    async with (
        desk.client("officer") as officer,
        desk.client("committee") as committee,
        desk.client("operator") as operator,
        desk.client() as guest,
    ):
        made = (await officer.post("/api/plan/proposals", json=given)).json()
        path = f"/api/plan/proposals/{made['id']}/accept"
        assert (await officer.post(path, json={})).json()["error"]["code"] == "conflict"
        assert (await operator.post(path, json={})).json()["error"]["code"] == "permission_missing"
        for place in places:
            assert "Words that a test made up" not in (await guest.get(place)).text
        assert (await committee.post(path, json={"note": "seen"})).json()["state"] == "accepted"
        for place in places:
            assert "Words that a test made up" in (await guest.get(place)).text, place
        page = (await officer.get("/console/plan?state=accepted")).text
        assert "Words that a test made up" in page
        scenario = tomllib.loads((await guest.get(f"/plan/items/gpus-50000/{made['id']}.toml")).text)
        assert scenario["fleet"][0]["count"] == 60_000, "the files of the pack do not have the claim"
        wrong = await officer.post("/api/plan/proposals", json={**given, "item": "none"})
        assert wrong.json()["error"]["code"] == "value_not_allowed"
    entries = {entry.action: entry for entry in await desk.entries()}
    assert entries["plan.propose"].actor == desk.people["officer"]
    assert entries["plan.accept"].actor == desk.people["committee"]
    assert entries["plan.accept"].target == made["id"]
    assert "made up" not in str(entries), "no text stands in the audit log"


async def test_officers_use_the_console(desk: Office) -> None:
    async with desk.client("officer") as officer, desk.client("committee") as committee:
        page = (await officer.get("/console/plan")).text
        assert "Propose a change" in page
        fields = {
            "token": desk.forms["officer"],
            "back": "/console/plan",
            "day": "2026-11-20",
            "status": "funded",
            "claim": "a-gpus-50000",
            "source": "newsis-gpu-call-2026",
            **dict.fromkeys(("item", "who", "what", "number", "unit", "until", "reason", "source_url"), ""),
        }
        answer = await officer.post("/console/do/plan.propose", data={**fields, "claim": "nothing"})
        assert answer.status_code == 400
        assert "there is no claim" in answer.text
        answer = await officer.post("/console/do/plan.propose", data=fields)
        assert answer.headers["location"] == "/console/plan?done=plan.propose"
        assert "You proposed it" in (await officer.get("/console/plan")).text
        said = {"claim": "", "item": "gpus-50000", "who": "msit", "what": "지어낸 말\r\nMade up words"}
        since = {"claim": "", "item": "gpus-50000", "owner": "-", "needs": "ai-talent\r\ndata-opening\r\n"}
        for more, shown in ((said, "Made up words"), (since, "ai-talent, data-opening")):
            answer = await officer.post(
                "/console/do/plan.propose", data={**fields, **more, "day": "2026-03-03"}
            )
            assert answer.status_code == 303, answer.text
            assert shown in (await officer.get("/console/plan")).text
        page = (await committee.get("/console/plan")).text
        (proposal,) = set(re.findall(r'id="p-(p-[0-9a-f]+)"[^>]*>a-gpus-50000', page))
        fields = {"token": desk.forms["committee"], "back": "/console/plan", "proposal": proposal}
        answer = await committee.post("/console/do/plan.accept", data=fields)
        assert answer.status_code == 303
        html = (await committee.get("/plan/items/gpus-50000")).text
        assert "funded" in text_of(html)


# files


async def test_the_files(desk: Office, guest: httpx2.AsyncClient) -> None:
    plan = plan_of(desk)
    answer = await guest.get("/plan.json")
    assert answer.headers["cache-control"] == "public, max-age=300"
    again = await guest.get("/plan.json", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    found = answer.json()
    assert [one["id"] for one in found["claims"]] == list(plan.standing)
    assert [one["id"] for one in found["items"]] == list(plan.entries)
    assert found["claims"][0]["number"] == plan.pack.claims[0].number

    rows = list(csv.DictReader(io.StringIO((await guest.get("/plan.csv")).content.decode("utf-8-sig"))))
    assert {row["claim"] for row in rows} == set(plan.standing)
    row = next(row for row in rows if row["claim"] == "a-invest-100tn")
    assert (row["number"], row["unit"], row["source"]) == ("100000000000000", "won", "a")

    told = (await guest.get("/plan.jsonld")).json()
    assert told["@type"] == "Dataset"
    assert len(told["hasPart"]) == len(plan.standing)
    one = next(part for part in told["hasPart"] if part["@id"].endswith("#c-a-invest-100tn"))
    assert one["about"] == {"@type": "MonetaryAmount", "value": 1e14, "currency": "KRW"}
    assert one["author"]["@type"] == "Person"


async def test_the_feed(desk: Office, guest: httpx2.AsyncClient) -> None:
    answer = await guest.get("/plan/feed.xml?lang=ko")
    assert answer.headers["content-type"].startswith("application/atom+xml")
    feed = Xml.fromstring(answer.content)
    assert feed.findtext("a:id", namespaces=ATOM) == "urn:modu:plan:kr"
    entries = feed.findall("a:entry", ATOM)
    days = [entry.findtext("a:updated", namespaces=ATOM) or "" for entry in entries]
    assert days == sorted(days, reverse=True)
    assert feed.findtext("a:updated", namespaces=ATOM) == days[0]
    ids = [entry.findtext("a:id", namespaces=ATOM) for entry in entries]
    pack = plan_of(desk).pack
    assert len(set(ids)) == len(ids) == sum(map(len, (pack.claims, pack.changes, pack.revisions)))
    for entry in entries:
        link = entry.find("a:link[@rel='alternate']", ATOM)
        assert link is not None
        assert (await guest.get(link.attrib["href"].removeprefix(URL).partition("#")[0])).status_code == 200
        break


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx", "\nx", "\uff1d1", "\uff0b1"])
def test_a_spreadsheet_computes_nothing(text: str) -> None:
    assert export._cell(text) == f"'{text}"
    assert export._cell(-1.5) == "-1.5"


# figures of this installation


def row(number: int, subject: str, region: str = "KR-11", energy_mj: int = 1) -> UsageRow:
    return UsageRow(
        id=f"r{number}", at=int(time.time() * 1e6), subject=subject, organisation="o", key="", region=region,
        service_class="citizen", zone="", group="", endpoint="chat", model="m", engine="e", stream=True,
        tokens_in=10, tokens_cached=0, tokens_out=5, tokens_source="engine", queue_us=1, first_token_us=1,
        duration_us=1, accelerator_us=1, energy_mj=energy_mj, status=200, outcome="ok", error="", step="",
    )  # fmt: skip


async def keep(desk: Office, rows: list[UsageRow]) -> None:
    async with desk.services.database.begin() as connection:
        await put_usage(connection, [msgspec.structs.asdict(one) for one in rows])


async def test_few_people_are_kept_back_and_others_rounded(desk: Office) -> None:
    await keep(desk, [row(number, f"sub_{number}") for number in range(LEAST - 1)])
    found = await live.Ledgers(desk.services).read()
    assert found is not None
    assert found["residents"].few
    assert found["tokens"].few
    assert found["spend"].few
    assert [part.value for part in found["residents-by-region"].parts] == [None]
    await keep(desk, [row(100 + number, f"sub_x{number}", "KR-26") for number in range(2 * LEAST + 2)])
    await keep(desk, [row(200 + number, f"gst_{number}", "") for number in range(LEAST)])
    found = await live.Ledgers(desk.services).read()
    assert found is not None
    assert (found["residents"].value, found["guests"].value) == (15, 5)
    parts = {part.name: part.value for part in found["residents-by-region"].parts}
    assert parts["KR-26"] == 2 * LEAST
    assert parts["KR-11"] is None
    assert parts[""] is None, "else KR-11 would be known from the total"
    assert found["accelerators"].parts == (live.Part("H100 SXM", 8),)
    assert (found["engines"].value, found["models"].value, found["documents"].value) == (1, 2, 1)
    assert found["collections"].value == 1
    assert not {"corpora", "releases"} & found.keys()


async def test_live_figures_stand_with_what_they_serve(desk: Office, guest: httpx2.AsyncClient) -> None:
    served = [one for one in plan_of(desk).entries.values() if one.item.live]
    await keep(desk, [row(number, f"sub_{number}") for number in range(3 * LEAST)])
    shown = text_of((await guest.get("/plan")).text)
    assert "GPUs and other accelerators in service 8 " in shown.replace(": ", " ")
    assert "Residents served this month, by region Seoul 15" in shown.replace(": ", " ")
    assert "Models released not counted here yet" in shown.replace(": ", " ")
    for entry in served:
        page = text_of((await guest.get(f"/plan/items/{entry.item.id}")).text)
        assert all(live_words(name) in page for name in entry.item.live), entry.item.id


async def test_spend_is_computed_from_energy_and_says_of_what(desk: Office) -> None:
    """36 MJ are 10 kWh, at the price of the pack; half of the time has no power, and that is told."""
    spend = re.compile("electricity alone, computed (.*)Everything else is followed")
    shown = []
    for energies in ([0] * 8, [4_500_000_000] * 8, [0, 0]):
        number = len(shown) * 100
        await keep(desk, [row(number + n, f"sub_{n}", energy_mj=each) for n, each in enumerate(energies)])
        if hasattr(desk.app.state, "plan"):
            del desk.app.state.plan
        async with desk.client() as guest:
            section = (await guest.get("/plan")).text.partition('<h2 id="here">')[2]
        told = spend.search(re.sub(r"(?<=\() | (?=[).,:])", "", text_of(section.replace("&nbsp;", " "))))
        assert told is not None
        shown.append(told[1])
    assert shown[0].startswith("not computed: no engine says what power it draws")
    assert shown[1].startswith("1,830 won")
    assert "Energy used, as estimated: 10 kWh. Electricity used = Energy used, as estimated × One" in shown[1]
    assert "= 1,660 won – 2,200 won, assumed. Of 50% of the accelerators’ time" in shown[1]
    assert "Of 44.4% of" in shown[2]


def live_words(name: Live) -> str:
    return LIVE[name](NullTranslations())


async def test_many_looks_are_one_question_to_the_database(desk: Office) -> None:
    ledgers = live.Ledgers(desk.services)
    first, *others = await asyncio.gather(*(ledgers.read() for _ in range(5)))
    assert all(other is first for other in others)


async def test_without_its_database_the_page_is_there(desk: Office) -> None:
    class Away:
        errors = (ConnectionError,)

        def connect(self) -> Any:
            raise ConnectionError

    app = desk.app
    site = app.state.site
    app.state.site = dataclasses.replace(
        site,
        services=dataclasses.replace(desk.services, database=Away()),  # type: ignore[arg-type]
    )
    async with desk.client() as guest:
        answer = await guest.get("/plan")
    assert answer.status_code == 200
    assert "The ledgers do not answer now." in answer.text
    app.state.site = site


# another country


async def test_the_invented_country_reads_from_the_right_and_has_nothing_of_korea() -> None:
    async with office(**{"pack.use": str(XA)}) as desk, desk.client(language="ar") as guest:
        home = (await guest.get("/")).text
        assert '<html lang="ar" dir="rtl">' in home
        assert "اسأل عن أي شيء" in home
        pages = {path: (await guest.get(path)).text for path in ("/plan", "/plan?lang=en", "/plan?lang=ko")}
        assert '<html lang="ar" dir="rtl">' in pages["/plan"]
        assert "جمهورية زنبار" in pages["/plan"]
        assert "دينبار" in pages["/plan"]
        assert '<html lang="en" dir="ltr">' in pages["/plan?lang=en"]
        assert "dinbar" in pages["/plan?lang=en"]
        abolished = "For everyone: In charge: none in the documents; Measure: Eight of ten use it."
        assert abolished in re.sub(" (?=[:;])", "", text_of(pages["/plan?lang=en"]))
        files = [(await guest.get(f"/plan.{kind}")).text for kind in ("json", "csv", "jsonld")]
        for told in (home, *pages.values(), *files, (await guest.get("/plan/feed.xml")).text):
            assert not re.search(
                r"[\uac00-\ud7a3]|Korea(?!n for)|\bwon\b|KRW|KR-", told.replace("모두", "")
            ), told[:200]


async def test_a_pack_that_cannot_be_used_takes_the_plan_away_only(tmp_path: Path) -> None:
    async with office(**{"pack.use": str(tmp_path)}) as desk, desk.client() as guest:
        assert (await guest.get("/plan")).status_code == 503
        assert (await guest.get("/plan.json")).status_code == 503
        assert (await guest.get("/")).status_code == 200
