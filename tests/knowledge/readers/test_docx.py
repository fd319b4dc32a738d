"""DOCX from files that the tests make."""

from __future__ import annotations

from dataclasses import replace

import pytest
from benchmarks.harness.documents import docx_paragraph, docx_parts, docx_table, zipped

from moduai.knowledge.readers import docx
from moduai.knowledge.readers.limits import LIMITS
from moduai.knowledge.types import Parsed
from tests.knowledge.readers.checks import held, refused

LONG = "가나다라 마바사. " * 60


def read(body: str, *footnotes: str, header: str = "", title: str = "") -> Parsed:
    return held(docx.read(zipped(docx_parts(body, footnotes, header, title))))


def test_paragraphs_and_breaks() -> None:
    body = docx_paragraph("𠀀과 & <글>", inside="<w:r><w:tab/><w:t>뒤</w:t><w:br/><w:t>다음 줄</w:t></w:r>")
    assert read(body).text == "𠀀과 & <글> 뒤\n다음 줄"


def test_styles_with_an_outline_level_are_headings_also_by_inheritance() -> None:
    parsed = read(
        docx_paragraph("총칙", "Heading1") + docx_paragraph("목적", "Heading2") + docx_paragraph(LONG)
        + docx_paragraph("정의", "Sub") + docx_paragraph(LONG)
    )  # fmt: skip
    assert [(each.path, each.label) for each in parsed.passages] == [(("총칙",), "목적"), (("총칙",), "정의")]


def test_a_paragraph_s_own_level_comes_before_its_style_s() -> None:
    own = (
        f"<w:p><w:pPr><w:outlineLvl w:val='0'/></w:pPr><w:r><w:t>머리</w:t></w:r></w:p>{docx_paragraph(LONG)}"
    )
    none = own.replace("'0'", "'9'")
    assert [each.label for each in read(own).passages] == ["머리"]
    assert [each.label for each in read(none).passages] == [""]


def test_styles_that_are_based_on_each_other_end() -> None:
    parts = docx_parts(docx_paragraph("글", "a"))
    circle = '<w:style w:styleId="{}"><w:basedOn w:val="{}"/></w:style>'
    parts["word/styles.xml"] = f'<s xmlns:w="w">{circle.format("a", "b")}{circle.format("b", "a")}</s>'
    assert docx.read(zipped(parts)).text == "글"


def test_tables_are_rows() -> None:
    assert read(docx_table([["가구", "월액"], ["1인", "71만원"]])).text == "가구 | 월액\n1인 | 71만원"


def test_wide_and_nested_cells() -> None:
    wide = f'<w:tr><w:tc><w:tcPr><w:gridSpan w:val="2"/></w:tcPr>{docx_paragraph("넓다")}</w:tc></w:tr>'
    nested = docx_table([["a", "b"]])
    row = f"<w:tr><w:tc>{docx_paragraph('c')}</w:tc><w:tc>{nested}</w:tc></w:tr>"
    assert read(f"<w:tbl>{wide}{row}</w:tbl>").text == "넓다\nc | a | b"


def test_footnotes_follow_the_first_paragraph_that_names_them() -> None:
    reference = '<w:r><w:footnoteReference w:id="1"/></w:r>'
    body = docx_paragraph("본문", inside=reference) + docx_paragraph("다시", inside=reference)
    assert read(body, "각주다", header="부처 이름").text == "본문\n\n각주다\n\n다시\n\n부처 이름"


@pytest.mark.parametrize(
    "hidden",
    [
        "<w:del><w:r><w:delText>지운 말</w:delText><w:t>지운 말</w:t></w:r></w:del>",
        "<w:r><w:instrText>HYPERLINK http://x</w:instrText></w:r>",
        "<mc:Fallback xmlns:mc='mc'><w:r><w:t>또</w:t></w:r></mc:Fallback>",
        "<w:moveFrom><w:r><w:t>옮긴 말</w:t></w:r></w:moveFrom>",
        "<w:pPr><w:tabs><w:tab w:val='left'/></w:tabs></w:pPr>",
    ],
)
def test_what_one_does_not_read_is_no_text(hidden: str) -> None:
    assert read(docx_paragraph("보이는 말", inside=hidden)).text == "보이는 말"


def test_a_title_is_believed_where_the_text_begins_with_it() -> None:
    assert read(docx_paragraph("안내문"), title="안내문").facts.title == "안내문"
    assert read(docx_paragraph("안내문"), title="Word 문서1").facts.title == "안내문"


# Hostile


def broken(change: dict[str, bytes | str], code: str) -> str:
    parts = docx_parts(docx_paragraph("글"))
    return refused(code, lambda: docx.read(zipped({**parts, **change})))


@pytest.mark.parametrize(
    "part", ["_rels/.rels", "word/document.xml", "word/styles.xml", "word/footnotes.xml"]
)
def test_document_types_are_refused_in_every_part(part: str) -> None:
    broken({part: '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>'}, "doctype")


def test_relations_do_not_leave_the_package() -> None:
    relation = (
        '<Relationships><Relationship Type="x/officeDocument" Target="{}" TargetMode="{}"/></Relationships>'
    )
    away = relation.format("http://127.0.0.1/x", "External")
    up = relation.format("../../../../etc/passwd", "Internal")
    for text in (away, up):  # what is left is the place where the text is by custom
        parts = docx_parts(docx_paragraph("글"))
        assert docx.read(zipped({**parts, "_rels/.rels": text})).text == "글"


def test_a_note_that_is_named_often_is_written_once() -> None:
    reference = '<w:r><w:footnoteReference w:id="1"/></w:r>' * 10_000
    assert len(read(docx_paragraph("본문", inside=reference), "가" * 10_000).text) < 11_000


def test_bombs_are_refused() -> None:
    body = docx_paragraph("글")
    spaces = zipped(docx_parts(body + " " * (2 << 20)))
    refused("too_large", lambda: docx.read(spaces, replace(LIMITS, unpacked=1 << 20)))
    broken({"word/document.xml": "<a>" * 200}, "too_deep")
    table = zipped(docx_parts(docx_table([["a"] * 10] * 10)))
    refused("too_large", lambda: docx.read(table, replace(LIMITS, cells=99)))
    refused("too_large", lambda: docx.read(table, replace(LIMITS, characters=99)))


def test_other_archives_and_empty_documents_are_refused() -> None:
    refused("broken", lambda: docx.read(zipped({"a.txt": "글"})))
    refused("empty", lambda: docx.read(zipped(docx_parts(""))))


def test_a_file_that_ends_early_is_refused() -> None:
    data = zipped(docx_parts(docx_paragraph("글 " * 500)))
    for end in range(0, len(data), 97):
        refused("broken", lambda end=end: docx.read(data[:end]))
