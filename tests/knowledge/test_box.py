"""The collection in the box: whole, in both languages, and true of this service."""

from __future__ import annotations

import re
import tomllib
import zipfile
from datetime import date
from pathlib import Path

import pytest
from babel.messages.pofile import read_po
from flit_core.wheel import WheelBuilder

from moduai import settings
from moduai.accounts import looks, networks, reports, sign_in
from moduai.accounts.roles import PERMISSIONS
from moduai.cli import COMMANDS
from moduai.gateway import policy_change
from moduai.gateway.policy_text import parse, shipped_text
from moduai.knowledge.readers import read
from moduai.web import guests, me
from moduai.web.conversation import ANSWER_TOKENS, QUESTION_CHARS

ROOT = Path(__file__).parents[2]
BOX = ROOT / "src" / "moduai" / "knowledge" / "box"
LOCALE = ROOT / "src" / "moduai" / "web" / "locales" / "ko" / "LC_MESSAGES" / "messages.po"
NAMES = sorted(path.name for path in (BOX / "ko").iterdir())
PAGES = [f"{language}/{name}" for language in ("ko", "en") for name in NAMES]
FIELDS = ["title", "kind", "language", "licence", "ministry", "in_force_from"]
WORDS = {"en": (150, 400), "ko": (100, 400)}
"""Korean says the same in fewer words."""


def front_and_body(page: str) -> tuple[dict[str, str], str]:
    _, front, body = (BOX / page).read_text("utf-8").split("---\n", 2)
    return dict(line.split(": ", 1) for line in front.splitlines()), body


def test_there_are_the_same_pages_in_both_languages():
    assert sorted(path.name for path in (BOX / "en").iterdir()) == NAMES
    service = [name for name in NAMES if name.startswith("service-")]
    assert len(service) >= 15
    assert len(NAMES) - len(service) >= 30


@pytest.mark.parametrize("page", PAGES)
def test_the_front_matter_is_complete(page):
    front, body = front_and_body(page)
    assert list(front) == FIELDS
    assert body.startswith(f"\n# {front['title']}\n\n## ")
    assert (front["kind"], front["licence"], front["ministry"]) == ("page", "Apache-2.0", "''")
    assert front["language"] == page[:2]
    assert date.fromisoformat(front["in_force_from"]) <= date.today()  # noqa: DTZ011  (a day is enough)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_short_and_so_is_each_part_of_it(page):
    _, body = front_and_body(page)
    least, most = WORDS[page[:2]]
    assert least <= len(body.split()) <= most
    for part in body.split("\n## ")[1:]:
        heading, text = part.split("\n", 1)
        assert len(heading) <= 60
        assert 1 <= len(re.findall(r"[.!?](?:\s|$)", text)) <= 6, heading


@pytest.mark.parametrize("page", PAGES)
def test_a_sentence_can_be_quoted_alone(page):
    """It names what it is about: it does not begin with a word for something in the sentence before."""
    _, body = front_and_body(page)
    beginnings = r"(?:It|They|Them|These|Those|If they|그것|그런|그렇|그때|그보다|이것|이런)"
    assert re.findall(rf"(?:^|[.!?] ){beginnings}[ 은이을에도 ][^.!?]*", body, flags=re.MULTILINE) == []


@pytest.mark.parametrize("page", PAGES)
def test_each_part_is_a_passage_of_its_own(page):
    _, body = front_and_body(page)
    parsed = read(page, (BOX / page).read_bytes())
    assert [one.label for one in parsed.passages] == re.findall("^## (.+)", body, flags=re.MULTILINE)


@pytest.mark.parametrize("name", NAMES)
def test_both_languages_have_the_same_parts(name):
    korean, english = (front_and_body(f"{language}/{name}")[1] for language in ("ko", "en"))
    assert korean.count("\n## ") == english.count("\n## ")
    assert re.search("[가-힣]", korean)
    assert not re.search("[가-힣]", english.replace("모두", ""))


@pytest.mark.parametrize("page", PAGES)
def test_numbers_to_call_are_the_same_in_both_languages(page):
    other = ("en/" if page.startswith("ko/") else "ko/") + page[3:]
    numbers = [
        set(re.findall(r"(?<![\d,-])1\d{2,3}(?![\d,년%-])", front_and_body(each)[1]))
        for each in (page, other)
    ]
    assert numbers[0] == numbers[1]


@pytest.mark.parametrize("page", PAGES)
def test_numbers_to_call_say_of_when_they_are(page):
    """In each part that names one, for a part is quoted alone; 112 and 119 do not change."""
    said = {
        "ko": "전화번호는 이 페이지를 쓴 때(2026-11) 기준이며, 이 서비스를 운영하는 곳이 확인해야 ",
        "en": "Telephone numbers are as of when this page was written (2026-11); whoever runs this service "
        "has to check them.",
    }[page[:2]]
    for part in front_and_body(page)[1].split("\n## ")[1:]:
        numbers = set(re.findall(r"(?<![\d,-])1\d{2,3}(?![\d,년%건-]| an hour)", part)) - {"112", "119"}
        assert not numbers or said in part, part


@pytest.mark.parametrize("page", PAGES)
def test_nothing_leads_away_from_this_machine(page):
    _, body = front_and_body(page)
    assert not re.search(r"https?://|www\.|\]\(|<[a-z!/]", body)


@pytest.mark.parametrize("page", [page for page in PAGES if "/service-" in page])
def test_what_the_service_shows_is_named_as_it_shows_it(page):
    """A page, button or notice that is named in quotation marks is in the catalogue of the pages' words."""
    with LOCALE.open("rb") as file:
        catalogue = [message for message in read_po(file) if message.id]
    own = "string" if page.startswith("ko/") else "id"
    shown = "\n".join(str(getattr(message, own)) for message in catalogue)
    quoted = re.findall("‘([^’]+)’" if own == "string" else '"([^"]+)"', front_and_body(page)[1])
    assert [words for words in quoted if words not in shown] == []


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_settings_that_are_named_exist(page):
    _, body = front_and_body(page)
    names = {name for name, _ in settings.catalogue()}
    for code in re.findall(r"`([^`]+)`", body):
        if code.startswith("modu "):
            assert code.split()[1] in COMMANDS
        else:
            assert code in names or code == "x-ai-generated: true"


def _told() -> list[tuple[str, str, str]]:
    """Page, what its Korean text must say, what its English one must, made from the code."""
    policy = tomllib.loads(shipped_text())
    classes, pressure = policy["class"], policy["pressure"]
    parts = {name: f"{part:g}" for name, part in policy_change._parts(parse(shipped_text())).items()}
    waiting = {name: classes[name]["limits"]["person"] for name in ("guest", "resident")}
    held = {name: classes[name]["guarantee"] for name in ("guest", "resident")}
    reason = (looks.LEAST_REASON, looks.MOST_REASON)
    bits = (networks.IPV4_BITS, networks.IPV6_BITS)
    lasting = sorted(days for days in me.DAYS.values() if days)
    wait = settings.Line().max_wait_s
    return [
        ("guests-kept", f"최대 {guests.DAYS}일", f"at most {guests.DAYS} days"),
        ("limits", f"{QUESTION_CHARS:,}자", f"{QUESTION_CHARS:,} characters"),
        ("limits", f"최대 {ANSWER_TOKENS:,}토큰", f"at most {ANSWER_TOKENS:,} tokens"),
        ("limits", f"주민 한 사람은 {waiting['resident']}개", f"resident up to {waiting['resident']}"),
        ("limits", f"한 모델에 {waiting['guest']}개", f"up to {waiting['guest']} questions"),
        (
            "limits",
            f"대기가 {pressure['shorten_after_s']}초",
            f"passes {pressure['shorten_after_s']} seconds",
        ),
        ("limits", f"{pressure['shorten_to']:,}토큰에서", f"cut at {pressure['shorten_to']:,} tokens"),
        ("limits", f"대기가 {pressure['refuse_after_s']}초", f"passes {pressure['refuse_after_s']} seconds"),
        ("place-in-line", f"최대 {wait:g}초", f"{wait:g} seconds at most"),
        ("shares", f"주민은 {parts['resident']}%", f"residents get {parts['resident']} %"),
        ("shares", f"손님은 {parts['guest']}%", f"guests {parts['guest']} %"),
        ("shares", f"공무는 {parts['public-duty']}%", f"public duty {parts['public-duty']} %"),
        ("shares", f"연구는 {parts['research']}%", f"research {parts['research']} %"),
        ("shares", f"자리의 {held['resident']}%", f"guaranteed {held['resident']} %"),
        ("shares", f"손님은 {held['guest']}%를", f"guests {held['guest']} %"),
        ("guest-networks", f"앞 {bits[0]}비트", f"first {bits[0]} bits"),
        ("guest-networks", f"앞 {bits[1]}비트", f"first {bits[1]} bits"),
        ("reports", f"한 시간에 {reports.HOURLY_PERSON}건", f"{reports.HOURLY_PERSON} reports an hour"),
        ("reports", f"한 시간에 {reports.HOURLY_GUESTS}건", f"{reports.HOURLY_GUESTS} an hour"),
        ("reports", f"{reports.MOST_REMARK:,}자", f"{reports.MOST_REMARK:,} characters"),
        ("who-can-look", f"{reason[0]}자에서 {reason[1]}자", f"{reason[0]} to {reason[1]} characters"),
        ("who-can-look", f"{looks.MOST_HOURS}시간", f"{looks.MOST_HOURS} hours"),
        ("api-keys", f"{me.MOST_KEYS}개", f"{me.MOST_KEYS} keys"),
        ("api-keys", "일, ".join(map(str, lasting)) + "일", "{}, {} or {} days".format(*lasting)),
        ("accounts", f"{sign_in.LEAST_PASSWORD}자 이상", f"at least {sign_in.LEAST_PASSWORD} characters"),
        (
            "accounts",
            f"로그인은 {settings.People().session_days}일",
            f"{settings.People().session_days} days",
        ),
    ]


@pytest.mark.parametrize(("page", "korean", "english"), _told())
def test_numbers_are_those_of_the_code(page, korean, english):
    assert korean in front_and_body(f"ko/service-{page}.md")[1]
    assert english in front_and_body(f"en/service-{page}.md")[1]


def test_what_is_said_of_defaults_is_so():
    assert settings.History().default is False  # "history is off unless the operator has changed that"
    assert settings.History().retention_days == 0
    assert settings.People().sign_up == "invited"
    assert settings.Web().guests is True
    able = {role for role, allowed in PERMISSIONS.items() if "look" in allowed}
    assert able == {"steward", "admin"}
    assert {role for role, allowed in PERMISSIONS.items() if "audit" in allowed} == {
        "committee",
        "officer",
        "admin",
    }


def test_the_box_is_in_the_wheel(tmp_path):
    with (tmp_path / "made.whl").open("wb") as file:
        builder = WheelBuilder.from_ini_path(ROOT / "pyproject.toml", file)
        builder.build()
    with zipfile.ZipFile(tmp_path / "made.whl") as wheel:
        held = {name for name in wheel.namelist() if "/knowledge/box/" in name}
    assert held == {f"moduai/knowledge/box/{page}" for page in PAGES}
