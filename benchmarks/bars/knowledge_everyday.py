"""everyday: whether the article that answers a citizen's question stands in front, in all statutes.

Three ways are compared. *Grams*: BM25 over the grams of title, article name and text, as one field. *Kiwi*:
the same, its first passages ordered anew with BM25 over morphemes added; morphemes are found for those
passages alone, for all articles would take half an hour. *Ours*: the index as it is while Kiwi's field is not
yet filled in, which is how it answers on its first day.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import tantivy
from msgspec import Struct

from benchmarks.bars import Bench, Measured, Row, knowledge_data
from moduai.knowledge.search import rank, tokens
from moduai.knowledge.search.index import Index
from moduai.knowledge.types import Query

FILE = Path(__file__).resolve().parents[1] / "data" / "everyday.jsonl"
MUST, WANT = 1.25, 1.6
"""Ours beside grams alone: the ratio of their mean reciprocal ranks on the test half."""
DEEP = 20
"""Places that are looked at; an article behind them counts as not found."""
ANEW = 30
"""Passages from the top that morphemes order anew."""
K1, B = 1.2, 0.75
BATCH, QUICK_LAWS = 500, 60

Name = tuple[str, str]
"""The title of a statute and an article: 민법, 제750조."""


class Gold(Struct, frozen=True):
    """An article that answers."""

    title: str
    article: str


class Asked(Struct, frozen=True):
    """A question in a citizen's words."""

    part: str
    question: str
    gold: tuple[Gold, ...]


class Plain:
    """All articles in one field of grams."""

    def __init__(self, folder: Path) -> None:
        build = tantivy.SchemaBuilder()
        build.add_text_field("grams", tokenizer_name="whitespace", index_option="freq")
        build.add_bytes_field("data", stored=True)
        self._schema = build.build()
        self._index = tantivy.Index(self._schema, str(folder))
        self._writer = self._index.writer(48_000_000, 1)

    def add(self, laws: Iterable[knowledge_data.Document]) -> None:
        """Put laws in; found after ``commit``."""
        for stored, parsed in laws:
            for passage in parsed.passages:
                text = parsed.text[passage.start : passage.end]
                whole = f"{stored.facts.title} {rank.heading(passage, text)} {text}"
                one = tantivy.Document()
                one.add_text("grams", tokens.line(whole))
                one.add_bytes("data", msgspec.msgpack.encode((stored.facts.title, passage.label, whole)))
                self._writer.add_document(one)

    def commit(self) -> None:
        """Have everything found; nothing may be added after it."""
        self._writer.commit()
        self._writer.wait_merging_threads()
        self._index.reload()

    def best(self, question: str, most: int) -> list[tuple[float, Name, str]]:
        """Passages with their scores and words, best first."""
        searcher = self._index.searcher()
        should = [
            (tantivy.Occur.Should, tantivy.Query.term_query(self._schema, "grams", gram, "freq"))
            for gram in dict.fromkeys(tokens.grams(question))
        ]
        found = searcher.search(tantivy.Query.boolean_query(should), most, count=False).hits
        return [(score, *_stored(searcher, at)) for score, at in found]


def _stored(searcher: Any, at: Any) -> tuple[Name, str]:
    title, label, whole = msgspec.msgpack.decode(searcher.doc(at).get_first("data"))
    return (title, label), whole


def everyday(bench: Bench) -> Measured:
    """Recall and MRR of the three ways on both halves; on the test half the ratio of ours to grams."""
    asked = [msgspec.json.decode(line, type=Asked) for line in FILE.read_bytes().splitlines()]
    asked = asked[:: 10 if bench.quick else 1]
    place = bench.place("everyday")
    index, plain = Index(place / "index"), Plain(bench.place("everyday-grams"))
    rest = knowledge_data.statutes(place, most=QUICK_LAWS if bench.quick else 0)
    while laws := list(islice(rest, BATCH)):
        index.add(laws)
        plain.add(laws)
    plain.commit()
    index.morphemes.load()
    kiwi = _Kiwi(plain, index.morphemes, [each.question for each in asked])

    def ours(question: str) -> list[Name]:
        found = index.search(Query(text=question, limit=DEEP))
        return [(one.facts.title, one.passage.label) for one in found]

    ways: dict[str, Callable[[str], list[Name]]] = {
        "grams": lambda question: [name for _, name, _ in plain.best(question, DEEP)],
        "Kiwi + grams": kiwi.best,
        "ours": ours,
    }
    notes, test = [], {}
    for part in ("dev", "test"):
        half = [each for each in asked if each.part == part]
        for name, way in ways.items():
            ranks = [_rank(way(each.question), each) for each in half]
            test[name] = _mrr(ranks)
            recalls = ", ".join(f"R@{most} {_recall(ranks, most):.3f}" for most in (1, 5, 10))
            notes.append(f"{part}, {len(half)} questions, {name}: MRR {test[name]:.4f}, {recalls}")
    notes.append(f"Kiwi + grams orders the first {ANEW} of grams anew; ours without Kiwi's field filled in")
    found = any(ours(each.question) for each in asked)
    index.close()
    ratio = round(test["ours"] / test["grams"], 2) if test["grams"] else 0.0
    row = Row("everyday", [ratio, round(test["ours"], 4)], f">= {MUST}", ratio >= MUST)
    return Measured(row, notes, broken=not found)


class _Kiwi:
    """Grams and morphemes together. How rare a morpheme is, is counted in the passages that were read."""

    def __init__(self, plain: Plain, morphemes: tokens.Morphemes, questions: Sequence[str]) -> None:
        self._plain, self._morphemes = plain, morphemes
        self._words: dict[Name, Counter[str]] = {}
        for question in questions:
            for _, name, whole in plain.best(question, ANEW):
                if name not in self._words:
                    self._words[name] = Counter(morphemes.of(whole))
        self._seen = Counter(word for words in self._words.values() for word in words)
        lengths = [words.total() for words in self._words.values()]
        self._middle = sum(lengths) / max(1, len(lengths))

    def best(self, question: str) -> list[Name]:
        """Articles, best first."""
        sought = dict.fromkeys(self._morphemes.of(question))
        found = self._plain.best(question, ANEW)
        ordered = sorted(found, key=lambda one: -one[0] - self._score(sought, self._words[one[1]]))
        return [name for _, name, _ in ordered]

    def _score(self, sought: dict[str, None], words: Counter[str]) -> float:
        spread = K1 * (1 - B + B * words.total() / self._middle)
        return sum(
            math.log1p((len(self._words) - self._seen[word] + 0.5) / (self._seen[word] + 0.5))
            * words[word] * (K1 + 1) / (words[word] + spread)
            for word in sought
        )  # fmt: skip


def _rank(found: list[Name], asked: Asked) -> int:
    gold = {(each.title, each.article) for each in asked.gold}
    return next((at for at, name in enumerate(found[:DEEP], 1) if name in gold), 0)


def _mrr(ranks: list[int]) -> float:
    return sum(1 / rank for rank in ranks if rank) / max(1, len(ranks))


def _recall(ranks: list[int], most: int) -> float:
    return sum(0 < rank <= most for rank in ranks) / max(1, len(ranks))
