"""Reads what was sent: requests by llhttp (the oracle), answers by a strict reader of its own."""

from __future__ import annotations

import re
from typing import NamedTuple

import httptools

_STATUS = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2}) ([ -~]*)")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([\t -~\x80-\xff]*)")
_SIZE = re.compile(rb"[0-9a-fA-F]{1,8}")


UNREAD = {400, 408, 431}
"""Statuses of requests whose method may not have been read yet."""


class BrokenError(ValueError):
    """What was sent is not clear HTTP."""


class Answer(NamedTuple):
    """One answer as a client reads it."""

    status: int
    fields: dict[bytes, bytes]
    body: bytes
    whole: bool
    until_close: bool = False


def read_answers(sent: bytes, methods: list[bytes]) -> list[Answer]:
    """Every final answer in ``sent``; only the last may be cut. Raises BrokenError."""
    answers: list[Answer] = []
    at = 0
    while at < len(sent):
        end = sent.find(b"\r\n\r\n", at)
        if end < 0:
            raise BrokenError("an answer's head is cut")
        status, fields = _head(sent[at:end])
        at = end + 4
        if status < 200:
            continue
        method = methods[len(answers)] if len(answers) < len(methods) else b"?"
        if answers and answers[-1].fields.get(b"connection") == b"close":
            method = b"?"  # nobody reads on after that: a word of refusal to whom it may concern
        if method == b"HEAD" and status in UNREAD:
            method = b"?"
        body, at, whole, until_close = _body(sent, at, status, fields, method)
        answers.append(Answer(status, fields, body, whole, until_close))
    return answers


def _head(head: bytes) -> tuple[int, dict[bytes, bytes]]:
    first, *lines = head.split(b"\r\n")
    match = _STATUS.fullmatch(first)
    if match is None:
        raise BrokenError(f"a status line is {first[:60]!r}")
    fields: dict[bytes, bytes] = {}
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None or field[1].lower() in fields:
            raise BrokenError(f"a field is wrong or stands twice: {line[:60]!r}")
        fields[field[1].lower()] = field[2]
    return int(match[1]), fields


def _body(
    sent: bytes, at: int, status: int, fields: dict[bytes, bytes], method: bytes
) -> tuple[bytes, int, bool, bool]:
    """Body, where it ends, whether it is whole, and whether only the connection's end ends it."""
    chunked, length = fields.get(b"transfer-encoding"), fields.get(b"content-length")
    if chunked is not None and (length is not None or chunked != b"chunked"):
        raise BrokenError("an answer's length is unclear")
    if method == b"HEAD" or status in {204, 304} or (method == b"?" and at == len(sent)):
        return b"", at, True, False  # "?": it may have been a HEAD
    if chunked is not None:
        return (*_chunks(sent, at), False)
    if length is None:
        return sent[at:], len(sent), True, True
    end = at + int(length)
    return sent[at:end], min(end, len(sent)), end <= len(sent), False


def _chunks(sent: bytes, at: int) -> tuple[bytes, int, bool]:
    parts: list[bytes] = []
    while True:
        line = sent.find(b"\r\n", at)
        if line < 0:
            return b"".join(parts), len(sent), False
        if not _SIZE.fullmatch(sent, at, line):
            raise BrokenError(f"a chunk's size is {sent[at:line][:40]!r}")
        size, at = int(sent[at:line], 16), line + 2
        if len(sent) < at + size + 2:
            return b"".join(parts), len(sent), False
        if sent[at + size : at + size + 2] != b"\r\n":
            raise BrokenError("a chunk has no end")
        if not size:
            return b"".join(parts), at + 2, True
        parts.append(sent[at : at + size])
        at += size + 2


class Request(NamedTuple):
    """One request as llhttp reads it."""

    method: bytes
    target: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes

    def field(self, name: bytes) -> bytes | None:
        """The field's value, if it stands once."""
        found = [value for key, value in self.fields if key.lower() == name]
        return found[0] if len(found) == 1 else None


class Oracle:
    """A fresh llhttp parser fed all the bytes at once."""

    def __init__(self, data: bytes) -> None:
        self.methods: list[bytes] = []
        """Of every request whose head is whole."""
        self.requests: list[Request] = []
        self.begun = 0
        self.refused = False
        self._parser = httptools.HttpRequestParser(self)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.refused = True

    def on_message_begin(self) -> None:
        self.begun += 1
        self._url, self._fields, self._body = b"", list[tuple[bytes, bytes]](), b""
        self._head_over = False

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_over:
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        self._head_over = True
        self.methods.append(self._parser.get_method())

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        self.requests.append(Request(self.methods[-1], self._url, self._fields, self._body))


def decode_answer(data: bytes, *, closed: bool) -> tuple[int, bytes] | None:
    """Status and payload of an engine's answer as llhttp reads it; None if it does not accept it whole."""
    reader = _AnswerReader()
    parser = httptools.HttpResponseParser(reader)
    reader.parser = parser
    try:
        parser.feed_data(data)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    if not reader.over and not (closed and reader.until_close):
        return None
    return reader.status, b"".join(reader.parts)


class _AnswerReader:
    def __init__(self) -> None:
        self.parser: httptools.HttpResponseParser
        self.parts: list[bytes] = []
        self.status, self.over, self.framed = 0, False, False
        """``over``: the first final answer is whole; what comes after it is not looked at."""

    @property
    def until_close(self) -> bool:
        return bool(self.status) and not self.framed

    def on_message_begin(self) -> None:
        if not self.over:
            self.framed, self.parts = False, []

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.over:
            self.framed |= name.lower() in {b"content-length", b"transfer-encoding"}

    def on_headers_complete(self) -> None:
        if not self.over:
            self.status = self.parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        if not self.over:
            self.parts.append(data)

    def on_message_complete(self) -> None:
        self.over = self.over or self.status >= 200
