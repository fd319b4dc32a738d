"""What was found as Markdown: claims with their place, or passages as they stand.

Rule: text of documents and of models is escaped whole; the only links are ours, to the stored words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import quote, urlencode

from moduai.knowledge.answer import Citation, Claim, Extracts, NotFound

_WORDS = {
    "ko": {
        "passages": "AI가 쓴 답 대신, 찾은 글을 그대로 보여 드립니다.",
        "beside": "찾은 글은 다음과 같습니다.",
        "none": "등록된 공개 문서에서 답을 찾지 못했습니다.",
        "near": "가장 가까운 자료:",
    },
    "en": {
        "passages": "Instead of an answer by AI, these are the passages that were found, as they stand.",
        "beside": "This is what was found:",
        "none": "The public documents of this service do not answer this.",
        "near": "What comes nearest:",
    },
}
_MARKUP = re.compile(r"[\\`*_<>#~|$&]")
_LINE_MARKUP = re.compile(r"(?m)^(\s*)([-+=]|\d+[.)])")


def address(citation: Citation) -> str:
    """Where a citation's words are shown on this service."""
    place = urlencode({"from": citation.start, "to": citation.end})
    return f"/source/{quote(citation.document, safe='')}/{citation.version}?{place}#here"


def name(citation: Citation) -> str:
    """A citation's place as people name it."""
    return ", ".join(filter(None, (citation.facts.title, citation.label))) or citation.document


def markdown(event: Claim | Extracts | NotFound, language: str) -> str:
    """An event as paragraphs of Markdown; ``language``: ko or en."""
    words = _WORDS[language]
    match event:
        case Claim():
            return f"{_plain(event.text)} {_link(event.citation)}\n\n"
        case Extracts():
            above = words["beside" if event.beside else "passages"]
            return f"{above}\n\n" + "".join(map(_passage, event.citations))
        case NotFound():
            near = _list(event.nearest)
            return f"{words['none']}\n\n" + (f"{words['near']}\n\n{near}\n" if near else "")


def _passage(citation: Citation) -> str:
    lines = (line.strip() for line in citation.quote.splitlines())
    return "".join(f"> {_plain(line)}\n" for line in lines) + f"\n{_link(citation)}\n\n"


def _list(citations: Sequence[Citation]) -> str:
    return "".join(dict.fromkeys(f"- {_link(each)}\n" for each in citations))


def _link(citation: Citation) -> str:
    text = _plain(name(citation).translate(str.maketrans("[]", "()")))
    return f"[{text}]({address(citation)})"


def _plain(text: str) -> str:
    """Text in which nothing is markup."""
    escaped = _MARKUP.sub(r"\\\g<0>", " ".join(text.split())).replace("](", "]&#40;")
    return _LINE_MARKUP.sub(lambda found: found[1] + _escaped_end(found[2]), escaped)


def _escaped_end(mark: str) -> str:
    return f"{mark[:-1]}\\{mark[-1]}"
