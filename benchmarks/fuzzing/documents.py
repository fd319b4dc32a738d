"""Documents: good ones of each format, broken in their bytes and in what the bytes mean.

Promises: a document is read or refused with a stable code and a reason; what is read has its passages in
order and no character that nobody sees; neither takes long. Growth is seen over the whole run.
"""

from __future__ import annotations

import random
import re
import struct
import time
from collections.abc import Callable

from benchmarks.harness import documents as made
from moduai.knowledge.readers import docx, hwp5, hwpx, official, pdf, read_all
from moduai.knowledge.readers.limits import LIMITS, Limits
from moduai.knowledge.types import Parsed, ReadError

READERS: dict[str, Callable[[bytes, Limits], Parsed]] = {
    "hwpx": hwpx.read, "docx": docx.read, "hwp5": hwp5.read, "pdf": pdf.read, "statute": official.read,
    "decision": official.read,
}  # fmt: skip
"""Formats whose files no longer look like one when their bytes are broken."""
CODES = frozenset({
    "broken", "distribution", "doctype", "empty", "encrypted", "too_deep", "too_heavy", "too_large",
    "unknown_format",
})  # fmt: skip
SECONDS = 2.0
"""Most of the processor for one document."""
SMALL = Limits(
    bytes=1 << 20, unpacked=1 << 20, parts=50, characters=20_000, elements=5_000, depth=40, passages=100,
    pages=5, cells=500,
)  # fmt: skip
_RARE = 500
"""One of so many inputs is a PDF: each is a process of its own."""

_LINES = [
    "제1조(목적) 이 규칙은 😀 급여의",
    "①신청인은 다음 각 호의",
    "1. 가구 | 월액",
    "가. 𠀀과 漢字",
    "English & <text>",
]
_ROWS = [["가구", "월액", ""], ["1인", "713,102원\n둘째 줄", "x"], ["2인", "", "끝"]]
_PLAIN = {
    "md": (
        "---\n법령ID: '000001'\n제목: 규칙\n시행일자: 20260101\n---\n\n# 제1장 총칙\n\n##### 제1조\n\n"
        "| 가 | 나 |\n|---|---|\n| 1 | 2 |\n\n* 하나\n\n"
    )
    + "\n".join(_LINES),
    "html": (
        "<!doctype html><html lang=ko><head><title>규칙</title><script>x</script></head><body>"
        "<h1>제1장</h1><p>본문 &amp; 글</p><table><tr><th>가</th><td>나</td></tr></table></body></html>"
    ),
    "jsonl": '{"id": "1", "제목": "급여", "text": "본문"}\n{"title": "둘", "지원대상": "누구"}\n',
    "statute": (
        "<법령><기본정보><법령ID>1</법령ID><법령명_한글><![CDATA[규칙]]></법령명_한글>"
        "<시행일자>20260101</시행일자></기본정보>"
        "<조문><조문단위><조문내용>제1장 총칙 &lt;개정&gt;</조문내용></조문단위>"
        "<조문단위><조문내용><![CDATA[제1조(목적(가)) 이 규칙은]]></조문내용>"
        "<항><항내용>① 다음과 같다</항내용><호><호내용>1. 가구</호내용><목><목내용>가. 쌀</목내용></목></호>"
        "</항></조문단위></조문>"
        "<부칙><부칙단위><부칙내용><![CDATA[부 칙 <제1호>]]>이 규칙은</부칙내용></부칙단위></부칙>"
        "<별표><별표단위><별표번호>0001</별표번호><별표구분>별표</별표구분><별표제목>기준</별표제목>"
        "<별표내용>┌─┐\n│가│나│\n└─┘ <img src='x'/></별표내용></별표단위></별표></법령>"
    ),
    "decision": (
        "<PrecService><사건명><![CDATA[급여]]></사건명><사건번호>2023두1</사건번호><선고일자>20240515</선고일자>"
        "<법원명>대법원</법원명>"
        "<판시사항><![CDATA[[1] 가<br/>나]]></판시사항><참조조문>민법 제741조</참조조문>"
        "<판례내용><![CDATA[【주    문】<br/>기각한다.<p>【이    유】</p>]]></판례내용></PrecService>"
    ),
    "csv": '이름,값\n"가, 나",1\n다,"둘\n줄"\n',
    "txt": "판례\n\n대법원 2020. 1. 1. 선고 2019다1234 판결\n\n" + "\n\n".join(_LINES),
}
_NUMBERS = [
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\xfe\xff\xff\xff",
    b"\x01\0\0\0",
    b"\xff\xff\xff\x7f",
    b"\0\0\0\x80",
]
_TOKENS = [
    b"<hp:tbl>", b"</hp:tc>", b"<hp:p>", b"<w:tc>", b"<!DOCTYPE x [<!ENTITY a 'b'>]>", b"&a;", b"&#0;",
    b"]]>", b"&#xD800;", b"<![CDATA[", b"<!--", b"\xff\xfe", b"\xed\xa0\x80", b'="999999"', b'="-1"',
    b"PK\x01\x02", b"PK\x05\x06", b"<<", b"endobj", b" 0 R", b"/Kids", b"/Length 99999999", b"\n# ", b"---\n",
    b"\n##### \xec\xa0\x9c1\xec\xa1\xb0",
]  # fmt: skip
_MARKUP = re.compile(rb"<[^<>]*>|[^<]+")
_VALUES = re.compile(rb'="[^"]*"')


def generate(rng: random.Random) -> tuple[str, bytes]:
    """A format, and a document of it that is broken somewhere."""
    kind = rng.choice(["hwpx", "docx", "hwp5", "hwp5", *_PLAIN]) if rng.randrange(_RARE) else "pdf"
    if kind in {"hwpx", "docx"}:
        data = _broken_archive(rng, _hwpx() if kind == "hwpx" else _docx())
    elif kind == "hwp5":
        data = _broken_records(rng)
    elif kind == "pdf":
        data = made.pdf([_LINES, _LINES[::-1]], [(_LINES[0], 0), ("x", 1)], title="규칙")
    else:
        data = _PLAIN[kind].encode()
    if kind in {"html", "statute", "decision"} and rng.random() < 0.5:
        data = _broken_xml(rng, data)
    elif kind == "pdf" or kind in _PLAIN or rng.random() < 0.3:
        data = damage(rng, data)
    return kind, data


def check(kind: str, data: bytes, limits: Limits) -> str | None:
    """Which promise does not hold for this document."""
    began = time.process_time()
    try:
        direct = READERS.get(kind)
        found = [("", direct(data, limits))] if direct else read_all(f"a.{kind}", data, limits)
        problem = next((problem for _, parsed in found if (problem := _held(parsed, limits))), None)
    except ReadError as error:
        problem = None if error.code in CODES and str(error) else f"{kind}: the code is {error.code!r}"
    except (Exception, RecursionError) as error:  # noqa: BLE001  (whatever escapes is a finding)
        problem = f"{kind}: {type(error).__name__} escapes: {str(error)[:80]}"
    spent = time.process_time() - began
    return problem or (f"{kind}: it takes longer than {SECONDS} s" if spent > SECONDS else None)


def either(rng: random.Random) -> Limits:
    """Limits as they are, or so small that small documents pass them."""
    return rng.choice([LIMITS, SMALL])


def _held(parsed: Parsed, limits: Limits) -> str | None:
    if len(parsed.text) > limits.characters or len(parsed.passages) > limits.passages:
        return "it is longer than it may be"
    if re.search(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]", parsed.text):
        return "a character that nobody sees is in the text"
    at = 0
    for passage in parsed.passages:
        if not at <= passage.start < passage.end <= len(parsed.text):
            return "a passage is not in its place"
        at = passage.end
    return None


def damage(rng: random.Random, data: bytes) -> bytes:
    """Some bytes changed, moved, multiplied or gone."""
    for _ in range(rng.choice([1, 1, 2, 4, 8])):
        at = rng.randrange(len(data) + 1)
        until = min(len(data), at + rng.choice([1, 2, 4, 40, 400]))
        how = rng.randrange(7)
        if how == 0:
            data = data[:at] + rng.randbytes(until - at) + data[until:]
        elif how == 1:
            data = data[: at & ~3] + rng.choice(_NUMBERS) + data[(at & ~3) + 4 :]
        elif how == 2:
            data = data[:at] + data[until:]
        elif how == 3:
            data = data[:at] + data[at:until] * rng.choice([1, 2, 50]) + data[until:]
        elif how == 4:
            data = data[:at] + rng.choice(_TOKENS) + data[at:]
        elif how == 5:
            data = data[:at]
        else:
            data = data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
    return data


def _hwpx() -> dict[str, bytes | str]:
    table = made.hwpx_table(_ROWS) + made.hwpx_aside("footNote", "각주") + made.hwpx_aside("header", "머리말")
    body = made.hwpx_paragraph("제1장", 1) + "".join(map(made.hwpx_paragraph, _LINES))
    return made.hwpx_parts(body, made.hwpx_paragraph("표", 2, table), title="제1장", outline=2)


def _docx() -> dict[str, bytes | str]:
    note = '<w:r><w:footnoteReference w:id="1"/></w:r>'
    body = made.docx_paragraph("제1장", "Heading1") + "".join(map(made.docx_paragraph, _LINES))
    return made.docx_parts(
        body + made.docx_table(_ROWS) + made.docx_paragraph("끝", "Sub", note), ["각주"], "머리말"
    )


def _broken_archive(rng: random.Random, parts: dict[str, bytes | str]) -> bytes:
    name = rng.choice([name for name in parts if name != "mimetype"])
    part = parts[name]
    xml = part.encode() if isinstance(part, str) else part
    parts[name] = _broken_xml(rng, xml) if rng.random() < 0.8 else damage(rng, xml)
    return made.zipped(parts)


def _broken_xml(rng: random.Random, xml: bytes) -> bytes:
    """Elements multiplied, moved, nested or gone, and values changed; most often still well-formed."""
    for _ in range(rng.choice([1, 2, 4])):
        tokens = _MARKUP.findall(xml)
        opens = [at for at, token in enumerate(tokens) if token[:1] == b"<" and token[1:2] not in b"/?!"]
        if not opens or len(xml) > 1 << 20:
            break
        at = rng.choice(opens)
        until = _end(tokens, at)
        element = b"".join(tokens[at:until])
        before, after = b"".join(tokens[:at]), b"".join(tokens[until:])
        how = rng.randrange(5)
        if how == 0:
            xml = before + element * rng.choice([0, 2, 3, 30]) + after
        elif how == 1:
            xml = before + b"".join(tokens[at + 1 : until - 1]) + after
        elif how == 2:
            other = rng.choice(opens)
            xml = b"".join(tokens[: other + 1]) + element + b"".join(tokens[other + 1 :])
        elif how == 3:
            value = rng.choice([b"", b"0", b"-1", b"65535", b"999999", "끝".encode(), b"x" * 300])
            xml = before + _VALUES.sub(b'="' + value + b'"', tokens[at], count=rng.choice([1, 9]))
            xml += b"".join(tokens[at + 1 :])
        else:
            name = re.match(rb"<([\w:]+)", rng.choice([tokens[each] for each in opens]))
            wrapped = name[1] if name else b"x"
            times = rng.choice([1, 3, 60])
            xml = before + (b"<%s>" % wrapped) * times + element + (b"</%s>" % wrapped) * times + after
    return xml


def _end(tokens: list[bytes], at: int) -> int:
    """Behind the element that opens at ``at``."""
    depth = 0
    for number in range(at, len(tokens)):
        token = tokens[number]
        if token[:1] == b"<" and token[1:2] not in b"?!":
            depth += -1 if token[1:2] == b"/" else token[-2:-1] != b"/"
        if not depth:
            return number + 1
    return len(tokens)


def _broken_records(rng: random.Random) -> bytes:
    lines = b"".join(made.hwp5_paragraph(0, line) for line in _LINES)
    number = made.Control(18, "atno", struct.pack("<IHHHH", 0, 3, 0, 60, 62))
    aside = made.hwp5_aside(0, "fn  ", "각주"), made.hwp5_aside(0, "head", "머리말", 16)
    body = made.hwp5_paragraph(0, "제1장", shape=1) + lines
    streams = made.hwp5_streams(
        body,
        made.hwp5_paragraph(0, "표", number, made.hwp5_table(0, _ROWS), *aside),
        flags=0,
        outline=2,
        title="제1장",
    )
    name = rng.choice(
        ["DocInfo", "BodyText/Section0", "BodyText/Section1", "BodyText/Section1", "FileHeader"]
    )
    if name == "FileHeader" or rng.random() < 0.3:
        streams[name] = damage(rng, streams[name])
    else:
        streams[name] = _changed(rng, streams[name])
    if rng.random() < 0.5 and len(streams["FileHeader"]) > 40:
        streams["FileHeader"] = streams["FileHeader"][:36] + b"\1" + streams["FileHeader"][37:]
        streams = {
            name: data if name == "FileHeader" else made.deflated(data) for name, data in streams.items()
        }
    return made.compound(streams)


def _changed(rng: random.Random, stream: bytes) -> bytes:
    """Records multiplied, moved, raised, renamed or with other data."""
    records: list[tuple[int, int, bytes]] = []
    at = 0
    while at + 4 <= len(stream):
        (head,) = struct.unpack_from("<I", stream, at)
        size = head >> 20
        records.append((head & 0x3FF, head >> 10 & 0x3FF, stream[at + 4 : at + 4 + size]))
        at += 4 + size
    for _ in range(rng.choice([1, 2, 4])):
        number = rng.randrange(len(records))
        tag, level, data = records[number]
        how = rng.randrange(6)
        if how == 0:
            records[number : number + 1] = records[number : number + rng.choice([1, 5])] * rng.choice(
                [0, 2, 40]
            )
        elif how == 1:
            records.insert(rng.randrange(len(records)), records[number])
        elif how == 2:
            records[number] = tag, rng.choice([0, 1, 2, 3, 90, 1_000, max(level - 1, 0), level + 1]), data
        elif how == 3:
            records[number] = rng.choice([25, 66, 67, 71, 72, 77, 85, 88, 500]), level, data
        elif how == 4:
            control = struct.pack("<H", rng.randrange(32))
            cut = rng.randrange(len(data) + 1) & ~1
            records[number] = tag, level, data[:cut] + control + data[cut:]
        else:
            records[number] = tag, level, damage(rng, data)[:4_000]
        if not records:
            break
    return b"".join(made.record(*each) for each in records)
