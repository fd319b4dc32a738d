"""Plain text, and what all readers of text share: characters from bytes, the language, a fit address."""

from __future__ import annotations

import codecs
import contextlib
import re
from urllib.parse import urlsplit

from moduai.knowledge.readers.limits import LIMITS, Limits, check_size
from moduai.knowledge.readers.outline import Outline, clean
from moduai.knowledge.types import Facts, Parsed, ReadError

_HANGUL = re.compile("[가-힣]")
_LATIN = re.compile("[A-Za-z]")
_PARAGRAPHS = re.compile(r"\n[ \t]*\n\s*")
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_SAMPLE = 20_000
_OPENING = 65_536
_TITLE = 100


def read(data: bytes, limits: Limits = LIMITS) -> Parsed:
    """Paragraphs between blank lines. A short first line is the title."""
    text = decoded(data, limits).strip()
    outline = Outline(limits)
    paragraphs = _PARAGRAPHS.split(text)
    title = paragraphs[0] if "\n" not in paragraphs[0] and len(paragraphs[0]) <= _TITLE else ""
    if title and len(paragraphs) > 1:
        outline.title(paragraphs.pop(0))
    for paragraph in paragraphs:
        outline.add(paragraph)
    return outline.parsed(Facts(title=title, language=language(text)))


def decoded(data: bytes, limits: Limits = LIMITS) -> str:
    """The characters, cleaned, of UTF-8, UTF-16 with its mark or Windows' CP949; ReadError for others."""
    check_size(data, limits)
    for encoding in _encodings(data):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" in text:
            break
        if len(text) > limits.characters:
            raise ReadError("too_large", f"The text has more than {limits.characters:,} characters.")
        return clean(text)
    raise ReadError(
        "unknown_format", "The file is neither text in UTF-8, UTF-16 or CP949 nor a format that is read."
    )


def opening(data: bytes) -> str:
    """The first characters, to see what it is; nothing where it is no text."""
    for encoding in _encodings(data):
        with contextlib.suppress(UnicodeDecodeError):
            return clean(codecs.getincrementaldecoder(encoding)().decode(data[:_OPENING]))
    return ""


def _encodings(data: bytes) -> list[str]:
    return [name for mark, name in _MARKS if data.startswith(mark)] or ["utf-8", "cp949"]


def language(text: str) -> str:
    """ko, en or nothing, by the letters at its beginning."""
    sample = text[:_SAMPLE]
    hangul, latin = len(_HANGUL.findall(sample)), len(_LATIN.findall(sample))
    if hangul * 4 > latin:
        return "ko"
    return "en" if latin > len(sample) // 3 else ""


def address(value: str) -> str:
    """An address that people may be sent to: http(s) with a host; anything else is none. Fails closed."""
    value = value.strip()
    try:
        parts = urlsplit(value)
    except ValueError:
        return ""
    fit = parts.scheme in {"http", "https"} and parts.netloc and not re.search(r"[\s<>\"'\\^`{|}]", value)
    return value if fit and len(value) <= 2_000 else ""


def without(text: str, opening: str, closing: str) -> str:
    """The text without what stands between two patterns; one that is not closed takes all that follows."""
    begin, finish = (re.compile(mark, re.IGNORECASE | re.ASCII) for mark in (opening, closing))
    parts, at = [], 0
    while start := begin.search(text, at):
        parts.append(text[at : start.start()])
        end = finish.search(text, start.end())
        at = end.end() if end else len(text)
    return "".join([*parts, text[at:]])
