"""PDF: the text page by page, in the order that the file draws it.

A page is a passage; a bookmark whose words stand on its page as a line is a heading there. PDFs have no
paragraphs and no tables, only places of letters, so lines stay as they are printed, but that a Korean word
that is broken over two of them is made whole where this is sure. PDFium reads the file in a process of its
own (see ``pdfium``): a file that crashes it, or takes more than its memory or its time, is refused. Fails
closed.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from pathlib import Path

import msgspec

from moduai.knowledge.readers import pdfium
from moduai.knowledge.readers.limits import LIMITS, Limits, check_size
from moduai.knowledge.readers.outline import Outline
from moduai.knowledge.readers.text import language
from moduai.knowledge.types import Facts, Parsed, ReadError

_MARK = b"%PDF-"
_HEAD = 1_024
"""Bytes within which the mark stands."""
SECONDS = 60
"""Of the processor, for one document; it reads some hundred pages in each."""
WALL = 15
"""Times ``SECONDS`` that it may live, as the machine may be busy."""
_BYTES = 12
"""Of the answer for each character at most: a pair of escaped halves."""
_TITLE = 100
_LETTERS = re.compile(r"[^\W\d_]{2}")
_ENDS = {
    signal.SIGXCPU: ("too_heavy", "Reading the document takes longer than one may."),
    signal.SIGKILL: ("too_heavy", "Reading the document takes longer than one may."),
}
_ERRORS = {
    "encrypted": ("encrypted", "The document is protected by a password."),
    "pages": ("too_large", "The document has more pages than are read."),
    "characters": ("too_large", "The document has more characters than are read."),
}
_BROKEN = ("broken", "The file is damaged: it cannot be read as a PDF.")


class _Answer(msgspec.Struct, frozen=True):
    pages: tuple[str, ...] = ()
    outline: tuple[tuple[int, int, str], ...] = ()
    title: str = ""
    error: str = ""


def read(data: bytes, limits: Limits = LIMITS) -> Parsed:
    """The document; raises ReadError where it is not one, is protected, or is past a limit."""
    check_size(data, limits)
    if _MARK not in data[:_HEAD]:
        raise ReadError(*_BROKEN)
    answer = _ask(data, limits)
    outline = Outline(limits)
    bookmarks: defaultdict[int, dict[str, int]] = defaultdict(dict)
    for level, page, title in answer.outline:
        bookmarks[page].setdefault(_spaceless(title), level + 1)
    for number, text in enumerate(answer.pages):
        outline.page(number + 1)
        _page(outline, text, bookmarks.pop(number, {}))
    empty = sum(not text.strip() for text in answer.pages)
    notes = (f"Pages without text, such as pictures: {empty}.",) if empty else ()
    opening = "\n".join(answer.pages[:20])
    title = " ".join(answer.title.split())
    if not title or len(title) > _TITLE or _spaceless(title) not in _spaceless(opening[:4_000]):
        title = next((line.strip() for line in opening.split("\n") if _LETTERS.search(line)), "")[:_TITLE]
    return outline.parsed(Facts(title=title, language=language(opening)), notes)


def _page(outline: Outline, text: str, bookmarks: dict[str, int]) -> None:
    """Lines of one page; those that a bookmark names are headings."""
    lines: list[str] = []
    for line in text.replace("\r\n", "\n").split("\n"):
        level = bookmarks.pop(_spaceless(line), 0) if bookmarks else 0
        if not level:
            lines.append(line.strip())
            continue
        outline.add("\n".join(lines))
        outline.heading(level, line)
        lines = []
    outline.add("\n".join(lines))


def _ask(data: bytes, limits: Limits) -> _Answer:
    """What the process says."""
    numbers = map(str, (SECONDS, limits.pages, limits.characters))
    command = [sys.executable, "-I", str(Path(pdfium.__file__)), *numbers]
    most = limits.characters * _BYTES + limits.bytes
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        with subprocess.Popen(  # noqa: S603  (the command is our own)
            command, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={}
        ) as child:
            timer = threading.Timer(WALL * SECONDS, child.kill)
            timer.start()
            try:
                said = child.stdout.read(most + 1) if child.stdout else b""
                if len(said) > most:
                    child.kill()
            finally:
                timer.cancel()
    if child.returncode < 0:
        raise ReadError(*_ENDS.get(signal.Signals(-child.returncode), _BROKEN))
    try:
        answer = msgspec.json.decode(said, type=_Answer)
    except msgspec.MsgspecError as error:
        raise ReadError(*_BROKEN) from error
    if answer.error:
        raise ReadError(*_ERRORS.get(answer.error, _BROKEN))
    return answer


def _spaceless(text: str) -> str:
    return "".join(text.split())
