"""PDF from files that the tests make; each is read by the real process."""

from __future__ import annotations

import resource
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.harness.documents import pdf as made
from benchmarks.harness.documents import pdf_file, pdf_stream

from moduai.knowledge.readers import pdf
from moduai.knowledge.readers.limits import LIMITS
from moduai.knowledge.types import ReadError
from tests.knowledge.readers.checks import held, refused

PAGES = [
    ["복지 급여 안내", "2024년도 1인 가구는 월 713,102원", "𠀀 漢字 abc"],
    ["둘째 쪽", "신청 방법", "읍면동에 낸다"],
]


def test_pages_are_passages() -> None:
    parsed = held(pdf.read(made(PAGES, title="복지 급여 안내")))
    assert parsed.text == "\n\n".join("\n".join(lines) for lines in PAGES)
    assert [(each.page, each.label) for each in parsed.passages] == [(1, "p. 1"), (2, "p. 2")]
    assert parsed.facts.title == "복지 급여 안내"
    assert parsed.facts.language == "ko"


def test_bookmarks_that_stand_on_their_page_are_headings() -> None:
    parsed = held(pdf.read(made(PAGES, [("신청  방법", 1), ("어디에도 없다", 0)])))
    assert [(each.page, each.label) for each in parsed.passages] == [
        (1, "p. 1"),
        (2, "p. 2"),
        (2, "신청 방법"),
    ]


def test_a_title_is_the_first_line_where_the_file_s_own_is_not_in_the_text() -> None:
    assert pdf.read(made([["- 1 -", "주간 보고"]], title="제목 없음.hwp")).facts.title == "주간 보고"


def test_pages_without_text_are_noted_and_a_file_without_any_is_refused() -> None:
    assert pdf.read(made([["글이 있다"], []])).notes == ("Pages without text, such as pictures: 1.",)
    refused("empty", lambda: pdf.read(made([[], []])))


def test_damaged_and_foreign_files_are_refused() -> None:
    for data in (b"", b"PK\x03\x04", b"%PDF-1.7\n", made(PAGES)[:200]):
        refused("broken", lambda data=data: pdf.read(data))


def test_pages_and_characters_are_counted() -> None:
    data = made(PAGES)
    refused("too_large", lambda: pdf.read(data, replace(LIMITS, pages=1)))
    refused("too_large", lambda: pdf.read(data, replace(LIMITS, characters=40)))
    refused("too_large", lambda: pdf.read(data, replace(LIMITS, bytes=len(data) - 1)))


TOLD = (
    "복지 급여는 형편이 어려운 가구에 나라가 돈이나 물건을 주는 제도이며 신청한 사람의 소득과 재산을 보아 "
    "결정하고 그 결과를 알려 주는 것이 원칙이므로 신청서를 낸 날부터 삼십 일 안에 답을 받을 수 있고 그 답에 "
    "따를 수 없는 사람은 구십 일 안에 다시 보아 달라고 말할 수 있으며 그때에는 서류를 더 낼 수도 있다"
)


def printed(words: str, width: int = 30) -> list[str]:
    """Lines as word processors print Korean: broken at any syllable, a space at the end of a line kept."""
    found = []
    while words:
        until = width + words[width : width + 1].count(" ")
        found.append(words[:until])
        words = words[until:]
    return found


def lines(*given: str) -> list[str]:
    return pdf.read(made([list(given)])).text.split("\n")


def test_a_word_that_is_broken_over_two_lines_is_made_whole() -> None:
    for width in (26, 29, 30, 33):
        given = printed(TOLD, width)
        assert any(line.endswith(" ") for line in given)
        found = lines("제도의 안내", *given)
        assert found[0] == "제도의 안내"
        assert len(found) < len(given) + 1
        assert " ".join(found[1:]) == TOLD


def test_lines_stay_apart_where_it_is_not_sure_that_a_word_goes_on() -> None:
    given = printed(TOLD)
    bare = [line.rstrip() for line in given]
    assert lines(*bare) == bare  # no space at any line's end, and too short a text to tell by its own words
    entries = [f"가. {part}" for part in given]
    assert lines(*entries) == [line.rstrip() for line in entries]
    cells = ["가구원", "한 사람", "두 사람", "세 사람"]
    assert lines(*cells, *given)[:4] == cells
    english = ["The allowance is paid by the month to", "those who asked for it in writing"]
    assert lines(*english, *given)[:2] == english


def gaps(text: str) -> list[bool]:
    """For each character but white space, whether white space stands before it."""
    return [text[at - 1].isspace() for at in range(1, len(text)) if not text[at].isspace()]


def test_a_long_document_tells_by_its_own_words_where_they_are_broken() -> None:
    """Most of those that are broken are made whole, of hundreds that are not hardly any is run together."""
    box = (Path(__file__).parents[3] / "src/moduai/knowledge/box/ko").glob("*.md")
    said = [line for path in sorted(box) for line in path.read_text("utf-8").split("---\n", 2)[2].split("\n")]
    told = [line for line in said if line and line[0] not in "#`"]
    given = [line.rstrip() for words in told for line in printed(words, 36)]
    pages = [given[at : at + 45] for at in range(0, len(given), 45)]
    meant, shown = gaps("\n".join(told)), gaps("\n".join(given))
    read = gaps(pdf.read(made(pages)).text)
    broken = [
        now for before, printed_so, now in zip(meant, shown, read, strict=True) if printed_so and not before
    ]
    apart = [now for before, now in zip(meant, read, strict=True) if before]
    assert len(broken) > 200
    assert broken.count(False) > len(broken) / 2
    assert apart.count(False) <= len(apart) / 1000


def test_a_long_document_that_is_broken_at_words_stays_as_it_is() -> None:
    given = textwrap.wrap(" ".join([TOLD] * 8), 30)[:50]
    assert lines(*given) == given


def page_bomb(forms: int, times: int) -> bytes:
    """One page that draws a form, which draws another ``times``, and so on: times ** forms."""
    page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 99 99] /Contents 4 0 R /Resources %s >>"
    names = b"<< /XObject << /X %d 0 R >> >>"
    objects = [
        b"<< /Pages 2 0 R >>",
        b"<< /Count 1 /Kids [3 0 R] >>",
        page % (names % 5),
        pdf_stream(b"/X Do"),
    ]
    for at in range(forms):
        entries = b"/Type /XObject /Subtype /Form /BBox [0 0 99 99] /Resources " + names % (6 + at)
        objects.append(pdf_stream(b"/X Do\n" * times, entries))
    objects.append(pdf_stream(b"0 0 m\n" * 100, b"/Type /XObject /Subtype /Form /BBox [0 0 99 99]"))
    return pdf_file([*objects, b"<< >>"])


def test_a_page_that_draws_without_end_is_refused_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "SECONDS", 1)
    began = time.monotonic()
    refused("too_heavy", lambda: pdf.read(page_bomb(12, 12)))
    assert time.monotonic() - began < 2 * pdf.WALL


def test_a_content_that_unpacks_to_too_much_ends_only_its_own_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pdf, "SECONDS", 1)
    page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 99 99] /Contents 4 0 R >>"
    content = pdf_stream(b"0 0 m " * (10 << 20))
    data = pdf_file([b"<< /Pages 2 0 R >>", b"<< /Count 1 /Kids [3 0 R] >>", page, content, b"<< >>"])
    assert len(data) < 1 << 20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ReadError) as refusal:
        pdf.read(data)
    assert refusal.value.code in {"empty", "too_heavy", "broken"}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


def test_nothing_of_a_document_is_fetched_or_run() -> None:
    script = b"<< /S /JavaScript /JS (app.alert\\(1\\)) >>"
    catalog = b"<< /Pages 2 0 R /OpenAction %s /AA << /O %s >> >>" % (script, script)
    away = b"<< /F (http://127.0.0.1:1/x) /FS /URL /Length 0 >>"
    page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 99 99] /Contents %s >>" % away
    data = pdf_file([catalog, b"<< /Count 1 /Kids [3 0 R] >>", page, b"<< >>"])
    refused("empty", lambda: pdf.read(data))
