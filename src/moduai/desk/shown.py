"""What was found as Markdown: claims with their place, or passages as they stand.

Rule: text of documents and of models is escaped whole; the only links are ours, to the stored words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import quote, urlencode

from moduai.knowledge.answer import Citation, Claim, Extracts, NotFound, SmallTalk

_WORDS = {
    "ko": {
        "passages": "문서에서 찾은 글을 그대로 옮깁니다.",
        "beside": "문서에는 이렇게 적혀 있습니다.",
        "none": "등록된 공공 문서에서 답을 찾지 못했습니다. 다른 말로 물어보시거나, "
        "‘공공 문서’를 끄고 출처 없이 AI의 답만 받아 보실 수 있습니다.",
        "near": "비슷한 내용이 있는 문서:",
        "same": "같은 글",
        "hello": "안녕하세요. 궁금한 것을 물어보시면 공공 문서에서 답을 찾아 출처와 함께 보여 드립니다.",
        "who": "저는 사람이 아니라 AI로 답하는 서비스입니다. "
        "궁금한 것을 물어보시면 공공 문서에서 답을 찾아 출처와 함께 보여 드립니다.",
        "thanks": "고맙습니다. 더 궁금한 것이 있으면 언제든지 물어보세요.",
        "unclear": "무엇이 궁금하신가요? 한 문장으로 물어보시면 공공 문서에서 찾아 드립니다.",
        "examples": "이렇게 물어보실 수 있습니다.",
        "alone": "‘공공 문서’를 끄면 문서 없이 AI와 이야기할 수 있습니다.",
    },
    "en": {
        "passages": "These are the words of documents that were found, as they stand.",
        "beside": "The document says it so:",
        "none": "No answer was found in the public documents of this service. Try other words, or turn "
        '"Public documents" off for an answer by AI alone, without sources.',
        "near": "Documents on something like it:",
        "same": "same place",
        "hello": "Hello. Ask, and you get an answer out of public documents, with its sources.",
        "who": "This is a service that answers with AI, not a person. "
        "Ask, and you get an answer out of public documents, with its sources.",
        "thanks": "You are welcome. Ask again whenever you like.",
        "unclear": "What would you like to know? Ask in a sentence, and public documents are searched.",
        "examples": "For example:",
        "alone": 'With "Public documents" off you talk with the AI alone, without documents.',
    },
}
_EXAMPLES = {
    "ko": (
        "내 대화가 학습에 쓰이나요?",
        "AI의 답이 맞는지 어떻게 확인하나요?",
        "보이스피싱 전화를 받으면 어떻게 하나요?",
    ),
    "en": (
        "Are my conversations used to train AI?",
        "How do I check whether an answer is right?",
        "What should I do about a voice phishing call?",
    ),
}
"""Questions that the first collection answers."""
_WITH_EXAMPLES = frozenset({"hello", "who", "unclear"})
_MARKUP = re.compile(r"[\\`*_<>#~|$&]")
_LINE_MARKUP = re.compile(r"(?m)^(\s*)([-+=]|\d+[.)])")


def address(citation: Citation) -> str:
    """Where a citation's words are shown on this service."""
    place = urlencode({"from": citation.start, "to": citation.end})
    return f"/source/{quote(citation.document, safe='')}/{citation.version}?{place}#here"


def name(citation: Citation) -> str:
    """A citation's place as people name it."""
    between = " " if citation.facts.kind == "statute" else " › "
    said = dict.fromkeys(filter(None, (citation.facts.title, citation.label)))
    return between.join(said) or citation.document


def markdown(event: Claim | Extracts | NotFound | SmallTalk, language: str, last: str = "") -> str:
    """An event as paragraphs of Markdown; ``language``: ko or en; ``last``: the place that was named last."""
    words = _WORDS[language]
    match event:
        case Claim():
            same = words["same"] if name(event.citation) == last else ""
            return f"{_plain(event.text)} {_link(event.citation, same)}\n\n"
        case Extracts():
            above = words["beside" if event.beside else "passages"]
            return f"{above}\n\n" + "".join(map(_passage, event.citations))
        case NotFound():
            near = _list(event.nearest)
            return f"{words['none']}\n\n" + (f"{words['near']}\n\n{near}\n" if near else "")

        case SmallTalk():
            return f"{words[event.kind]}\n\n" + (_examples(language) if event.kind in _WITH_EXAMPLES else "")


def _examples(language: str) -> str:
    asked = "".join(f"- {each}\n" for each in _EXAMPLES[language])
    return f"{_WORDS[language]['examples']}\n\n{asked}\n{_WORDS[language]['alone']}\n\n"


def _passage(citation: Citation) -> str:
    lines = (line.strip() for line in citation.quote.splitlines())
    return "".join(f"> {_plain(line)}\n" for line in lines) + f"\n{_link(citation)}\n\n"


def _list(citations: Sequence[Citation]) -> str:
    return "".join(dict.fromkeys(f"- {_link(each)}\n" for each in citations))


def _link(citation: Citation, named: str = "") -> str:
    text = _plain((named or name(citation)).translate(str.maketrans("[]", "()")))
    return f"[{text}]({address(citation)})"


def _plain(text: str) -> str:
    """Text in which nothing is markup."""
    escaped = _MARKUP.sub(r"\\\g<0>", " ".join(text.split())).replace("](", "]&#40;")
    return _LINE_MARKUP.sub(lambda found: found[1] + _escaped_end(found[2]), escaped)


def _escaped_end(mark: str) -> str:
    return f"{mark[:-1]}\\{mark[-1]}"
