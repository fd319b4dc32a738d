from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from starlette.requests import Request

from moduai.gateway.errors import CATALOGUE
from moduai.gateway.local import Place
from moduai.web import catalogue, words
from moduai.web.language import NAMES, choose, direction, language, preferred
from moduai.web.site import TEMPLATES

FIELDS = re.compile(r"%\(\w+\)[sd]")


@pytest.mark.parametrize("file", catalogue.files(), ids=lambda file: file.parts[-3])
def test_every_catalogue_is_complete(file: Path) -> None:
    have = {message.id: message for message in catalogue.read(file) if message.id}
    wanted = {message.id for message in catalogue.texts() if message.id}
    assert set(have) == wanted, "run python -m moduai.web.catalogue"
    for message in have.values():
        assert not message.fuzzy
        strings = message.string if isinstance(message.string, tuple) else (message.string,)
        ids = message.id if isinstance(message.id, tuple) else (message.id,)
        for string in strings:
            assert string, f"not translated: {message.id}"
            assert sorted(FIELDS.findall(string)) == sorted(FIELDS.findall(ids[-1])), message.id


def test_every_language_has_a_catalogue() -> None:
    assert {file.parts[-3] for file in catalogue.files()} == set(NAMES) - {"en"}


class _Texts(HTMLParser):
    """Letters that a template shows to people as they stand."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_data(self, data: str) -> None:
        if re.search(r"[^\W\d_]", data):
            self.found.append(data.strip())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        shown = {"title", "placeholder", "aria-label", "alt", "label"}
        self.found += [value for name, value in attrs if name in shown and value and value.strip()]


@pytest.mark.parametrize("template", sorted(TEMPLATES.rglob("*.html")), ids=lambda file: file.name)
def test_no_template_holds_text_that_is_not_translated(template: Path) -> None:
    source = re.sub(r"{% trans.*?endtrans %}", "", template.read_text(), flags=re.DOTALL)
    texts = _Texts()
    texts.feed(re.sub(r"{{.*?}}|{%.*?%}|{#.*?#}", "", source, flags=re.DOTALL))
    assert texts.found == []


def request(query: str = "", **headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request(
        {"type": "http", "method": "GET", "path": "/", "query_string": query.encode(), "headers": raw}
    )


def test_the_language_is_chosen_by_address_cookie_header_setting() -> None:
    korean = request(accept_language="ko-KR,ko;q=0.9,en;q=0.8")
    assert choose(korean, NAMES, "en") == "ko"
    assert choose(request(accept_language="de, fr;q=0.5"), NAMES, "ko") == "ko"
    assert choose(request(accept_language="en", cookie="modu_language=ko"), NAMES, "en") == "ko"
    assert choose(request("lang=en", cookie="modu_language=ko"), NAMES, "ko") == "en"
    assert choose(request("lang=../../x"), NAMES, "xx") == "en"
    assert choose(request(accept_language="zh-TW,zh"), ("en", "zh-Hant"), "en") == "zh-Hant"


def test_a_language_without_a_catalogue_says_in_which_its_words_are() -> None:
    assert (language("ko").texts, language("ko").direction) == ("ko", "ltr")
    arabic = language("ar")
    assert (arabic.texts, arabic.direction) == ("en", "rtl")
    told = language("ar", 'msgid "About"\nmsgstr "عن"\n')
    assert (told.texts, told.words.gettext("About"), told.words.gettext("Other")) == ("ar", "عن", "Other")


@pytest.mark.parametrize(
    ("code", "way"),
    [
        ("ko", "ltr"),
        ("he", "rtl"),
        ("az-Arab", "rtl"),
        ("ar-Latn", "ltr"),
        ("ar-EG", "rtl"),
        ("en-IL", "ltr"),
    ],
)
def test_the_direction_is_that_of_the_script(code: str, way: str) -> None:
    assert direction(code) == way


def test_preferences_are_sorted_and_bad_ones_left_out() -> None:
    assert preferred("en;q=0.2, ko, fr;q=x, de;q=0") == ["ko", "en"]


def test_codes_that_people_are_told_of_exist_in_the_gateway() -> None:
    own = {"guests_off", "empty", "question_too_long", "page_too_old", "form_too_large", "failed"}
    own |= {"nothing_to_report", "not_reported", "name_not_taken", "conversation_gone", "records_away"}
    assert set(words._ERRORS) - own <= set(CATALOGUE)


def test_words_for_people() -> None:
    ko, en = language("ko").words, language("en").words
    assert words.place(en, Place(3, 8.2)) == "You are number 3 in line. About 8 seconds to go."
    assert words.place(ko, Place(1, None)) == "1번째로 기다리고 있습니다."
    told = words.place(en, Place(3, 8.2, 5.4, 13.1))
    assert told == "You are number 3 in line. About 8 seconds to go (5 to 14 seconds)."
    assert words.place(ko, Place(2, 8, 5, 14)).endswith("약 8초 남았습니다(5~14초).")
    assert words.between(en, 0.4, 2.2) == "up to 3 seconds"
    assert words.between(en, 70, 400) == "1 to 7 minutes"
    assert words.between(en, 20, 100) == "up to 2 minutes"
    assert words.between(en, 8.0, 8.4) == "", "as long as the wait itself"
    assert words.seconds(en, 0.2) == "1 second"
    assert words.seconds(en, 150) == "2 minutes"
    assert words.seconds(en, 5 * 3600) == "5 hours"
    assert words.seconds(ko, 9 * 86_400) == "9일"
    assert "40초 뒤에" in words.error(ko, "line_full", 40)
    told = "다 썼습니다. 7시간 뒤에 다시 해 주세요."
    assert words.error(ko, "quota_exceeded", 7 * 3600).endswith(told)
    assert words.error(en, "quota_exceeded", 40_000).endswith("is used up. Please try again in 11 hours.")
    assert words.known("engine_bad_answer") == "engine_failed"
    assert words.known("something_new") == "failed"
