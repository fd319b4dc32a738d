"""Open APIs as sources: what becomes of their documents, what changed, and what they do wrong.

Their shapes are in ``open_api``, written by hand: the services themselves were not asked.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from datetime import date
from pathlib import Path

import pytest

from moduai.knowledge import connectors, store
from moduai.knowledge.connectors import client, gov24, law
from moduai.knowledge.errors import SourceAwayError, SourceError
from moduai.knowledge.ingest import PARTLY, Report, update
from moduai.knowledge.parsing import Parsers
from moduai.knowledge.readers import LIMITS, read, read_all
from moduai.knowledge.sources import canonical, described, kind_of
from moduai.knowledge.store import Collection, Known
from moduai.knowledge.types import ReadError, Stored
from moduai.outbound import networks
from moduai.store.database import Database

from . import open_api
from .open_api import KEY, Law, Site

LOOPBACK = networks(["127.0.0.1"])
KEYS = {law.SITE: KEY, gov24.SITE: KEY.replace("+", "%2B").replace("=", "%3D")}
LAWS = [
    Law("000001", "모두살림법", "101"),
    Law("000002", "모두배움법", "102"),
    Law("000003", "모두쉼법", "103"),
]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(client, "GAP_S", 0.0)


@pytest.fixture
async def site(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    async with open_api.serving(Site()) as found:
        monkeypatch.setattr(law, "API", found.url)
        found.answer = open_api.statutes(list(LAWS))
        yield found


@pytest.fixture
async def data_site(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    async with open_api.serving(Site(key_name="serviceKey", refused=open_api.REFUSED_DATA)) as found:
        monkeypatch.setattr(gov24, "API", found.url)
        yield found


@pytest.fixture
def parsers() -> Iterator[Parsers]:
    with Parsers(at_once=1) as made:
        yield made


class Reads:
    """Reads a place as a collection."""

    def __init__(self, db: Database, parsers: Parsers, home: Path) -> None:
        self.db = db
        self.parsers = parsers
        self.home = home

    async def add(self, place: str) -> Collection:
        async with self.db.begin() as c:
            return await store.create(c, described(place))

    async def __call__(self, what: Collection, **more: object) -> Report:
        given = {"home": self.home, "private": LOOPBACK, "keys": KEYS} | more
        return await update(self.db, what, self.parsers, **given)  # type: ignore[arg-type]

    async def documents(self, what: Collection) -> dict[str, Stored]:
        async with self.db.connect() as c:
            return {one.key: one for one in await store.listed(c, what.id, most=1000)}

    async def text(self, one: Stored) -> str:
        async with self.db.connect() as c:
            found = await store.text(c, one.id, one.version)
        assert found
        return found[1]


@pytest.fixture
def reads(sqlite: Database, parsers: Parsers, tmp_path: Path) -> Reads:
    return Reads(sqlite, parsers, tmp_path / "home")


def counts(report: Report) -> tuple[int, int, int, int, int]:
    return report.added, report.changed, report.same, report.removed, report.refused


async def listed(place: str, keys: dict[str, str] = KEYS) -> list[str]:
    async with connectors.opened(place, keys, LOOPBACK) as items:
        return [one.key for one in items]


async def fails(place: str, keys: dict[str, str] = KEYS) -> SourceError:
    with pytest.raises(SourceError) as caught:
        await listed(place, keys)
    assert KEY not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("place", "kept"),
    [
        ("law.go.kr:law", "law.go.kr:law"),
        ("law.go.kr:prec?query=전세 보증금", "law.go.kr:prec?query=전세 보증금"),
        ("law.go.kr:prec?query=%EC%A0%84%EC%84%B8+A%26B", "law.go.kr:prec?query=전세 A%26B"),
        ("law.go.kr:eflaw?nw=1,3&LID=830", "law.go.kr:eflaw?LID=830&nw=1,3"),
    ],
)
def test_a_place_is_kept_as_it_is_meant(place: str, kept: str) -> None:
    assert kind_of(place) == "api"
    assert canonical("api", place) == kept
    assert canonical("api", kept) == kept


@pytest.mark.parametrize(
    ("place", "code"),
    [
        ("law.go.kr:", "address"),
        ("law.go.kr:treaty", "address"),
        ("data.go.kr:law", "address"),
        ("law.go.kr:law?OC=somebody", "secret"),
        ("data.go.kr:gov24?servicekey=x", "secret"),
        ("law.go.kr:law?target=prec", "address"),
        ("law.go.kr:law?page=7", "address"),
        ("law.go.kr:law?query=", "address"),
        ("law.go.kr:law?query=" + "가" * 101, "address"),
        ("law.go.kr:law?query=a%0Ab", "address"),
    ],
)
def test_what_is_no_place(place: str, code: str) -> None:
    with pytest.raises(SourceError) as caught:
        described(place)
    assert caught.value.code == code


async def test_a_statute_as_the_api_gives_it(site: Site, reads: Reads) -> None:
    what = await reads.add("law.go.kr:law")
    assert counts(await reads(what)) == (3, 0, 0, 0, 0)
    one = (await reads.documents(what))["000001"]
    facts = one.facts
    assert (facts.title, facts.kind, facts.number, facts.level) == ("모두살림법", "statute", "000001", "법률")
    assert (facts.ministry, facts.licence, facts.language) == ("보건복지부", "저작권법 제7조", "ko")
    assert (facts.in_force_from, facts.in_force_until) == (date(2024, 7, 1), None)
    assert (
        facts.address
        == "https://www.law.go.kr/%EB%B2%95%EB%A0%B9/%EB%AA%A8%EB%91%90%EC%82%B4%EB%A6%BC%EB%B2%95"
    )
    assert "급여는 매월 20일에 준다." in await reads.text(one)


def test_its_passages_are_articles_addenda_and_annexes() -> None:
    parsed = read("x.xml", LAWS[0].xml().encode())
    said = {one.label: parsed.text[one.start : one.end] for one in parsed.passages}
    assert list(said) == [
        "제1조(목적)",
        "제2조의2(지급(현금))",
        "부칙 <법률 제20001호, 2024. 1. 1.>",
        "별표 1 급여의 기준(제2조의2 관련)",
    ]
    assert said["제1조(목적)"] == "제1조(목적)\n이 법은 모두의 살림을 돕는 것을 목적으로 한다."
    assert said["제2조의2(지급(현금))"].split("\n")[1:] == [
        "① 급여는 다음 각 호와 같다. <개정 2024. 1. 1.>",
        "1. 살림 급여", "가. 쌀", "나. 연료", "2. 배움 급여",
        "② 급여는 매월 20일에 준다.",
    ]  # fmt: skip
    assert said["부칙 <법률 제20001호, 2024. 1. 1.>"].endswith(
        "\n이 법은 공포 후 6개월이 지난 날부터 시행한다."
    )
    assert said["별표 1 급여의 기준(제2조의2 관련)"].endswith("가구원 | 금액\n1명 | 10만원")
    assert [one.path for one in parsed.passages] == [("제1장 총칙",)] * 2 + [("부칙",), ("별표",)]
    assert parsed.notes == ("1 annexes and forms (별표, 서식) are files of their own and were not read",)


def test_articles_of_a_rule_that_come_in_one_are_apart() -> None:
    parsed = read("x.xml", open_api.RULE.encode())
    labels = ["제1장 총칙", "제1조(목적)", "제7-14조의2(금액)", "제8조(이의)", "부칙"]
    assert [one.label for one in parsed.passages] == labels
    assert {one.path for one in parsed.passages[1:4]} == {("제1장 총칙",)}
    assert "이 고시의 이름은 다음과 같다.\n둘째 줄이다." in parsed.text


async def test_a_decision_a_rule_and_an_ordinance(site: Site, reads: Reads) -> None:
    site.answer = open_api.other
    found = {}
    for what in ("prec", "admrul", "ordin"):
        made = await reads.add(f"law.go.kr:{what}")
        assert counts(await reads(made)) == (1, 0, 0, 0, 0)
        (found[what],) = (await reads.documents(made)).values()
    decision, rule, ordinance = (found[what].facts for what in ("prec", "admrul", "ordin"))
    assert (decision.kind, decision.number, decision.ministry) == ("decision", "2023두12345", "대법원")
    assert decision.title == "대법원 2024. 5. 15. 선고 2023두12345 (급여반환)"
    assert decision.cites == ("모두살림법 제2조의2", "민법 제741조")
    assert decision.address == "https://www.law.go.kr/LSW/precInfoP.do?precSeq=700123"
    text = await reads.text(found["prec"])
    assert "잘못 준 급여는 <3년> 안에 돌려받는다." in text
    assert "<br" not in text
    assert (rule.title, rule.level, rule.number) == ("살림 급여 고시", "고시", "88661")
    assert rule.in_force_from == date(2024, 2, 1)
    assert "제7-14조의2(금액)\n① 금액은 ₩100,000이다." in await reads.text(found["admrul"])
    assert (ordinance.level, ordinance.ministry, ordinance.number) == ("조례", "모두시", "2001619")
    assert ordinance.address == "https://www.law.go.kr/LSW/ordinInfoP.do?ordinSeq=2130189"


async def test_only_what_was_promulgated_since_is_fetched(site: Site, reads: Reads) -> None:
    what = await reads.add("law.go.kr:law")
    await reads(what)
    assert site.count("/lawService.do") == 3
    assert counts(await reads(what)) == (0, 0, 3, 0, 0)
    assert site.count("/lawService.do") == 3
    newer = Law("000001", "모두살림법", "201", made="20250101", force="20250701", text="새 목적이다.")
    site.answer = open_api.statutes([LAWS[1], LAWS[0], newer])
    assert counts(await reads(what)) == (0, 1, 1, 1, 0)
    assert site.count("/lawService.do") == 4
    one = (await reads.documents(what))["000001"]
    assert (one.version, one.facts.in_force_from) == (2, date(2025, 7, 1))
    async with reads.db.connect() as c:
        before = (await store.history(c, one.id))[1]
    assert before.facts.in_force_from == date(2024, 7, 1)
    assert counts(await reads(what, again=True)) == (0, 0, 2, 0, 0)
    assert site.count("/lawService.do") == 6


async def test_every_day_on_which_a_text_changes_is_a_document(site: Site, reads: Reads) -> None:
    editions = [
        Law("000001", "모두살림법", "101", made="20240101", force="20240101", state="연혁"),
        Law("000001", "모두살림법", "201", made="20250101", force="20250101"),
        Law(
            "000001", "모두살림법", "201", made="20250101", force="20270101", state="시행예정", text="옛 예정"
        ),
        Law(
            "000001", "모두살림법", "301", made="20260101", force="20270101", state="시행예정", text="새 예정"
        ),
    ]
    site.answer = open_api.statutes(editions)
    what = await reads.add("law.go.kr:eflaw?nw=1,2,3")
    assert counts(await reads(what)) == (3, 0, 0, 0, 0)
    assert site.asked[0][1]["nw"] == "1,2,3"
    found = await reads.documents(what)
    forced = {key: (one.facts.in_force_from, one.facts.in_force_until) for key, one in found.items()}
    assert forced == {
        "000001@20240101": (date(2024, 1, 1), date(2024, 12, 31)),
        "000001@20250101": (date(2025, 1, 1), date(2026, 12, 31)),
        "000001@20270101": (date(2027, 1, 1), None),
    }
    assert "새 예정" in await reads.text(found["000001@20270101"])
    assert found["000001@20250101"].facts.address.endswith("/LSW/lsInfoP.do?lsiSeq=201&efYd=20250101")
    assert counts(await reads(what)) == (0, 0, 3, 0, 0)


async def test_a_list_of_many_pages_is_walked_to_its_end(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(law, "DISPLAY", 2)
    assert await listed("law.go.kr:law?query=모두") == ["000001", "000002", "000003"]
    assert [asked["page"] for _, asked in site.asked] == ["1", "2"]
    assert {asked["query"] for _, asked in site.asked} == {"모두"}


@pytest.mark.parametrize("total", [5, 10**9])
async def test_a_list_that_repeats_itself_or_stops_takes_nothing_away(
    site: Site, reads: Reads, total: int
) -> None:
    what = await reads.add("law.go.kr:law")
    await reads(what)
    rows = [one.row() for one in LAWS]
    site.answer = lambda _, asked: open_api.listing("LawSearch", rows, {**asked, "page": "1"}, total)
    site.asked.clear()
    with pytest.raises(SourceError) as caught:
        await reads(what)
    assert caught.value.code == ("list" if total == 5 else "too_many")
    assert len(site.asked) <= 2
    site.answer = lambda _, asked: open_api.listing("LawSearch", rows, asked, 5)
    with pytest.raises(SourceError, match="stops or repeats itself after 3 of 5"):
        await reads(what)
    assert len(await reads.documents(what)) == 3


async def test_a_wrong_key_is_said_and_not_tried_twice(site: Site, data_site: Site) -> None:
    error = await fails("law.go.kr:law", {law.SITE: "another"})
    assert isinstance(error, SourceAwayError)
    assert (error.code, len(site.asked)) == ("key", 1)
    assert "사용자 정보 검증에 실패" in str(error)
    error = await fails("data.go.kr:gov24", {gov24.SITE: "another"})
    assert (error.code, len(data_site.asked)) == ("key", 1)
    error = await fails("law.go.kr:law", {})
    assert (error.code, "MODU_KNOWLEDGE__LAW_GO_KR_KEY" in str(error)) == ("no_key", True)


async def test_what_may_pass_is_tried_again(site: Site) -> None:
    page = open_api.listing("LawSearch", [], {"target": "law", "display": "2", "page": "1"}).encode()
    site.wrong = [(500, b"oops"), (200, b"<!DOCTYPE html><html>maintenance</html>"), (200, page[:-30])]
    assert len(await listed("law.go.kr:law")) == 3
    assert len(site.asked) == 4


async def test_a_source_that_stays_broken_is_given_up(site: Site) -> None:
    site.wrong = [(503, b"")] * client.TRIES
    assert "status 503" in str(await fails("law.go.kr:law"))
    assert len(site.asked) == client.TRIES


@pytest.mark.parametrize(
    "body",
    [
        b'<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><LawSearch><totalCnt>1</totalCnt>&x;</LawSearch>',
        b"<LawSearch>" * 200,
        "<LawSearch><totalCnt>마흔</totalCnt></LawSearch>".encode(),
        b"",
        b"\xff\xfe\x00",
    ],
)
async def test_lists_that_are_none(site: Site, body: bytes) -> None:
    site.wrong = [(200, body)] * client.TRIES
    assert (await fails("law.go.kr:law")).code == "fetch"


async def test_a_body_without_end_is_broken_off(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "LIMITS", type(LIMITS)(bytes=1000))
    site.wrong = [(200, b"x" * 1001)]
    assert "too long" in str(await fails("law.go.kr:law"))


async def test_a_private_address_is_not_asked(site: Site) -> None:
    with pytest.raises(SourceError, match="private address"):
        async with connectors.opened("law.go.kr:law", KEYS):
            pass
    assert not site.asked


async def test_a_text_that_cannot_be_had_costs_itself_only(site: Site, reads: Reads) -> None:
    right = open_api.statutes(list(LAWS))

    def answer(path: str, asked: dict[str, str]) -> object:
        if asked.get("MST") == "101":
            return "<Law>일치하는 법령이 없습니다.  법령명을 확인하여 주십시오.</Law>"
        if asked.get("MST") == "102":
            return LAWS[1].xml()[:400]
        return right(path, asked)

    site.answer = answer  # type: ignore[assignment]
    what = await reads.add("law.go.kr:law")
    report = await reads(what)
    assert counts(report) == (1, 0, 0, 0, 2)
    refused = {one.key: one.code for one in report.problems if one.code != PARTLY}
    assert refused == {"000001": "not_there", "000002": "fetch"}
    site.answer = right
    assert counts(await reads(what)) == (2, 0, 1, 0, 0)


async def test_a_quota_that_is_used_up_ends_the_reading_and_the_next_goes_on(
    site: Site, reads: Reads
) -> None:
    right = open_api.statutes(list(LAWS))

    def answer(path: str, asked: dict[str, str]) -> object:
        return right(path, asked) if site.count("/lawService.do") <= 2 else open_api.QUOTA

    site.answer = answer  # type: ignore[assignment]
    what = await reads.add("law.go.kr:law")
    with pytest.raises(SourceAwayError) as caught:
        await reads(what)
    assert caught.value.code == "limit"
    assert len(await reads.documents(what)) == 2
    async with reads.db.connect() as c:
        found = await store.collection(c, what.id)
    assert (found.state, "LIMITED_NUMBER" in found.error, found.tried_at > 0) == ("failed", True, True)
    site.answer = right
    site.asked.clear()
    assert counts(await reads(what)) == (1, 0, 2, 0, 0)
    assert site.count("/lawService.do") == 1


async def test_a_source_that_fails_one_time_after_the_other_is_away(site: Site, reads: Reads) -> None:
    right = open_api.statutes([Law(f"{number:06}", f"법 {number}", str(number)) for number in range(1, 40)])
    site.answer = lambda path, asked: right(path, asked) if path == "/lawSearch.do" else (500, b"")
    what = await reads.add("law.go.kr:law")
    with pytest.raises(SourceAwayError, match="status 500"):
        await reads(what)
    assert site.count("/lawService.do") == client.TRIES * client.MOST_FAILED


async def test_a_reading_that_was_broken_off_goes_on(site: Site, reads: Reads) -> None:
    what = await reads.add("law.go.kr:law")
    right = open_api.statutes(list(LAWS))
    running: list[asyncio.Task[Report]] = []

    def answer(path: str, asked: dict[str, str]) -> object:
        if asked.get("MST") == "103" and running:
            running.pop().cancel()
        return right(path, asked)

    site.answer = answer  # type: ignore[assignment]
    running.append(asyncio.create_task(reads(what)))
    with pytest.raises(asyncio.CancelledError):
        await running[0]
    async with reads.db.connect() as c:
        assert (await store.collection(c, what.id)).state == "waiting"
        before = len(await store.known(c, what.id))
    assert counts(await reads(what)) == (3 - before, 0, before, 0, 0)


def files(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.rglob("*") if path.is_file()]


async def test_the_key_is_kept_nowhere(
    site: Site, reads: Reads, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Not in the database, though the list's own links hold it; not in logs; not in what is refused."""
    caplog.set_level(logging.DEBUG)
    echo = f"<Response><result>거절 {KEY}</result><msg>{'가' * 270} {KEY}</msg></Response>".encode()
    site.wrong = [(400, echo)]
    what = await reads.add("law.go.kr:law")
    with pytest.raises(SourceError) as caught:
        await reads(what)
    assert str(caught.value).startswith("law.go.kr: it answers with status 400: 거절 *** 가")
    assert KEY[:3] not in str(caught.value)
    await reads(what)
    async with reads.db.connect() as c:
        known: dict[str, Known] = await store.known(c, what.id)
    said = repr(known) + repr(await reads.documents(what)) + caplog.text
    for form in (KEY, "n0t-a-real"):
        assert form not in said
        assert all(form.encode() not in data for data in files(tmp_path))
    assert site.asked[-1][1]["OC"] == KEY


async def test_public_services(data_site: Site, reads: Reads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gov24, "PER_PAGE", 2)
    rows = [open_api.service(f"13520000000{number}", f"살림 급여 {number}") for number in range(3)]
    data_site.answer = open_api.services(rows)
    what = await reads.add("data.go.kr:gov24")
    assert counts(await reads(what)) == (3, 0, 0, 0, 0)
    assert len(data_site.asked) == 2
    one = (await reads.documents(what))["135200000000"]
    assert (one.facts.kind, one.facts.ministry, one.facts.number) == (
        "programme",
        "보건복지부",
        "135200000000",
    )
    assert one.facts.licence == gov24.LICENCE
    assert one.facts.address == "https://www.gov.kr/portal/rcvfvrSvc/dtlEx/135200000000"
    text = await reads.text(one)
    assert text.startswith("살림 급여 0\n")
    assert "지원내용: 달마다 10만원" in text
    assert "구비서류: 신분증\n통장 사본" in text
    assert counts(await reads(what)) == (0, 0, 3, 0, 0)
    data_site.answer = open_api.services([rows[0], {**rows[1], "지원내용": "달마다 20만원"}])
    assert counts(await reads(what)) == (0, 1, 1, 1, 0)


async def test_public_services_that_fit_a_filter(data_site: Site, reads: Reads) -> None:
    rows = [open_api.service("1", "가", 서비스분야="주거"), open_api.service("2", "나", 서비스분야="보육")]
    data_site.answer = open_api.services(rows)
    what = await reads.add("data.go.kr:gov24?서비스분야=주거")
    assert (await reads(what)).added == 1
    assert list(await reads.documents(what)) == ["1"]
    assert data_site.asked[0][1]["cond[서비스분야::LIKE]"] == "주거"


@pytest.mark.parametrize("body", [b"[]", b'{"data": {}}', b'{"data": [1], "totalCount": 1}', b"{" * 5000])
async def test_pages_of_services_that_are_none(data_site: Site, body: bytes) -> None:
    data_site.wrong = [(200, body)] * client.TRIES
    assert (await fails("data.go.kr:gov24")).code == "fetch"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ('<!DOCTYPE 법령 [<!ENTITY x "y">]><법령>&x;</법령>', "unknown"),
        ('<?xml version="1.0"?><법령><!DOCTYPE x></법령>', "broken"),
        ("<법령><조문><조문단위>" * 60, "too_deep"),
        ("<법령></법령>", "empty"),
        ("<PrecService><사건명>가</사건명></PrecService>", "empty"),
        ("<법령><조문내용>제1조(가", "broken"),
    ],
)
def test_hostile_documents_are_refused(data: str, code: str) -> None:
    if code == "unknown":  # it is not taken for one, and as text it says only what is written there
        assert "y" not in read("x", data.encode()).text.replace("ENTITY", "").replace('"y"', "")
        return
    with pytest.raises(ReadError) as caught:
        read_all("x.xml", data.encode())
    assert caught.value.code == code


@pytest.mark.parametrize(
    "words", ["제1조(" + "가" * 300_000, "제1조" + "(가" * 100_000, " " * 300_000 + "x", "부" + " " * 300_000]
)
def test_reading_takes_no_longer_than_the_document(words: str) -> None:
    body = f"<법령><조문내용>{words}</조문내용><부칙내용>{words}</부칙내용></법령>"
    began = time.process_time()
    read("x.xml", body.encode())
    assert time.process_time() - began < 5
