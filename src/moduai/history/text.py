"""The text of a turn, out of the bytes that passed: the last question, and the answer whole or streamed.

What is not text is named (``[image]``) or noted, and what is too long is cut and says so. Bytes that are
not understood give no text and no error: the answer has been given, and only its record is poorer
(fails open).
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec import Raw, Struct

from moduai.history.record import Note, Passed, Text

MOST_BYTES = 500_000
"""Most UTF-8 bytes that are kept of a question, and of an answer: a turn is never over 1 MB."""
_KINDS = {"image": "[image]", "input_image": "[image]", "image_url": "[image]", "input_audio": "[audio]"}
_NOT_READ = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Asked(Struct):
    """The fields that hold what is asked, of chat, completions and responses."""

    messages: list[Raw] | None = None
    prompt: Raw = Raw()
    input: Raw = Raw()


class _Part(Struct):
    type: str = ""
    text: str | None = None


class _Said(Struct):
    role: str = ""
    content: str | list[_Part] | None = None


class _Message(Struct):
    content: str | None = None
    tool_calls: list[Raw] | None = None


class _Choice(Struct):
    index: int = 0
    delta: _Message | None = None
    message: _Message | None = None
    text: str | None = None


class _Answer(Struct):
    """An answer or an event of one, of chat, completions and responses."""

    choices: list[_Choice] | None = None
    type: str = ""
    delta: Raw = Raw()
    output: list[_Said] | None = None


_decode_asked = msgspec.json.Decoder(_Asked).decode
_decode_said = msgspec.json.Decoder(_Said).decode
_decode_content = msgspec.json.Decoder(str | list[Raw]).decode
_decode_item = msgspec.json.Decoder(str | _Said).decode
_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_text = msgspec.json.Decoder(str).decode
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Passed | Text).decode


def read_question(body: bytes) -> tuple[str, set[Note]]:
    """What was asked last, with notes on what is left out."""
    notes: set[Note] = set()
    try:
        asked = _decode_asked(body)
        if asked.messages is not None:
            for raw in reversed(asked.messages):
                said = _decode_said(raw)
                if said.role == "user":
                    return _cut(_plain(said.content, notes), notes), notes
            return "", notes
        content = _decode_content(asked.prompt if bytes(asked.prompt) else asked.input)
        if isinstance(content, list):
            last = _decode_item(content[-1]) if content else ""
            content = last if isinstance(last, str) else _plain(last.content, notes)
    except _NOT_READ:
        return "", notes
    return _cut(content, notes), notes


class Answer:
    """An answer's text as it grows."""

    __slots__ = ("_left", "_parts", "notes")

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._left = MOST_BYTES
        self.notes: set[Note] = set()

    @property
    def text(self) -> str:
        """What there is so far."""
        return "".join(self._parts)

    def copy(self) -> Answer:
        """Another that grows on its own."""
        made = Answer()
        made._parts, made._left, made.notes = [*self._parts], self._left, set(self.notes)
        return made

    def take_events(self, pieces: Iterable[bytes]) -> None:
        """Pieces of a stream, each with whole events; chunked framing between them does no harm."""
        for line in b"\n".join(pieces).splitlines():
            if line.startswith(b"data:") and not line.endswith(b"[DONE]"):
                self.take(line[5:])

    def take(self, document: bytes) -> None:
        """One JSON answer, or the data of one event."""
        try:
            answer = _decode_answer(document)
            if answer.choices is None:
                self._take_response(answer)
                return
        except _NOT_READ:
            return
        for choice in answer.choices:
            if choice.index:
                self.notes.add("choices")
                continue
            message = choice.delta or choice.message
            if message is not None and message.tool_calls:
                self.notes.add("tools")
            self._add(choice.text or (message.content if message is not None else ""))

    def _take_response(self, answer: _Answer) -> None:
        if answer.type == "response.output_text.delta":
            self._add(_decode_text(answer.delta))
        for said in answer.output or ():
            self._add(_plain(said.content, self.notes))

    def _add(self, text: str | None) -> None:
        if not text:
            return
        if self._left >= 0:
            self._left -= len(text.encode("utf-8", "replace"))
            if self._left < 0:
                text = _shorter(text, -self._left)
                self.notes.add("cut")
            self._parts.append(text)


def compose(asked: bytes, answer: Answer) -> Text:
    """The text of a turn."""
    question, notes = read_question(asked)
    return Text(question, answer.text, tuple(sorted(notes | answer.notes)))


def read_passed(passed: Passed) -> Text:
    """The text of a turn out of its bytes."""
    answer = Answer()
    answer.take_events((passed.events,))
    if passed.body:
        answer.take(passed.body)
    return compose(passed.asked, answer)


def pack(clear: Passed | Text) -> bytes:
    """What is sealed."""
    return _encode(clear)


def unpack(clear: bytes) -> Text:
    """What was sealed, read if it was not yet. Raises msgspec.DecodeError."""
    found = _decode(clear)
    return found if isinstance(found, Text) else read_passed(found)


def _plain(content: str | list[_Part] | None, notes: set[Note]) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    shown = []
    for part in content:
        if part.text is not None:
            shown.append(part.text)
        else:
            notes.add("media")
            shown.append(_KINDS.get(part.type, "[file]"))
    return "\n".join(shown)


def _cut(text: str, notes: set[Note]) -> str:
    if len(text) * 4 <= MOST_BYTES:
        return text
    over = len(text.encode("utf-8", "replace")) - MOST_BYTES
    if over <= 0:
        return text
    notes.add("cut")
    return _shorter(text, over)


def _shorter(text: str, over: int) -> str:
    """The text without its last ``over`` bytes, and no half letter."""
    return text.encode("utf-8", "replace")[:-over].decode("utf-8", "ignore")
