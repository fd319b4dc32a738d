from __future__ import annotations

import contextlib
import io
import json
import os
import time
import unicodedata
import zipfile
from datetime import date
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moduai.knowledge.readers import LIMITS, Limits, read, read_all
from moduai.knowledge.types import Parsed, ReadError
from tests.knowledge.test_outline import holds

STATUTE = """---
제목: 우산 대여에 관한 법률
법령MST: 1
법령ID: '009999'
법령구분: 법률
소관부처:
- 행정안전부
- 환경부
공포일자: 2025-12-01
시행일자: 2026-03-01
상태: 시행
출처: https://www.law.go.kr/법령/우산대여에관한법률
첨부파일:
- 별표번호: '0001'
  제목: 우산의 종류
---

# 우산 대여에 관한 법률

# 제1편 총칙 <개정 2026.1.1>

## 제1장 목적

##### 제1조 (목적)

이 법은 우산을 빌려주는 일을 정한다. <개정 2026.1.1>

##### 제1조의2

삭제 <2025.1.1>

##### 제2조 (정의)

**①** 이 법에서 쓰는 말은 다음과 같다.

  1\\. "우산"이란 비를 막는 것을 말한다.
    가\\. 접는 것
  3의2\\. 삭제 <2024.1.1>

**②** 계산식은 다음과 같다.
\t\t\t\t<img src="http://www.law.go.kr/x" alt="x" >
\t\t\t\t┌───┬────┐
\t\t\t\t│구분  │금액 │
\t\t\t\t├───┼────┤
\t\t\t\t│장우산 │천원 │
\t\t\t\t└───┴────┘
\t\t\t\t</img>
 <img id="7"></img>

## 제2장 벌칙

##### 제3조 (과태료)

늦으면 천원을 낸다.

## 부칙

부칙 <제100호,2024.1.1>


이 법은 공포한 날부터 시행한다.

부칙(다른 법) <제200호,2025.12.1>


제1조(시행일) 이 법은 2026년 3월 1일부터 시행한다.


제2조(다른 법률의 개정) 생략
"""


def said(parsed: Parsed) -> list[tuple[tuple[str, ...], str, str]]:
    holds(parsed)
    return [(p.path, p.label, parsed.text[p.start : p.end]) for p in parsed.passages]


def test_a_statute_is_read_by_its_articles() -> None:
    parsed = read("법률.md", STATUTE.encode())
    one, chapter = "제1편 총칙", ("제1편 총칙", "제1장 목적")
    assert said(parsed) == [
        (chapter, "제1조(목적)", "제1조 (목적)\n이 법은 우산을 빌려주는 일을 정한다. <개정 2026.1.1>"),
        (chapter, "제1조의2", "제1조의2\n삭제 <2025.1.1>"),
        (
            chapter,
            "제2조(정의)",
            (
                "제2조 (정의)\n① 이 법에서 쓰는 말은 다음과 같다.\n"
                '  1. "우산"이란 비를 막는 것을 말한다.\n    가. 접는 것\n  3의2. 삭제 <2024.1.1>\n'
                "② 계산식은 다음과 같다.\n구분 | 금액\n장우산 | 천원\n[그림]"
            ),
        ),
        ((one, "제2장 벌칙"), "제3조(과태료)", "제3조 (과태료)\n늦으면 천원을 낸다."),
        (("부칙",), "부칙 <제100호,2024.1.1>", "부칙 <제100호,2024.1.1>\n이 법은 공포한 날부터 시행한다."),
        (
            ("부칙",),
            "부칙(다른 법) <제200호,2025.12.1>",
            (
                "부칙(다른 법) <제200호,2025.12.1>\n제1조(시행일) 이 법은 2026년 3월 1일부터 시행한다.\n"
                "제2조(다른 법률의 개정) 생략"
            ),
        ),
    ]
    facts = parsed.facts
    assert (facts.kind, facts.title, facts.number, facts.level) == (
        "statute",
        "우산 대여에 관한 법률",
        "009999",
        "법률",
    )
    assert (facts.ministry, facts.in_force_from, facts.language) == (
        "행정안전부, 환경부",
        date(2026, 3, 1),
        "ko",
    )
    assert facts.address == "https://www.law.go.kr/법령/우산대여에관한법률"
    assert [note.split()[0] for note in parsed.notes] == ["1", "2"]


DECISION = """---
사건번호: 2000므1257(본소), 1264(반소)
사건명: 손해배상(사실혼파기)
법원명: 대법원
출처: https://www.law.go.kr/LSW/precInfoP.do?precSeq=1
선고일자: 2003-11-14
---

# 손해배상(사실혼파기)

## 판시사항

사실혼의 요건

## 참조조문

[1] 민법 제750조, 제751조 [2] 민사소송법 제202조 제1항

## 판례내용

【원고, 상고인】 가
【피고】 나
【주 문】
  상고를 기각한다.

【이 유】 1. 본다.
"""
PLAIN = """서울고등법원 2019. 5. 2. 선고 2018누12345 판결
【사건】 2018누12345 과징금부과처분취소
【원고】 가
【주문】
1. 항소를 기각한다.
【이유】
공정거래법 제50조와 같은 법 제3조에 따른다.
"""


def test_decisions_are_read_from_markdown_and_text() -> None:
    parsed = read("a.md", DECISION.encode())
    assert (
        parsed.facts.title == "대법원 2003. 11. 14. 선고 2000므1257(본소), 1264(반소) (손해배상(사실혼파기))"
    )
    assert parsed.facts.cites == ("민법 제750조", "민법 제751조", "민사소송법 제202조")
    assert (parsed.facts.ministry, parsed.facts.in_force_from) == ("대법원", date(2003, 11, 14))
    longer = read("a.md", DECISION.replace("1. 본다.", "1. 본다. " * 100).encode())
    assert [label for _, label, _ in said(longer)] == ["판시사항", "참조조문", "당사자", "주문", "이유"]
    assert "【피고】 나" in said(longer)[2][2]

    plain = read("b.txt", PLAIN.encode("cp949"))
    assert (plain.facts.kind, plain.facts.number, plain.facts.ministry) == (
        "decision",
        "2018누12345",
        "서울고등법원",
    )
    assert plain.facts.in_force_from == date(2019, 5, 2)
    assert plain.facts.cites == ("공정거래법 제50조",)


@pytest.mark.parametrize(
    ("head", "title"),
    [
        (
            "서울중앙지법 2020. 1. 3. 선고 2018고합1, 2019고합2(병합)",
            "서울중앙지법 2020. 1. 3. 선고 2018고합1, 2019고합2",
        ),
        ("대법원 2019.10.31.자 2019마1 결정", "대법원 2019. 10. 31.자 2019마1"),
        ("헌재 2004. 10. 21. 2004헌마554·566(병합)", "헌재 2004. 10. 21. 선고 2004헌마554·566"),
        ("서울고등법원 2020. 5. 1. 선고 (춘천)2019누1 판결", "서울고등법원 2020. 5. 1. 선고 2019누1"),
        ("수원지법 성남지원 2020. 5. 1. 선고 2019가단9 판결", "수원지법 성남지원 2020. 5. 1. 선고 2019가단9"),
        ("대법원 2003. 13. 44. 선고 2000므1257 판결", "대법원 2000므1257"),
    ],
)
def test_how_courts_cite_decisions(head: str, title: str) -> None:
    facts = read("a.txt", f"{head}\n\n【주문】\n기각한다.\n".encode()).facts
    assert (facts.kind, facts.title) == ("decision", title)


def test_what_a_document_says_of_itself_is_short_and_on_a_line() -> None:
    page = '---\ntitle: "a\\nb\u202e"\nlicence: |\n  x\n  y\nministry: ' + "가" * 5_000 + "\n---\n글"
    facts = read("a.md", page.encode()).facts
    assert (facts.title, facts.licence, len(facts.ministry)) == ("a b", "x y", 300)
    assert read(unicodedata.normalize("NFD", "한글.txt"), b"a\nb").facts.title == "한글"
    for said, code in (("한국어", "ko"), ("English", "en"), ("x", "ko")):
        assert read("a.md", f"---\ntitle: 가\nlanguage: {said}\n---\n글".encode()).facts.language == code
    rows = read_all("a.jsonl", b'{"id": "a\\u0000\\nb", "title": "c\\u0000d", "text": "e"}')
    assert [(key, each.facts.title) for key, each in rows] == [("a b", "cd")]


def test_a_page_of_markdown_loses_its_marks_and_keeps_its_words() -> None:
    page = (
        "---\ntitle: 'It''s a page'\nlanguage: en\nlicence: Apache-2.0\nsource: javascript:alert(1)\n---\n"
        "# It's a page\n\nSee [the **rules**](http://x.y) and `a_b` \\*now\\* &amp; snake_case.\n"
        "<!-- no -->\n\n"
        "Sub\n---\n\n| a | b \\| c |\n|---|:-:|\n| 1 | `2` |\n\n```\n# code\n```\n> said\n\n* one\n  - two\n"
    )
    parsed = read("x.md", page.encode())
    assert parsed.facts.address == ""
    assert (parsed.facts.title, parsed.facts.licence, parsed.facts.language) == (
        "It's a page",
        "Apache-2.0",
        "en",
    )
    assert parsed.text == (
        "It's a page\n\nSee the rules and a_b *now* & snake_case.\n\nSub\n\na | b | c\n1 | 2\n\n"
        "# code\nsaid\n\n* one\n  - two"
    )
    holds(parsed)


def test_a_page_of_html_is_its_main_part() -> None:
    page = (
        "<!-- x --><!doctype html><html lang=ko><head><title>시청</title><link rel=canonical "
        'href="https://x.kr/a">'
        "<style>p{}</style></head><body><nav>홈</nav><main>"
        "<h1>전입신고</h1><p>이사한 <b>날부터</b><br>14일</p>"
        "<h2>준비</h2>"
        "<ul><li>신분증<li>도장</ul><table><tr><th>구분<th>금액<tr><td>방문 "
        "<table><tr><td>안</table><td>무료</table>"
        "<SCRIPT>alert('<p>')</SCRIPT ><div hidden>숨음</div><div style='display: none'>또</div>"
        "<pre>a  b\nc</pre>"
        "<p>끝</main><footer>주소</footer>"
    )
    parsed = read("x", page.encode("cp949"))
    assert (parsed.facts.title, parsed.facts.language, parsed.facts.address) == (
        "전입신고",
        "ko",
        "https://x.kr/a",
    )
    assert parsed.text == (
        "전입신고\n\n이사한 날부터\n14일\n\n준비\n\n- 신분증\n- 도장\n\n"
        "구분 | 금액\n방문 안 | 무료\n\na  b\nc\n\n끝"
    )
    holds(parsed)


def test_rows_are_documents_with_their_ids_as_keys() -> None:
    lines = [
        {"id": "가", "text": "우산\n빌려준다."},
        {"서비스ID": "나", "서비스명": "장화", "지원대상": "모두", "지원내용": "장화를 " * 100,
         "소관기관명": "시청", "상세조회URL": "https://x.kr"},
    ]  # fmt: skip
    documents = dict(read_all("x.jsonl", "\n".join(json.dumps(line) for line in lines).encode()))
    assert [(key, parsed.facts.title, parsed.facts.kind) for key, parsed in documents.items()] == [
        ("가", "가", "programme"),
        ("나", "장화", "programme"),
    ]
    assert documents["나"].text.startswith("장화\n\n지원대상: 모두\n\n지원내용\n\n장화를 ")
    assert (documents["나"].facts.ministry, documents["나"].facts.address) == ("시청", "https://x.kr")
    assert [key for key, _ in read_all("x.json", json.dumps(lines).encode())] == ["가", "나"]
    with pytest.raises(ReadError, match="2 documents"):
        read("x.jsonl", "\n".join(json.dumps(line) for line in lines).encode())


def test_rows_of_csv_name_their_columns() -> None:
    parsed = read("시설.csv", '시설명,주소,전화\n행복,"서울, 종로",02\n,,\n'.encode("cp949"))
    assert (parsed.text, parsed.facts.kind, parsed.facts.title) == (
        "시설명: 행복 | 주소: 서울, 종로 | 전화: 02",
        "data",
        "시설",
    )


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("a.txt", b" \n", "empty"),
        ("a.txt", b"\x89PNG\r\n\x1a\n\0\0\0\r", "unknown_format"),
        ("a.txt", b"x" * 11, "too_large"),
        ("a.md", b"---\ntitle: x\n---\n", "empty"),
        ("a.html", b"<html><script>1</script>", "empty"),
        ("a.html", b"<html>" + b"<div>" * 600, "too_deep"),
        ("a.jsonl", b'{"a": 1}\n{', "broken"),
        ("a.jsonl", b'{"id": 1, "text": "x"}\n{"id": 1, "text": "x"}', "broken"),
        ("a.jsonl", b'{"a": ' + b"[" * 100_000, "broken"),
        ("a.csv", b'a\n"' + b"x" * 200_000, "broken"),
        ("a.docx", b"PK\x03\x04 no archive", "broken"),
        ("b.docx", b"PK\x03\x04" + b"PK\x01\x02" * 10_001, "too_large"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_reason(name: str, data: bytes, code: str) -> None:
    limits = Limits(bytes=10) if name == "a.txt" and code == "too_large" else LIMITS
    with pytest.raises(ReadError) as refused:
        read(name, data, limits)
    assert refused.value.code == code
    assert str(refused.value).endswith(".")


def test_an_archive_of_something_else_is_refused() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("evil.exe", "x")
    with pytest.raises(ReadError) as refused:
        read("a.docx", file.getvalue())
    assert refused.value.code == "unknown_format"


HOSTILE = {
    "brackets.md": "[" * 400_000,
    "links.md": "[a](b" * 80_000,
    "stars.md": "*a **b " * 60_000,
    "ticks.md": "`a``b" * 80_000,
    "tags.md": "<a " * 130_000,
    "quotes.md": ">" * 400_000,
    "spaces.md": "# a" + " " * 400_000 + "b\n" + "|" + " " * 400_000 + "\n" + "- " * 100_000,
    "bars.md": "x\n|-\n" + "|" * 300_000,
    "front.md": "---\n" + "a: [" * 100_000 + "\n---\nx",
    "keys.md": "---\n" + "a" * 400_000 + "\n---\nx",
    "comments.html": "<!---->" * 60_000 + "<html>x",
    "tags.html": "<html>" + "<p>x</p><b></b>" * 30_000,
    "scripts.html": "<html>" + "<script" * 60_000,
    "tables.html": "<html><table>" + "<tr><td>x" * 40_000,
    "one.txt": "가" * 400_000,
    "lines.txt": "1. 가\n" * 80_000,
    "articles.txt": "제1조(가) ① 나\n" * 20_000,
    "blank.txt": " \n" * 200_000 + "x",
    "law.md": STATUTE + "**①** " * 100_000 + "\n" + "#" * 100_000,
    "law2.md": STATUTE.partition("## 부칙")[0] + "① 가\n  1\\. 나\n" * 30_000,
    "pictures.md": STATUTE + "<img " * 100_000,
    "case.txt": PLAIN + "민법 제1조, " * 20_000 + "가 " * 100_000 + "【" * 100_000,
    "rows.jsonl": '{"text": "x"}\n' * 10_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_takes_time_in_proportion(name: str) -> None:
    started = time.process_time()
    with contextlib.suppress(ReadError):
        for _, parsed in read_all(name, HOSTILE[name].encode()):
            holds(parsed)
    assert time.process_time() - started < 5


PIECES = st.sampled_from([
    "---\n", "제목: x\n", "사건번호: 1\n", "##### 제1조 (가)\n", "# x\n", "## 부칙\n", "부칙 <1>\n",
    "**①** 가\n", "  1\\. 나\n", "<img >", "┌│┐\n", "```\n", "| a | b |\n", "|--|--|\n", "<html>", "<td>",
    "</table>", "<h1>", "<li>", "<!--", '{"id": 1}', "\n", "【주 문】", "【원고】 가\n", "\r", "\u2028",
    "\ud7ff", "a" * 700, "말 " * 400, "\ufeff", "[", "](", "`", "&#x110000;", "&#0;", "=", "-",
])  # fmt: skip
CODES = {"empty", "unknown_format", "broken", "too_large", "too_deep"}
NAMES = st.sampled_from(["a.md", "a.txt", "a.html", "a.csv", "a.jsonl", "a", "한글.md"])


@given(NAMES, st.lists(PIECES | st.text(max_size=20), max_size=30).map("".join))
def test_any_text_is_read_or_refused(name: str, text: str) -> None:
    data = text.encode("utf-8", "replace")
    try:
        documents = read_all(name, data)
    except ReadError as error:
        assert error.code in CODES, error  # noqa: PT017
        return
    for _, parsed in documents:
        holds(parsed)
        assert parsed.facts.title
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(parsed), type=Parsed) == parsed
    assert read_all(name, data) == documents


@given(NAMES, st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(name: str, data: bytes) -> None:
    try:
        documents = read_all(name, data)
    except ReadError:
        return
    for _, parsed in documents:
        holds(parsed)


ROOT = Path(os.environ.get("MODU_BENCH_DATA") or Path(__file__).parents[3] / "shared" / "data")


def test_real_programmes_are_read_whole() -> None:
    file = ROOT / "retrieval" / "welfare_docs.jsonl"
    if not file.exists():
        pytest.skip(f"{file} is not here")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    documents = dict(read_all(file.name, file.read_bytes()))
    assert list(documents) == [line["id"] for line in lines]
    for line in lines:
        parsed = documents[line["id"]]
        holds(parsed)
        found = "".join(parsed.text[p.start : p.end] for p in parsed.passages)
        assert sorted("".join(found.split())) == sorted("".join(line["text"].split()))
