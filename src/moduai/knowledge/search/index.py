"""The index on disk: one folder, one writer, many readers.

A document is written whole or not at all. It is found by grams when ``add`` returns; ``fill`` adds its
morphemes later, document by document. What was removed is hidden at once, before it leaves the disk. The
index holds nothing that the store does not: one that cannot be opened is built anew from the feed.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec
import tantivy
from msgspec import Struct

from moduai.knowledge.search import rank, tokens
from moduai.knowledge.search.embed import Embedder, nearness
from moduai.knowledge.search.understand import Asked, understand
from moduai.knowledge.types import Found, Parsed, Passage, Query, Stored

FORMAT = "1"
"""Another number: indexes of before are built anew."""
HEAP_BYTES = 48_000_000
CANDIDATES = 24
"""Passages that each way of searching may name."""
LAWS = 4
"""Statutes of the fields of life that a question touches, in which is sought besides."""
POSTINGS = 100_000
"""Entries that one search may read, so that its time does not grow with the number of passages: of a
question's grams the rarest are sought, and those that stand everywhere only order what was found."""
FILL_PASSAGES = 500
"""Passages that one step of ``fill`` reads, about ten CPU-seconds of Kiwi."""
NEARNESS = 0.5
"""How far an embedder may lift a passage: by this share at a nearness of 1."""
_ALWAYS = 10_000_000
_FIELDS = ("body", "title", "head")
_MARK = "mark"


class Status(Struct, frozen=True):
    """What an index holds."""

    documents: int
    passages: int
    waiting: int
    """Documents whose morphemes are still to be filled in."""
    position: int
    """Of the store's feed, as given to ``mark`` and committed; 0: nothing yet, or built anew."""
    bytes: int
    rebuilt: bool
    """The index could not be opened and was thrown away."""
    morphemes: bool
    """Kiwi is in memory."""


class Index:
    """Passages of all collections. Any thread may search; writing is one at a time, by a lock."""

    def __init__(
        self, folder: Path, *, morphemes: tokens.Morphemes | None = None, embedder: Embedder | None = None
    ) -> None:
        self.folder = folder
        self.morphemes = morphemes if morphemes is not None else tokens.Morphemes()
        self.rebuilt = False
        self._closed = False
        self._embedder = embedder
        self._schema = _schema()
        self._lock = Lock()
        self._gone: frozenset[str] = frozenset()
        self._index = self._open()
        self._writer = self._index.writer(HEAP_BYTES, 1)

    def close(self) -> None:
        """Wait for what is being written; the index may not be used after it."""
        with self._lock:
            if not self._closed:
                self._writer.wait_merging_threads()
            self._closed = True

    # writing

    def add(self, documents: Iterable[tuple[Stored, Parsed]], *, position: int | None = None) -> int:
        """Put documents in, each instead of its version before; the number of passages. Found on return.

        ``position``: of the store's feed, kept with them.
        """
        count = 0
        with self._writing(position):
            for stored, parsed in documents:
                self._delete(stored.id)
                count += self._put(stored, _passages(parsed), None)
                self._collections |= {stored.collection}
        return count

    def remove(self, documents: Iterable[str], *, position: int | None = None) -> None:
        """Take documents out. They are not found from this moment on."""
        gone = frozenset(documents)
        self._gone |= gone
        with self._writing(position):
            for document in gone:
                self._delete(document)
        self._gone -= gone

    def fill(self, most: int = FILL_PASSAGES) -> int:
        """Fill in morphemes of about ``most`` passages, slowly; how many documents still wait."""
        taken = self._waiting(most)
        ready = []
        for stored, passages in taken:
            lines = [f"{stored.facts.title} {rank.heading(each, text)} {text}" for _, each, text in passages]
            ready.append((stored, passages, [" ".join(each) for each in self.morphemes.many(lines)]))
        if ready:
            with self._writing(None):
                for stored, passages, morphemes in ready:
                    if self._head(self._searcher, stored.id) == stored:  # else it changed meanwhile
                        self._delete(stored.id)
                        self._put(stored, passages, morphemes)
        return self._count(self._term("waiting", "1"))

    @contextmanager
    def _writing(self, position: int | None) -> Iterator[None]:
        with self._lock:
            try:
                yield
                if position is not None:
                    self._writer.delete_documents_by_term("id", _MARK)
                    self._writer.add_document(
                        _document({"id": _MARK, "data": msgspec.msgpack.encode(position)})
                    )
                    self.position = position
                self._writer.commit()
            except BaseException:
                self._writer.rollback()
                raise
            self._index.reload()
            self._searcher = self._index.searcher()

    def _delete(self, document: str) -> None:
        self._writer.delete_documents_by_term("document", document)
        self._writer.delete_documents_by_term("id", f"={document}")

    def _put(
        self, stored: Stored, passages: list[tuple[int, Passage, str]], morphemes: list[str] | None
    ) -> int:
        facts = stored.facts
        common: dict[str, str | int | bytes] = {
            "document": stored.id,
            "collection": stored.collection,
            "kind": facts.kind,
            "ministry": facts.ministry,
            "since": facts.in_force_from.toordinal() if facts.in_force_from else 0,
            "until": facts.in_force_until.toordinal() if facts.in_force_until else _ALWAYS,
            "title": tokens.line(facts.title),
        }
        level = _level(facts.level)
        for at, (number, passage, text) in enumerate(passages):
            kept = rank.Candidate(
                stored.id, stored.version, number, facts.title, level, facts.language, passage, text
            )
            fields: dict[str, str | int | bytes] = {
                "head": tokens.line(rank.heading(passage, text)),
                "body": tokens.line(text),
                "place": rank.place(facts.title, passage.label),
                "law": rank.law(facts.title) if facts.kind == "statute" else "",
                "morphemes": morphemes[at] if morphemes else "",
                "data": msgspec.msgpack.encode(kept),
            }
            self._writer.add_document(_document(common | fields))
        waiting = "1" if morphemes is None else "0"
        head: dict[str, str | int | bytes] = {
            "id": f"={stored.id}",
            "waiting": waiting,
            "data": msgspec.msgpack.encode(stored),
        }
        self._writer.add_document(_document(head))
        return len(passages)

    def _waiting(self, most: int) -> list[tuple[Stored, list[tuple[int, Passage, str]]]]:
        searcher, taken, count = self._searcher, [], 0
        for _, address in searcher.search(self._term("waiting", "1"), 200, count=False).hits:
            stored = msgspec.msgpack.decode(searcher.doc(address).get_first("data"), type=Stored)
            here = [_candidate(searcher, at) for at in self._of(searcher, stored.id)]
            passages = sorted((each.number, each.passage, each.text) for each in here)
            taken.append((stored, passages))
            count += len(passages)
            if count >= most:
                break
        return taken

    def _of(self, searcher: Any, document: str) -> list[Any]:
        query = self._term("document", document)
        count = searcher.search(query, 1).count
        return [at for _, at in searcher.search(query, max(1, count), count=False).hits]

    # reading

    def search(self, query: Query, allowed: frozenset[str] | None = None) -> list[Found]:
        """Passages that answer, best first. ``allowed``: collections that the asker may see; None: all.

        Fails closed: what is in no allowed collection is no candidate.
        """
        searcher, gone = self._searcher, self._gone
        asked = understand(query.text, self.morphemes, lambda title: searcher.doc_freq("law", title) > 0)
        limits = self._limits(query, asked, allowed)
        if limits is None or query.limit < 1:
            return []
        named = {}
        for way in self._ways(searcher, asked):
            sought = tantivy.Query.boolean_query([*limits, (tantivy.Occur.Must, way)]) if limits else way
            for _, at in searcher.search(sought, max(CANDIDATES, query.limit), count=False).hits:
                named[at.segment_ord, at.doc] = at
        candidates = [
            each for at in named.values() if (each := _candidate(searcher, at)).document not in gone
        ]
        found = rank.order(asked, rank.terms(asked, self._frequency(searcher), searcher.num_docs), candidates)
        best = self._near(asked, found)[: query.limit]
        return [
            _found(score, each, head) for score, each in best if (head := self._head(searcher, each.document))
        ]

    def _ways(self, searcher: Any, asked: Asked) -> Iterator[Any]:
        """The queries that name candidates: by article, by grams, by morphemes."""
        if asked.places:
            yield tantivy.Query.term_set_query(self._schema, "place", list(asked.places))
        grams = dict.fromkeys((*asked.grams, *(gram for each in asked.added.values() for gram in each)))
        if telling := self._rarest(searcher, "body", grams):
            yield self._any(_FIELDS, telling)
            if asked.laws:
                yield self._within(sorted(asked.laws, key=lambda law: -asked.laws[law])[:LAWS], grams)
        if telling := self._rarest(searcher, "morphemes", dict.fromkeys((*asked.morphemes, *asked.added))):
            yield self._any(("morphemes",), telling)

    def _within(self, laws: Sequence[str], grams: Iterable[str]) -> Any:
        """Passages of these laws that share grams with the question, frequent ones too."""
        law = tantivy.Query.const_score_query(self._among("law", laws), 0.0)
        return tantivy.Query.boolean_query(
            [(tantivy.Occur.Must, law), (tantivy.Occur.Must, self._any(("body", "head"), list(grams)))]
        )

    def _rarest(self, searcher: Any, field: str, words: Iterable[str]) -> list[str]:
        """The rarest words that the index knows, as many as may be read; one at least."""
        known = sorted((count, word) for word in words if (count := searcher.doc_freq(field, word)))
        kept: list[str] = []
        read = 0
        for count, word in known:
            read += count
            if kept and read > POSTINGS:
                break
            kept.append(word)
        return kept

    def _any(self, fields: Sequence[str], words: Sequence[str]) -> Any:
        """Flat, so that tantivy can skip what cannot be among the best."""
        return tantivy.Query.boolean_query(
            [
                (tantivy.Occur.Should, tantivy.Query.term_query(self._schema, field, word, "freq"))
                for field in fields
                for word in words
            ]
        )

    def _limits(
        self, query: Query, asked: Asked, allowed: frozenset[str] | None
    ) -> list[tuple[Any, Any]] | None:
        """The filters of a query; None where nothing can be found, empty where everything may be."""
        seen = self._collections if allowed is None else self._collections & allowed
        if query.collections:
            seen &= frozenset(query.collections)
        if not seen:
            return None
        limits = []
        if seen != self._collections:
            limits.append(self._among("collection", seen))
        if query.kinds:
            limits.append(self._among("kind", query.kinds))
        if query.ministry:
            limits.append(self._among("ministry", (query.ministry,)))
        if day := query.in_force_on or asked.day:
            limits += self._in_force(day)
        return [(tantivy.Occur.Must, tantivy.Query.const_score_query(each, 0.0)) for each in limits]

    def _in_force(self, day: date) -> list[Any]:
        number = tantivy.FieldType.Integer
        ranged = tantivy.Query.range_query
        return [
            ranged(self._schema, "since", number, 0, day.toordinal()),
            ranged(self._schema, "until", number, day.toordinal(), _ALWAYS),
        ]

    def _among(self, field: str, values: Iterable[str]) -> Any:
        return tantivy.Query.term_set_query(self._schema, field, sorted(values))

    def _frequency(self, searcher: Any) -> Callable[[str], int]:
        known: dict[str, int] = {}

        def frequency(gram: str) -> int:
            if gram not in known:
                known[gram] = searcher.doc_freq("body", gram)
            return known[gram]

        return frequency

    def _near(self, asked: Asked, found: list[tuple[float, Any]]) -> list[tuple[float, Any]]:
        if self._embedder is None or not found:
            return found
        best = found[:20]
        near = nearness(self._embedder, asked.text, [f"{each.title} {each.text}" for _, each in best])
        lifted = [(score * (1 + NEARNESS * one), each) for (score, each), one in zip(best, near, strict=True)]
        return sorted(lifted, key=lambda one: -one[0]) + found[20:]

    # what is there

    def status(self) -> Status:
        """What the index holds now."""
        documents = self._count(self._among("waiting", ("0", "1")))
        return Status(
            documents=documents,
            passages=self._searcher.num_docs - documents - (1 if self.position else 0),
            waiting=self._count(self._term("waiting", "1")),
            position=self.position,
            bytes=sum(each.stat().st_size for each in self.folder.iterdir() if each.is_file()),
            rebuilt=self.rebuilt,
            morphemes=self.morphemes.ready,
        )

    def _count(self, query: Any) -> int:
        return int(self._searcher.search(query, 1).count)

    def _term(self, field: str, value: str) -> Any:
        return tantivy.Query.term_query(self._schema, field, value)

    def _stored(self, searcher: Any, key: str) -> bytes | None:
        for _, at in searcher.search(self._term("id", key), 1, count=False).hits:
            return bytes(searcher.doc(at).get_first("data"))
        return None

    def _head(self, searcher: Any, document: str) -> Stored | None:
        data = self._stored(searcher, f"={document}")
        return None if data is None else msgspec.msgpack.decode(data, type=Stored)

    def _named(self) -> frozenset[str]:
        """The collections that have passages."""
        counted = {"names": {"terms": {"field": "collection", "size": 10_000}}}
        found = self._searcher.aggregate(tantivy.Query.all_query(), counted)
        return frozenset(each["key"] for each in found["names"]["buckets"])

    def _open(self) -> Any:
        """The index of the folder; a new one where there is none, or none that can be read. Fails closed."""
        marked = self.folder / "format"
        if marked.is_file() and marked.read_text() == FORMAT:
            try:
                index = tantivy.Index(self._schema, str(self.folder))
                self._read(index.searcher())
            except (ValueError, OSError, RuntimeError, msgspec.DecodeError):
                self.rebuilt = True
            else:
                return index
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(mode=0o700, parents=True)
        index = tantivy.Index(self._schema, str(self.folder))
        marked.write_text(FORMAT)
        self._read(index.searcher())
        return index

    def _read(self, searcher: Any) -> None:
        """What is held in memory of the index. Raises where it is broken."""
        self._searcher = searcher
        position = self._stored(searcher, _MARK)
        self.position = 0 if position is None else msgspec.msgpack.decode(position, type=int)
        self._collections = self._named()


def _schema() -> Any:
    build = tantivy.SchemaBuilder()
    for name in ("id", "document", "waiting", "kind", "ministry", "place", "law"):
        build.add_text_field(name, tokenizer_name="raw", index_option="basic")
    build.add_text_field("collection", tokenizer_name="raw", index_option="basic", fast=True)
    for name in (*_FIELDS, "morphemes"):
        build.add_text_field(name, tokenizer_name="whitespace", index_option="freq")
    for name in ("since", "until"):
        build.add_integer_field(name, indexed=True, fast=True)
    build.add_bytes_field("data", stored=True)
    return build.build()


def _document(fields: Mapping[str, str | int | bytes]) -> Any:
    made = tantivy.Document()
    for name, value in fields.items():
        if isinstance(value, bytes):
            made.add_bytes(name, value)
        elif isinstance(value, int):
            made.add_integer(name, value)
        elif value:
            made.add_text(name, value)
    return made


def _candidate(searcher: Any, at: Any) -> rank.Candidate:
    return msgspec.msgpack.decode(searcher.doc(at).get_first("data"), type=rank.Candidate)


def _passages(parsed: Parsed) -> list[tuple[int, Passage, str]]:
    """The passages that say something, with their numbers and words."""
    cut = [(number, each, parsed.text[each.start : each.end]) for number, each in enumerate(parsed.passages)]
    return [each for each in cut if each[2].strip()]


def _level(level: str) -> str:
    """The rank of a statute in one word, from its source's own."""
    if level in rank.LEVELS:
        return level
    if level in {"법률", "헌법"}:
        return "act"
    return "decree" if level in {"대통령령", "시행령"} else "rule"


def _found(score: float, each: rank.Candidate, stored: Stored) -> Found:
    return Found(
        document=each.document,
        version=each.version,
        number=each.number,
        passage=each.passage,
        text=each.text,
        facts=stored.facts,
        collection=stored.collection,
        score=round(score, 4),
    )
