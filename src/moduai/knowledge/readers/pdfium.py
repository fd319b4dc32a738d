"""The text of a PDF by PDFium, in a process of its own: ``pdfium.py SECONDS PAGES CHARACTERS < file``.

PDFium is fast and reads Korean well, but it is machine code that follows what a stranger wrote. So it runs
apart from everything else, with a limit on memory and on time of the processor that the kernel holds, and
without a file of its own; the worst that a document can do is end it. Nothing of ours is imported here. The
answer is JSON on the standard output: ``pages`` (text each), ``outline`` (level from 0, page from 0, title)
and ``title``, or ``error``.
"""

from __future__ import annotations

import json
import resource
import sys
from itertools import islice
from typing import Any

MEMORY = 2 << 30
"""Bytes of address space; a file of 64 MiB needs a fraction."""
_BOOKMARKS = 10_000
_PASSWORD = 4
"""PDFium's number for this error."""


def main(most_pages: int, most_characters: int) -> dict[str, object]:
    """What is in the file on the standard input."""
    import pypdfium2  # noqa: PLC0415  (the limits come first)

    try:
        document = pypdfium2.PdfDocument(sys.stdin.buffer.read())
    except pypdfium2.PdfiumError as error:
        return {"error": "encrypted" if error.err_code == _PASSWORD else "broken"}
    if len(document) > most_pages:
        return {"error": "pages"}
    pages: list[str] = []
    for number in range(len(document)):
        try:
            page = document[number]
            text = page.get_textpage()
            most_characters -= text.count_chars()
            if most_characters < 0:
                return {"error": "characters"}
            pages.append(text.get_text_bounded())
            text.close()
            page.close()
        except pypdfium2.PdfiumError:
            pages.append("")
    return {"pages": pages, "outline": _outline(document), "title": document.get_metadata_value("Title")}


def _outline(document: Any) -> list[tuple[int, int, str]]:
    found = []
    for bookmark in islice(document.get_toc(), _BOOKMARKS):
        destination = bookmark.get_dest()
        page = destination.get_index() if destination else None
        if page is not None:
            found.append((bookmark.level, page, bookmark.get_title()[:300]))
    return found


if __name__ == "__main__":
    seconds, pages, characters = map(int, sys.argv[1:])
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    json.dump(main(pages, characters), sys.stdout)
