"""HWP 5 from files that the tests make."""

from __future__ import annotations

import random
import struct
from dataclasses import replace

import pytest
from benchmarks.harness.documents import (
    FREE,
    Control,
    compound,
    deflated,
    hwp5_aside,
    hwp5_paragraph,
    hwp5_streams,
    hwp5_table,
    record,
)

from moduai.knowledge.readers import hwp5
from moduai.knowledge.readers.compound import Compound
from moduai.knowledge.readers.limits import LIMITS
from moduai.knowledge.types import Parsed
from tests.knowledge.readers.checks import held, refused

LONG = "가나다라 마바사. " * 60


def read(*sections: bytes, outline: int = 0, title: str = "", flags: int = 1) -> Parsed:
    return held(hwp5.read(compound(hwp5_streams(*sections, outline=outline, title=title, flags=flags))))


def one(*items: str | Control) -> Parsed:
    return read(hwp5_paragraph(0, *items))


@pytest.mark.parametrize("flags", [0, 1])
def test_paragraphs_are_lines_packed_or_not(flags: int) -> None:
    parsed = read(hwp5_paragraph(0, "복지 급여 안내") + hwp5_paragraph(0, "𠀀과 😀  두 칸"), flags=flags)
    assert parsed.text == "복지 급여 안내\n\n𠀀과 😀 두 칸"
    assert parsed.facts.language == "ko"


def test_large_sections_stand_in_sectors_and_small_ones_in_the_mini_stream() -> None:
    words = [str(number) for number in random.Random(5).choices(range(10**9), k=5_000)]
    parsed = read(hwp5_paragraph(0, " ".join(words)), hwp5_paragraph(0, "작은 절"))
    assert parsed.text == " ".join(words) + "\n\n작은 절"


def test_sections_stand_by_their_numbers() -> None:
    assert read(*(hwp5_paragraph(0, str(at)) for at in range(12))).text == "\n\n".join(map(str, range(12)))


def test_paragraphs_of_an_outline_are_headings() -> None:
    parsed = read(
        hwp5_paragraph(0, "제1부", shape=1) + hwp5_paragraph(0, "신청", shape=2) + hwp5_paragraph(0, LONG)
        + hwp5_paragraph(0, "지급", shape=2) + hwp5_paragraph(0, LONG),
        outline=2,
    )  # fmt: skip
    assert [(each.path, each.label) for each in parsed.passages] == [
        (("제1부",), "신청"),
        (("제1부",), "지급"),
    ]


def test_articles_of_a_rule_are_passages() -> None:
    text = [f"제{number}조({name}) {LONG[:90]}" for number, name in ((1, "목적"), (2, "정의"), (3, "신청"))]
    parsed = read(b"".join(hwp5_paragraph(0, line) for line in text))
    assert [each.label for each in parsed.passages] == ["제1조(목적)", "제2조(정의)", "제3조(신청)"]


def test_tables_are_rows() -> None:
    table = hwp5_table(0, [["가구", "월액"], ["1인", "713,102원\n(2024년)"]])
    assert one("지원액", table).text == "지원액\n\n가구 | 월액\n1인 | 713,102원 (2024년)"


def test_a_table_within_a_cell_is_in_its_row() -> None:
    inner = hwp5_paragraph(2, hwp5_table(2, [["a", "b"]]))
    outer = hwp5_table(0, [["밖", ""]])
    assert one(outer._replace(records=outer.records + inner)).text == "밖 | a | b"


def test_a_caption_is_no_cell() -> None:
    table = hwp5_table(0, [["a", "b"]])
    caption = record(72, 2, struct.pack("<HHI", 1, 0, 0)) + hwp5_paragraph(2, "표 제목")
    assert one(table._replace(records=caption + table.records)).text == "표 제목\n\na | b"


def test_notes_follow_their_paragraph_and_edges_come_last_once() -> None:
    header = hwp5_aside(0, "head", "보건복지부", 16)
    first = hwp5_paragraph(0, header, "본문이다", hwp5_aside(0, "fn  ", "법 제2조를 보라"))
    second = hwp5_paragraph(0, hwp5_aside(0, "head", "보건복지부", 16), "다음 절")
    assert read(first, second).text == "본문이다\n\n법 제2조를 보라\n\n다음 절\n\n보건복지부"


def test_numbers_stand_where_the_text_has_them() -> None:
    number = Control(18, "atno", struct.pack("<IHHHH", 0, 3, 0, ord("<"), ord(">")))
    assert one("표 ", number, " 제목").text == "표 <3> 제목"


def test_small_words_stand_beside_what_they_explain() -> None:
    words = b"".join(struct.pack("<H", len(word)) + word.encode("utf-16-le") for word in ("漢字", "한자"))
    assert one("앞 ", Control(23, "tdut", words), " 뒤").text == "앞 漢字(한자) 뒤"


def test_comments_are_no_text() -> None:
    assert one("보이는 말", hwp5_aside(0, "tcmt", "숨은 말", 15)).text == "보이는 말"


def test_controls_of_every_code_keep_the_text_around_them() -> None:
    for code in range(32):
        units = {0, 10, 13, *range(24, 32)}
        control = chr(code) if code in units else chr(code) + "\u4141" * 6 + chr(code)
        text = one(f"앞{control}뒤").text
        assert text.replace(" ", "").replace("\n", "").replace("-", "") == "앞뒤", code


def test_halves_of_characters_do_not_pass() -> None:
    assert one("앞\ud800뒤").text == "앞\ufffd뒤"


def test_a_title_is_believed_where_the_text_begins_with_it() -> None:
    assert read(hwp5_paragraph(0, "복지 사업 안내"), title="복지사업 안내").facts.title == "복지사업 안내"
    assert read(hwp5_paragraph(0, "복지 사업 안내"), title="문서 1").facts.title == "복지 사업 안내"


# Protected, damaged, hostile


@pytest.mark.parametrize(
    ("bit", "code"),
    [(1, "encrypted"), (2, "distribution"), (4, "encrypted"), (8, "encrypted"), (10, "encrypted")],
)
def test_protected_documents_are_refused(bit: int, code: str) -> None:
    data = compound(hwp5_streams(hwp5_paragraph(0, "글"), flags=1 | 1 << bit))
    refused(code, lambda: hwp5.read(data))


def test_files_of_other_programs_are_refused() -> None:
    refused("unknown_format", lambda: hwp5.read(compound({"WordDocument": b"x" * 100})))
    refused("unknown_format", lambda: hwp5.read(compound({"FileHeader": b"HWP Document File"})))
    refused("broken", lambda: hwp5.read(b"HWP Document File V3.00"))
    streams = hwp5_streams(hwp5_paragraph(0, "글"))
    for missing in ("DocInfo", "BodyText/Section0"):
        data = compound({path: data for path, data in streams.items() if path != missing})
        refused("broken", lambda data=data: hwp5.read(data))


def test_a_section_that_unpacks_to_too_much_is_refused() -> None:
    streams = hwp5_streams(b"")
    streams["BodyText/Section0"] = deflated(bytes(64 << 20))
    refused("too_large", lambda: hwp5.read(compound(streams), replace(LIMITS, unpacked=1 << 20)))


def test_records_with_wrong_sizes_are_refused() -> None:
    good = hwp5_paragraph(0, "글")
    for tail in (b"\xff\xff\xff\xff", b"\xff\xff\xff\xff\xff\xff\xff\xff", struct.pack("<I", 67 | 50 << 20)):
        refused("broken", lambda tail=tail: read(good + tail))


def test_deep_records_are_refused() -> None:
    nested = b"".join(hwp5_paragraph(level, "글") for level in range(0, 1_000, 2))
    refused("too_deep", lambda: read(nested))


def test_many_records_are_refused() -> None:
    data = compound(hwp5_streams(record(72, 1, bytes(8)) * 1_000))
    refused("too_large", lambda: hwp5.read(data, replace(LIMITS, records=1_000)))  # DocInfo has one more
    refused("empty", lambda: hwp5.read(data, replace(LIMITS, records=1_001)))


def test_many_cells_and_characters_are_refused() -> None:
    data = compound(hwp5_streams(hwp5_paragraph(0, hwp5_table(0, [["a", "b"]] * 30))))
    refused("too_large", lambda: hwp5.read(data, replace(LIMITS, cells=59)))
    refused("too_large", lambda: hwp5.read(data, replace(LIMITS, characters=59)))
    assert hwp5.read(data, replace(LIMITS, cells=60)).text == "\n".join(["a | b"] * 30)


def sectors(data: bytes) -> tuple[bytearray, int]:
    """The file to be changed, and where its table of sectors stands."""
    (table,) = struct.unpack_from("<I", data, 76)
    return bytearray(data), (table + 1) * 512


def test_chains_in_a_circle_are_refused() -> None:
    streams = hwp5_streams(
        hwp5_paragraph(0, " ".join(map(str, random.Random(5).choices(range(10**9), k=5_000))))
    )
    good = compound(streams)
    for number in range(40):
        data, table = sectors(good)
        struct.pack_into("<I", data, table + number * 4, number)  # each sector follows itself
        refused("broken", lambda data=data: hwp5.read(bytes(data)))


def test_a_list_of_tables_in_a_circle_is_refused() -> None:
    data, _ = sectors(compound(hwp5_streams(hwp5_paragraph(0, "글"))))
    struct.pack_into("<II", data, 68, 0, 1)
    struct.pack_into("<I", data, 512 + 508, 0)
    refused("broken", lambda: hwp5.read(bytes(data)))


def test_a_directory_in_a_circle_is_refused() -> None:
    data = compound(hwp5_streams(hwp5_paragraph(0, "글")))
    directory = (struct.unpack_from("<I", data, 48)[0] + 1) * 512
    for field in (68, 72):
        for target in (0, 1, 99):
            changed = bytearray(data)
            struct.pack_into("<I", changed, directory + 128 + field, target)
            refused("broken", lambda changed=changed: hwp5.read(bytes(changed)))


def test_streams_larger_than_the_file_are_refused() -> None:
    data = bytearray(compound(hwp5_streams(hwp5_paragraph(0, "글"))))
    at = data.index("DocInfo".encode("utf-16-le"))
    struct.pack_into("<Q", data, at + 120, 1 << 31)
    refused("broken", lambda: hwp5.read(bytes(data)))


def test_many_streams_are_refused() -> None:
    data = compound({f"s{number}": b"" for number in range(100)})
    refused("too_large", lambda: hwp5.read(data, replace(LIMITS, parts=50)))


def test_a_file_that_ends_early_is_refused() -> None:
    data = compound(hwp5_streams(hwp5_paragraph(0, LONG)))
    for end in range(0, len(data) - 512, 97):
        refused("broken", lambda end=end: hwp5.read(data[:end]))


def test_every_stream_of_a_compound_file_is_read_back() -> None:
    rng = random.Random(7)
    streams = {
        f"{'f/' * (at % 2)}s{at}": rng.randbytes(rng.choice([0, 1, 63, 64, 4095, 4096, 9000]))
        for at in range(60)
    }
    file = Compound(compound(streams), LIMITS)
    assert set(file.paths) == set(streams)
    assert {path: file.stream(path) for path in file.paths} == streams
    assert FREE == 0xFFFFFFFF
