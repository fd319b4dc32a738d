"""neutral: what is of Korea and stands elsewhere than in its pack.

Looked at is what runs or is shown below ``src/moduai``: literals of the code without docstrings, templates,
scripts, styles, data. The words that are looked for come from Korea's pack itself.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bars import Bench, Measured, Row
from moduai.gateway.policy_text import parse
from moduai.packs.pack import Pack
from moduai.packs.read import read
from moduai.packs.schema import Office, PersonalData, Region
from moduai.packs.where import SHIPPED, shipped

SOURCE = SHIPPED.parent
READ = {".py", ".toml", ".html", ".js", ".css", ".md", ".json", ".txt"}
MAY: dict[str, str] = {
    "packs/kr/": "the pack itself",
    "web/templates/about.html": "what the name Modu means",
    "web/static/modu.css": "the source of its values: a government's design system",
    "knowledge/box/": "documents that come with Modu; a setting leaves them out",
    "knowledge/readers/": "the form of Korean law and decisions; other documents are read by other readers",
    "knowledge/answer/": "closed lists of two languages, by which citations are checked",
    "knowledge/search/": "how one language is cut into words; others are cut by their letters",
    "knowledge/connectors/": "forms of two of Korea's open services; other places are read without them",
    "knowledge/following.py": "Kiwi's language: a search warms it up; a line says when it cannot be used",
    "desk/shown.py": "page texts of answers, a table by language",
    "history/export.py": "page texts of exports, in both languages of the pages",
    "gateway/policy.toml": "titles of classes, by language of the pages; a pack brings its own",
    "planner/report/words.toml": "texts of reports, in both languages of the pages",
    "planner/scenarios/": "titles of scenarios, by language of the pages",
    "cli/up.py": "a greeting that the model in the box knows",
}
"""What may speak of Korea, and why: paths below ``src/moduai``."""
SAID: dict[str, str] = {
    "모두": "the name of Modu",
    "한국어": "a language's own name in the menu of languages",
    "Search Korean by morphemes too, for 300 MB of memory; else by pairs of letters.": "what Kiwi is for",
}
"""Words that are no country's matter."""
EVERYWHERE = frozenset({"Address"})
"""Kinds of personal data that every country has."""
_HANGUL = r"[\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3]+"
_CODES = r"\b(?:KR-\d\d|KRW|Korean?s?|won|Asia/Seoul)\b|₩"


def neutral(bench: Bench) -> Measured:
    """Places where Korea stands in the code."""
    found = list(places(read(shipped()["kr"], parse)))
    return Measured(Row("neutral", len(found), "= 0", not found), found)


def places(pack: Pack, source: Path = SOURCE) -> Iterator[str]:
    """File, line and word of each."""
    rows: tuple[Region | Office | PersonalData, ...] = (*pack.regions, *pack.offices, *pack.personal)
    names = "|".join(re.escape(one.name["en"]) for one in rows if one.name["en"] not in EVERYWHERE)
    wanted = re.compile(rf"{_CODES}|\b(?:{names})\b|{_HANGUL}")
    for file in sorted(source.rglob("*")):
        inside = file.relative_to(source).as_posix()
        if file.suffix not in READ or inside.startswith((*MAY, "_compiled/")):
            continue
        text = file.read_text("utf-8")
        if not wanted.search(text):
            continue
        for line, words in _literals(text) if file.suffix == ".py" else enumerate(text.split("\n"), 1):
            for each in wanted.finditer(re.sub("|".join(map(re.escape, SAID)), "", words)):
                yield f"{inside}:{line}: {each[0]}"


def _literals(code: str) -> Iterator[tuple[int, str]]:
    """Texts of a module with their lines, docstrings left out."""
    tree = ast.parse(code)
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone:
            yield node.lineno, node.value
