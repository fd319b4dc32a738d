"""Small documents of each format, made by our own hand: for tests, and for the fuzzer to break.

What they are made of can be broken on purpose: XML and records are given as they shall stand in the file.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape


def zipped(parts: Mapping[str, bytes | str]) -> bytes:
    """An archive of these parts, in this order, the same bytes each time."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return file.getvalue()


# HWPX

_HWPML = "http://www.hancom.co.kr/hwpml/2011"
_SPACES = f'xmlns:hp="{_HWPML}/paragraph" xmlns:hs="{_HWPML}/section" xmlns:hh="{_HWPML}/head"'


def hwpx_paragraph(text: str, shape: int = 0, inside: str = "") -> str:
    """One paragraph; ``inside`` is XML that its run holds before the text."""
    run = f'<hp:run charPrIDRef="0">{inside}<hp:t>{escape(text)}</hp:t></hp:run>'
    return f'<hp:p id="0" paraPrIDRef="{shape}" styleIDRef="0">{run}</hp:p>'


def hwpx_cell(text: str, row: int, column: int, columns: int = 1, rows: int = 1) -> str:
    """A cell that covers some columns and rows; its paragraphs are the lines of ``text``."""
    inside = "".join(map(hwpx_paragraph, text.split("\n")))
    return (
        f'<hp:tc><hp:subList>{inside}</hp:subList><hp:cellAddr colAddr="{column}" rowAddr="{row}"/>'
        f'<hp:cellSpan colSpan="{columns}" rowSpan="{rows}"/></hp:tc>'
    )


def hwpx_table(rows: Sequence[Sequence[str]]) -> str:
    """A table, as it stands in a paragraph's run."""
    lines = (
        "<hp:tr>" + "".join(hwpx_cell(text, row, column) for column, text in enumerate(cells)) + "</hp:tr>"
        for row, cells in enumerate(rows)
    )
    return "<hp:tbl>" + "".join(lines) + "</hp:tbl>"


def hwpx_aside(kind: str, text: str) -> str:
    """A footnote, a header and their like, as they stand in a paragraph's run."""
    inside = f"<hp:subList>{hwpx_paragraph(text)}</hp:subList>"
    return f'<hp:ctrl><hp:{kind} id="1">{inside}</hp:{kind}></hp:ctrl>'


def hwpx_parts(*sections: str, title: str = "", outline: int = 0) -> dict[str, bytes | str]:
    """Parts of a document; shapes 1 to ``outline`` of its paragraphs are headings of these levels."""
    shapes = "".join(
        f'<hh:paraPr id="{level}"><hh:heading type="OUTLINE" idRef="0" level="{level - 1}"/></hh:paraPr>'
        for level in range(1, outline + 1)
    )
    items = "".join(
        f'<opf:item id="section{at}" href="Contents/section{at}.xml"/>' for at in range(len(sections))
    )
    spine = "".join(f'<opf:itemref idref="section{at}"/>' for at in range(len(sections)))
    package = (
        f'<opf:package xmlns:opf="http://www.idpf.org/2007/opf/"><opf:metadata><opf:title>{escape(title)}'
        f"</opf:title></opf:metadata><opf:manifest>{items}</opf:manifest><opf:spine>{spine}</opf:spine></opf:package>"
    )
    return {
        "mimetype": "application/hwp+zip",
        "Contents/header.xml": f"<hh:head {_SPACES}><hh:refList>{shapes}</hh:refList></hh:head>",
        **{f"Contents/section{at}.xml": hwpx_section(text) for at, text in enumerate(sections)},
        "Contents/content.hpf": package,
    }


def hwpx_section(paragraphs: str) -> str:
    """A part of text."""
    return f'<?xml version="1.0" encoding="UTF-8"?><hs:sec {_SPACES}>{paragraphs}</hs:sec>'


# DOCX

_WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def docx_paragraph(text: str, style: str = "", inside: str = "") -> str:
    """One paragraph; ``inside`` is XML that follows the text."""
    properties = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f'<w:p>{properties}<w:r><w:t xml:space="preserve">{escape(text)}</w:t></w:r>{inside}</w:p>'


def docx_table(rows: Sequence[Sequence[str]]) -> str:
    """A table of the body."""
    cells = ("".join(f"<w:tc>{docx_paragraph(text)}</w:tc>" for text in row) for row in rows)
    return "<w:tbl>" + "".join(f"<w:tr>{row}</w:tr>" for row in cells) + "</w:tbl>"


def docx_parts(
    body: str, footnotes: Sequence[str] = (), header: str = "", title: str = ""
) -> dict[str, bytes | str]:
    """Parts of a document with the styles Heading1 and Heading2, and Sub, which is based on the latter."""
    styles = "".join(
        f'<w:style w:type="paragraph" w:styleId="Heading{level}">'
        f'<w:pPr><w:outlineLvl w:val="{level - 1}"/></w:pPr></w:style>'
        for level in (1, 2)
    )
    styles += '<w:style w:type="paragraph" w:styleId="Sub"><w:basedOn w:val="Heading2"/></w:style>'
    notes = "".join(
        f'<w:footnote w:id="{number}">{docx_paragraph(text)}</w:footnote>'
        for number, text in enumerate(footnotes, 1)
    )
    return {
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>',
        "_rels/.rels": _relations("", {"officeDocument": "word/document.xml", "core-properties": "core.xml"}),
        "core.xml": f'<c xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>{escape(title)}</dc:title></c>',
        "word/document.xml": _word("document", f"<w:body>{body}</w:body>"),
        "word/styles.xml": _word("styles", styles),
        "word/footnotes.xml": _word("footnotes", notes),
        "word/header1.xml": _word("hdr", docx_paragraph(header)),
        "word/_rels/document.xml.rels": _relations(
            "word/", {"styles": "styles.xml", "footnotes": "footnotes.xml", "header": "header1.xml"}
        ),
    }


def _word(root: str, inside: str) -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?><w:{root} xmlns:w="{_WORD}">{inside}</w:{root}>'


def _relations(folder: str, targets: Mapping[str, str]) -> str:
    entries = "".join(
        f'<Relationship Id="r{at}" Type="{_OFFICE}/{kind}" Target="{target}"/>'
        for at, (kind, target) in enumerate(targets.items())
    )
    return f'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{entries}</Relationships>'


# HWP 5

FREE, END = 0xFFFFFFFF, 0xFFFFFFFE
_FAT_SECTOR = 0xFFFFFFFD
_SECTOR, _MINI, _CUTOFF = 512, 64, 4096


def compound(streams: Mapping[str, bytes]) -> bytes:
    """An OLE compound file of version 3; a path has at most one folder."""
    sectors: list[bytes] = []
    fat: list[int] = []
    mini, mini_fat = b"", list[int]()

    def put(data: bytes) -> int:
        """Sectors of a stream, one after another; the first."""
        count = -(-len(data) // _SECTOR)
        if not count:
            return END
        first = len(sectors)
        sectors.extend(data[at : at + _SECTOR].ljust(_SECTOR, b"\0") for at in range(0, len(data), _SECTOR))
        fat.extend([*range(first + 1, first + count), END])
        return first

    places: dict[str, tuple[int, int]] = {}
    for path, data in streams.items():
        if len(data) >= _CUTOFF or not data:
            places[path] = put(data), len(data)
            continue
        first, count = len(mini_fat), -(-len(data) // _MINI)
        mini += data.ljust(count * _MINI, b"\0")
        mini_fat += [*range(first + 1, first + count), END]
        places[path] = first, len(data)
    mini_first = put(mini)
    mini_table = put(struct.pack(f"<{len(mini_fat)}I", *mini_fat)) if mini_fat else END
    directory = put(_directory(places, mini_first, len(mini)))
    tables = -(-(len(fat) + 1) // (_SECTOR // 4 - 1))
    listed = [*range(len(sectors), len(sectors) + tables)]
    fat += [_FAT_SECTOR] * tables
    fat += [FREE] * (tables * _SECTOR // 4 - len(fat))
    header = struct.pack(
        "<8s16s5H6x9I", bytes.fromhex("d0cf11e0a1b11ae1"), b"", 62, 3, 0xFFFE, 9, 6,
        0, tables, directory, 0, _CUTOFF, mini_table, -(-len(mini_fat) * 4 // _SECTOR), END, 0,
    )  # fmt: skip
    header += struct.pack("<109I", *listed, *[FREE] * (109 - len(listed)))
    return header + b"".join(sectors) + struct.pack(f"<{len(fat)}I", *fat)


class _Entry(NamedTuple):
    name: str
    kind: int
    first: int
    size: int
    child: int = FREE
    right: int = FREE


def _directory(places: Mapping[str, tuple[int, int]], mini_first: int, mini_size: int) -> bytes:
    """Entries: the root, folders and streams; siblings stand in a row, each to the right of the last."""
    entries = [_Entry("Root Entry", 5, mini_first, mini_size)]

    def row(folder: int, names: Sequence[str], prefix: str) -> None:
        above = folder
        for at, name in enumerate(sorted(names, key=lambda each: (len(each), each.upper()))):
            number = len(entries)
            first, size = places.get(prefix + name, (0, 0))
            entries.append(_Entry(name, 2 if prefix + name in places else 1, first, size))
            one = entries[above]
            entries[above] = one._replace(right=number) if at else one._replace(child=number)
            above = number

    row(0, list(dict.fromkeys(path.partition("/")[0] for path in places)), "")
    for number, entry in enumerate(list(entries)):
        if entry.kind == 1:
            prefix = entry.name + "/"
            row(number, [path.removeprefix(prefix) for path in places if path.startswith(prefix)], prefix)
    return b"".join(map(_entry, entries))


def _entry(entry: _Entry) -> bytes:
    name = entry.name.encode("utf-16-le")
    return struct.pack(
        "<64sHBBIII16sI16xIQ", name, len(name) + 2, entry.kind, 1, FREE, entry.right, entry.child, b"", 0,
        entry.first, entry.size,
    )  # fmt: skip


def record(tag: int, level: int, data: bytes) -> bytes:
    """One record of a HWP 5 stream."""
    if len(data) < 0xFFF:
        return struct.pack("<I", tag | level << 10 | len(data) << 20) + data
    return struct.pack("<II", tag | level << 10 | 0xFFF << 20, len(data)) + data


class Control(NamedTuple):
    """What stands in a paragraph of HWP 5: its character's code, its name, its data, and records below it."""

    code: int
    name: str
    data: bytes = b""
    records: bytes = b""


def hwp5_paragraph(level: int, *items: str | Control, shape: int = 0) -> bytes:
    """Records of one paragraph: text and controls in their order."""
    text = b""
    controls = [item for item in items if isinstance(item, Control)]
    for item in items:
        if isinstance(item, str):
            text += item.encode("utf-16-le", "surrogatepass")
        else:
            code = struct.pack("<H", item.code)
            text += code + item.name.encode()[::-1] + bytes(8) + code
    text += b"\x0d\0"
    found = record(66, level, struct.pack("<IIHBBHHHI", len(text) // 2, 0, shape, 0, 0, 1, 0, 1, 0))
    found += record(67, level + 1, text)
    for each in controls:
        found += record(71, level + 1, each.name.encode()[::-1] + each.data) + each.records
    return found


def hwp5_table(level: int, rows: Sequence[Sequence[str]]) -> Control:
    """A table for a paragraph of this level."""
    found = record(77, level + 2, struct.pack("<IHH", 0, len(rows), max(map(len, rows))))
    for row, cells in enumerate(rows):
        for column, text in enumerate(cells):
            found += record(72, level + 2, struct.pack("<HHIHHHH", 1, 0, 0, column, row, 1, 1))
            found += b"".join(hwp5_paragraph(level + 2, line) for line in text.split("\n"))
    return Control(11, "tbl ", bytes(42), found)


def hwp5_aside(level: int, name: str, text: str, code: int = 17) -> Control:
    """A footnote ("fn  "), a header ("head", 16), a comment ("tcmt", 15) for a paragraph of this level."""
    inside = record(72, level + 2, struct.pack("<HHI", 1, 0, 0)) + hwp5_paragraph(level + 2, text)
    return Control(code, name, bytes(8), inside)


def hwp5_streams(*sections: bytes, outline: int = 0, flags: int = 1, title: str = "") -> dict[str, bytes]:
    """Streams of a document; shapes 1 to ``outline`` of its paragraphs are headings of these levels."""
    shapes = [0, *(1 << 23 | level << 25 for level in range(outline))]
    info = b"".join(record(25, 1, struct.pack("<I", shape) + bytes(50)) for shape in shapes)
    pack = deflated if flags & 1 else bytes
    return {
        "FileHeader": struct.pack("<32sII", b"HWP Document File", 0x05010001, flags).ljust(256, b"\0"),
        "DocInfo": pack(info),
        **{f"BodyText/Section{at}": pack(section) for at, section in enumerate(sections)},
        "\x05HwpSummaryInformation": _summary(title),
    }


def deflated(data: bytes) -> bytes:
    """Without the head and the sum of zlib, as HWP has it."""
    pack = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return pack.compress(data) + pack.flush()


def _summary(title: str) -> bytes:
    words = (title + "\0").encode("utf-16-le")
    properties = (
        struct.pack("<IIII", 24 + len(words), 1, 2, 16) + struct.pack("<II", 31, len(title) + 1) + words
    )
    return struct.pack("<HHI16sI16sI", 0xFFFE, 0, 0, b"", 1, b"", 48) + properties


# PDF


def pdf(pages: Sequence[Sequence[str]], bookmarks: Sequence[tuple[str, int]] = (), title: str = "") -> bytes:
    """Pages of lines, and bookmarks: a title and its page, from 0."""
    used = sorted({character for page in pages for line in page for character in line})
    font = len(pages) * 2 + 3
    objects: list[bytes] = [
        b"<< /Type /Catalog /Pages 2 0 R /Outlines %d 0 R >>" % (font + 4),
        b"<< /Type /Pages /Count %d /Kids [%s] >>"
        % (len(pages), b" ".join(b"%d 0 R" % (3 + 2 * at) for at in range(len(pages)))),
    ]
    for at, lines in enumerate(pages):
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents %d 0 R"
            b" /Resources << /Font << /F %d 0 R >> >> >>" % (4 + 2 * at, font)
        )
        drawn = b"BT /F 10 Tf 14 TL 40 800 Td\n"
        drawn += b"".join(b"<%s> Tj T*\n" % line.encode("utf-16-be").hex().encode() for line in lines)
        objects.append(pdf_stream(drawn + b"ET"))
    names = b"".join(
        b"<%s> <%s>\n" % ((code := each.encode("utf-16-be").hex().encode()), code) for each in used
    )
    unicode = (
        b"begincmap\n1 begincodespacerange <0000> <ffff> endcodespacerange\n"
        b"%d beginbfchar\n%sendbfchar\nendcmap" % (len(used), names)
    )
    objects += [
        b"<< /Type /Font /Subtype /Type0 /BaseFont /Made /Encoding /Identity-H /DescendantFonts [%d 0 R]"
        b" /ToUnicode %d 0 R >>" % (font + 1, font + 2),
        b"<< /Type /Font /Subtype /CIDFontType2 /BaseFont /Made /DW 1000 /FontDescriptor %d 0 R"
        b" /CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> >>" % (font + 3),
        pdf_stream(unicode),
        b"<< /Type /FontDescriptor /FontName /Made /Flags 4 /FontBBox [0 0 1000 1000] /Ascent 800 >>",
        *_bookmarks(font + 4, bookmarks),
    ]
    return pdf_file([*objects, b"<< /Title <feff%s> >>" % title.encode("utf-16-be").hex().encode()])


def _bookmarks(root: int, bookmarks: Sequence[tuple[str, int]]) -> list[bytes]:
    first, last = root + 1, root + len(bookmarks)
    found = [b"<< /Type /Outlines /First %d 0 R /Last %d 0 R >>" % (first, last) if bookmarks else b"<< >>"]
    for at, (title, page) in enumerate(bookmarks):
        after = b" /Next %d 0 R" % (first + at + 1) if at + 1 < len(bookmarks) else b""
        words = title.encode("utf-16-be").hex().encode()
        found.append(
            b"<< /Title <feff%s> /Parent %d 0 R /Dest [%d 0 R /Fit]%s >>" % (words, root, 3 + 2 * page, after)
        )
    return found


def pdf_stream(data: bytes, entries: bytes = b"") -> bytes:
    """An object that holds data, packed."""
    packed = zlib.compress(data, 9)
    return b"<< /Length %d /Filter /FlateDecode %s >>\nstream\n%s\nendstream" % (len(packed), entries, packed)


def pdf_file(objects: Sequence[bytes]) -> bytes:
    """A file of these objects, from number 1 on: the first is the catalog, the last the information."""
    file, places = b"%PDF-1.7\n", []
    for number, each in enumerate(objects, 1):
        places.append(len(file))
        file += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    count = len(objects) + 1
    return file + (
        b"xref\n0 %d\n0000000000 65535 f \n%s"
        b"trailer\n<< /Size %d /Root 1 0 R /Info %d 0 R >>\nstartxref\n%d\n%%%%EOF\n"
        % (count, table, count, count - 1, len(file))
    )
