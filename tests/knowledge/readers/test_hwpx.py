"""HWPX from files that the tests make."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from io import BytesIO

import pytest
from benchmarks.harness.documents import (
    hwpx_aside,
    hwpx_cell,
    hwpx_paragraph,
    hwpx_parts,
    hwpx_section,
    hwpx_table,
    zipped,
)

from moduai.knowledge.readers import hwpx
from moduai.knowledge.readers.limits import LIMITS
from moduai.knowledge.types import Parsed
from tests.knowledge.readers.checks import held, refused


def read(*sections: str, title: str = "", outline: int = 0) -> Parsed:
    return held(hwpx.read(zipped(hwpx_parts(*sections, title=title, outline=outline))))


def inside(xml: str, text: str = "") -> Parsed:
    return read(hwpx_paragraph(text, inside=xml))


def test_paragraphs_are_lines_with_exact_places() -> None:
    parsed = read(hwpx_paragraph("복지 급여 안내") + hwpx_paragraph("𠀀과 😀 & <글>  두 칸"))
    assert parsed.text == "복지 급여 안내\n\n𠀀과 😀 & <글> 두 칸"
    assert parsed.facts.language == "ko"
    assert [parsed.text[each.start : each.end] for each in parsed.passages] == [parsed.text]


def test_paragraphs_of_an_outline_are_headings() -> None:
    long = hwpx_paragraph("가나다라 마바사. " * 60)
    apply, pay = hwpx_paragraph("신청", 2), hwpx_paragraph("지급", 2)
    parsed = read(hwpx_paragraph("제1부", 1) + apply + long + pay + long, outline=2)
    assert [(each.path, each.label) for each in parsed.passages] == [
        (("제1부",), "신청"),
        (("제1부",), "지급"),
    ]


def test_a_long_paragraph_in_a_heading_s_shape_is_none() -> None:
    parsed = read(hwpx_paragraph("나" * 700, 1) + hwpx_paragraph("다" * 700), outline=1)
    assert {each.label for each in parsed.passages} == {""}


def test_tables_are_rows() -> None:
    parsed = read(
        hwpx_paragraph("지원액", inside=hwpx_table([["가구", "월액"], ["1인", "713,102원\n(2024년)"]]))
    )
    assert parsed.text == "지원액\n\n가구 | 월액\n1인 | 713,102원 (2024년)"


def test_cells_that_reach_over_others_keep_the_columns() -> None:
    first = hwpx_cell("구분", 0, 0, rows=2) + hwpx_cell("금액", 0, 1, columns=2)
    second = hwpx_cell("작년", 1, 1) + hwpx_cell("올해", 1, 2)
    parsed = inside(f"<hp:tbl><hp:tr>{first}</hp:tr><hp:tr>{second}</hp:tr></hp:tbl>")
    assert parsed.text == "구분 | 금액\n | 작년 | 올해".strip()


def test_a_table_of_one_cell_is_a_frame_around_paragraphs() -> None:
    assert inside(hwpx_table([["첫째 줄\n둘째 줄"]])).text == "첫째 줄\n\n둘째 줄"


def test_a_table_within_a_cell_is_in_its_row() -> None:
    inner = hwpx_paragraph("", inside=hwpx_table([["a", "b"], ["c", "d"]]))
    row = f"<hp:tr>{hwpx_cell('밖', 0, 0)}<hp:tc><hp:subList>{inner}</hp:subList></hp:tc></hp:tr>"
    assert inside(f"<hp:tbl>{row}</hp:tbl>").text == "밖 | a | b c | d"


def test_notes_follow_their_paragraph_and_edges_come_last_once() -> None:
    header = hwpx_aside("header", "보건복지부")
    parsed = read(
        hwpx_paragraph("본문이다", inside=header + hwpx_aside("footNote", "법 제2조를 보라")),
        hwpx_paragraph("다음 절", inside=header),
    )
    assert parsed.text == "본문이다\n\n법 제2조를 보라\n\n다음 절\n\n보건복지부"


def test_numbers_and_marks_are_text() -> None:
    number = '<hp:ctrl><hp:autoNum num="3"><hp:autoNumFormat suffixChar=")"/></hp:autoNum></hp:ctrl>'
    assert (
        inside("<hp:t>표 </hp:t>" + number + "<hp:t>가<hp:tab/>나<hp:lineBreak/>다</hp:t>").text
        == "표 3)가 나\n다"
    )


@pytest.mark.parametrize(
    "hidden",
    [
        hwpx_aside("hiddenComment", "숨은 말"),
        "<hp:ctrl><hp:fieldBegin><hp:stringParam>http://x</hp:stringParam></hp:fieldBegin></hp:ctrl>",
        "<hp:t><hp:deleteBegin/>지운 말<hp:deleteEnd/></hp:t>",
        "<hp:shapeComment>사각형입니다</hp:shapeComment>",
    ],
)
def test_what_one_does_not_read_is_no_text(hidden: str) -> None:
    assert inside(hidden, "보이는 말").text == "보이는 말"


def test_sections_stand_in_the_manifest_s_order() -> None:
    parts = hwpx_parts(hwpx_paragraph("가"), hwpx_paragraph("나"))
    package = str(parts["Contents/content.hpf"])
    first, second = '<opf:itemref idref="section0"/>', '<opf:itemref idref="section1"/>'
    parts["Contents/content.hpf"] = package.replace(first + second, second + first)
    assert hwpx.read(zipped(parts)).text == "나\n\n가"


def test_without_a_manifest_sections_stand_by_their_numbers() -> None:
    parts = {f"Contents/section{at}.xml": hwpx_section(hwpx_paragraph(str(at))) for at in (10, 9, 0)}
    assert hwpx.read(zipped(parts)).text == "0\n\n9\n\n10"


def test_a_title_is_believed_where_the_text_begins_with_it() -> None:
    text = hwpx_paragraph("2024년 복지 사업 안내") + hwpx_paragraph("내용")
    assert read(text, title="2024년 복지사업 안내").facts.title == "2024년 복지사업 안내"
    assert read(text, title="남의 문서").facts.title == "2024년 복지 사업 안내"


def test_pictures_are_noted() -> None:
    assert inside("<hp:pic/>", "글").notes == ("Pictures and objects were not read: 1.",)


# Hostile


def broken(change: dict[str, bytes | str], code: str) -> str:
    parts = hwpx_parts(hwpx_paragraph("글"))
    return refused(code, lambda: hwpx.read(zipped({**parts, **change})))


def test_entities_are_refused_before_they_grow() -> None:
    laughs = "".join(f'<!ENTITY a{at} "{f"&a{at - 1};" * 10}">' for at in range(1, 12))
    bomb = f'<!DOCTYPE x [<!ENTITY a0 "ha">{laughs}]><x>&a11;</x>'
    assert "document type" in broken({"Contents/section0.xml": bomb}, "doctype")


def test_external_entities_are_refused() -> None:
    broken(
        {"Contents/header.xml": '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>'}, "doctype"
    )
    broken({"Contents/content.hpf": '<!DOCTYPE x SYSTEM "http://127.0.0.1/x.dtd"><x/>'}, "doctype")
    broken({"Contents/section0.xml": "<x>&undeclared;</x>"}, "broken")


def test_deep_elements_are_refused() -> None:
    broken({"Contents/section0.xml": "<a>" * 101 + "</a>" * 101}, "too_deep")
    broken({"Contents/section0.xml": "<a>" * 1_000_000}, "too_deep")


def test_many_elements_are_refused() -> None:
    data = zipped(hwpx_parts(hwpx_paragraph("글") + "<a/>" * 1_000))
    refused("too_large", lambda: hwpx.read(data, replace(LIMITS, records=1_000)))


def test_an_archive_bomb_is_refused_by_what_comes_out() -> None:
    limits = replace(LIMITS, unpacked=1 << 20)
    parts = hwpx_parts(hwpx_paragraph("글") + " " * (2 << 20))
    assert len(zipped(parts)) < 10_000
    refused("too_large", lambda: hwpx.read(zipped(parts), limits))


def test_sizes_that_an_archive_claims_are_not_believed() -> None:
    data = bytearray(zipped(hwpx_parts(hwpx_paragraph("글") + " " * (2 << 20))))
    with zipfile.ZipFile(BytesIO(bytes(data))) as archive:
        listed = {info.filename: info for info in archive.infolist()}
    size = listed["Contents/section0.xml"].file_size.to_bytes(4, "little")
    lied = bytes(data).replace(size, (100).to_bytes(4, "little"))
    refused("broken", lambda: hwpx.read(lied, replace(LIMITS, unpacked=1 << 20)))


def test_many_parts_are_refused_before_they_are_listed() -> None:
    data = zipped({**hwpx_parts(hwpx_paragraph("글")), **{str(at): "" for at in range(20)}})
    refused("too_large", lambda: hwpx.read(data, replace(LIMITS, parts=20)))


def test_large_files_texts_and_tables_are_refused() -> None:
    table = hwpx_paragraph("", inside=hwpx_table([["a", "b"]] * 30))
    data = zipped(hwpx_parts(table))
    refused("too_large", lambda: hwpx.read(data, replace(LIMITS, cells=59)))
    refused("too_large", lambda: hwpx.read(data, replace(LIMITS, characters=59)))
    refused("too_large", lambda: hwpx.read(data, replace(LIMITS, bytes=len(data) - 1)))
    assert hwpx.read(data, replace(LIMITS, cells=60, bytes=len(data))).text == "\n".join(["a | b"] * 30)


def test_far_addresses_of_cells_take_no_room() -> None:
    row = (
        f"<hp:tr>{hwpx_cell('a', 0, 0)}{hwpx_cell('b', 999_999, 999_999)}{hwpx_cell('c', 0, 999_999)}</hp:tr>"
    )
    assert inside(f"<hp:tbl>{row}</hp:tbl>").text == "a |  | c\n | b"


def test_protected_damaged_and_foreign_files_are_refused() -> None:
    manifest = "<manifest><file-entry><encryption-data/></file-entry></manifest>"
    assert "password" in broken({"META-INF/manifest.xml": manifest}, "encrypted")
    broken({"Contents/section0.xml": "<a><b></a>"}, "broken")
    broken({"Contents/section0.xml": b'<?xml version="1.0" encoding="euc-kr"?><a/>'}, "broken")
    refused("broken", lambda: hwpx.read(b"PK\x03\x04 no archive"))
    refused("broken", lambda: hwpx.read(zipped({"inner.zip": zipped({"a": "b"})})))
    refused("empty", lambda: hwpx.read(zipped(hwpx_parts(hwpx_paragraph(" ")))))


def test_an_encrypted_part_is_refused() -> None:
    data = bytearray(zipped(hwpx_parts(hwpx_paragraph("글"))))
    at = data.index(b"PK\x01\x02")
    while at >= 0:
        data[at + 8] |= 1
        at = data.find(b"PK\x01\x02", at + 1)
    refused("encrypted", lambda: hwpx.read(bytes(data)))


def test_a_file_that_ends_early_is_refused() -> None:
    data = zipped(hwpx_parts(hwpx_paragraph("글 " * 500)))
    for end in range(0, len(data), 97):
        refused("broken", lambda end=end: hwpx.read(data[:end]))
