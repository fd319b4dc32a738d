"""The index on disk: one folder, one writer, many readers.

A document is written whole or not at all. It is found by grams when ``add`` returns; ``fill`` adds its
morphemes later, document by document. What was removed is hidden at once, before it leaves the disk. Of a few
documents that are added what changed stands in memory until ``write``, or until the disk is written for
another reason; meanwhile more may be added. Who writes to disk gives way to who searches or changes a
document, passage by passage. The index holds nothing that the store does not: one
that is damaged is built anew from the feed, and so is what stood in memory.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import date
from functools import cache, partial
from pathlib import Path
from threading import Lock, get_ident
from typing import Any, NamedTuple

import msgspec
import tantivy
from msgspec import Struct

from moduai.knowledge.search import files, rank, tokens
from moduai.knowledge.search.embed import Embedder, nearness
from moduai.knowledge.search.fresh import Fresh, Way
from moduai.knowledge.search.passages import Changed, Cut, Head, New, candidate, changed, cut, words
from moduai.knowledge.search.understand import Asked, understand
from moduai.knowledge.types import Aside, Facts, Found, Parsed, Query, Stored

FORMAT = "5"
"""Another number: indexes of before are built anew."""
HEAP_BYTES = 48_000_000
CANDIDATES = 10
"""Passages that each way of searching may name."""
LAWS, WITHIN = 4, 32
"""Statutes of the fields of life that a question touches: in them is sought besides, by so many grams."""
POSTINGS, MOST_SOUGHT = 30_000, 16
"""Entries that one search may read, so that its time does not grow with the number of passages, and the most
grams of a long question: the rarest are sought, and those that stand everywhere only order what was found."""
FILL_PASSAGES = 100
"""Passages that one step of ``fill`` reads, a CPU-second of Kiwi or two; a larger document is read whole."""
GIVE_WAY_S, MOST_WAY_S, READ_WAY_S = 0.002, 0.05, 2.0
"""How long a passage waits while somebody searches, to be looked at again; at most to be written, and at most
to be read by Kiwi, which takes a core for tens of milliseconds.
"""
JUST_S = 0.05
"""So shortly after a search another one is expected."""
FRESH_PASSAGES, FRESH_AT_ONCE = 5_000, 2_000
"""Documents with more passages than these, and more that are given at once, are written to disk."""
HEADS = 4_000
"""Documents of which it is remembered what is known of them: 10 MB at most, about."""
QUIET_S, MOST_PATIENCE_S = 0.3, 5.0
"""What was filled in is written when no document was changed for so long, or after this time in any case."""
MOST_ASIDE = 100
"""Documents that are set aside and named in the status."""
ATTEMPTS = 2
"""A document in which the process ended so often, while Kiwi read it, is not read by Kiwi again."""
NEAREST, NEARNESS = 5, 0.5
"""Passages that an embedder reads, and how far it may lift one: by this share at a nearness of 1."""
_ALWAYS = 10_000_000
_MARK = "mark"
_WAITING, _FILLED, _PASSAGE, _ASIDE = "1", "0", "p", "!"
"""In the field ``waiting``: of a document that waits, of one that does not, of a passage that waits, and of
the record that says why a document was set aside.
"""


class Status(Struct, frozen=True):
    """What an index holds."""

    documents: int
    passages: int
    waiting: int
    """Passages whose morphemes are still to be filled in."""
    aside: tuple[Aside, ...]
    """Documents that could not be indexed, or not by morphemes; some of them, where they are many."""
    position: int
    """Of the store's feed, as given to ``mark`` and committed; 0: nothing yet, or built anew."""
    bytes: int
    rebuilt: str
    """Why the index that was there was thrown away; empty: it was not, or there was none."""
    morphemes: bool
    """Kiwi is in memory."""


Fields = dict[str, str | int | bytes | list[str]]
"""What tantivy is to hold, by field."""
Frequency = Callable[[str, str], int]
"""Passages that have a word, by field and word."""


class _View(NamedTuple):
    """What a search sees, of one moment."""

    disk: Any
    fresh: Fresh
    documents: Mapping[str, Changed]
    """Those that are newer than on disk."""
    passages: int
    """Of those."""
    heads: dict[str, Stored]
    """What was asked before of documents on disk."""

    @property
    def size(self) -> int:
        """Passages, about."""
        return int(self.disk.num_docs) + self.fresh.held

    def frequency(self, field: str, word: str) -> int:
        """Passages that have a word."""
        return int(self.disk.doc_freq(field, word)) + self.fresh.frequency(field, word)

    def rarity(self, field: str, word: str) -> float:
        """What it says of a passage that it has a word."""
        return math.log1p(self.size / (1 + self.frequency(field, word)))

    def stored(self, document: str) -> Stored | None:
        """What is known of a document without asking the disk."""
        newer = self.documents.get(document)
        return self.heads.get(document) if newer is None else newer.new.stored

    def now(self, found: rank.Candidate) -> rank.Candidate | None:
        """What a passage found on disk is now; None: it is gone."""
        newer = self.documents.get(found.document)
        return found if newer is None else newer.now(found)


class _Limits(NamedTuple):
    """What may be found at all."""

    collections: frozenset[str]
    kinds: tuple[str, ...]
    """None named: all."""
    ministry: str
    day: date | None
    """In force then; None: ever."""

    def meet(self, stored: Stored) -> bool:
        """Whether a document may be."""
        facts = stored.facts
        since, until = _in_force(facts)
        return (
            stored.collection in self.collections
            and (not self.kinds or facts.kind in self.kinds)
            and (not self.ministry or self.ministry in _ministries(facts))
            and (self.day is None or since <= self.day.toordinal() <= until)
        )


class Index:
    """Passages of all collections. Any thread may search; writing is one at a time, by a lock."""

    def __init__(
        self, folder: Path, *, morphemes: tokens.Morphemes | None = None, embedder: Embedder | None = None
    ) -> None:
        self.folder = folder
        self.morphemes = morphemes if morphemes is not None else tokens.Morphemes()
        self.rebuilt = ""
        self._closed = False
        self._embedder = embedder
        self._schema = _schema()
        self._lock = Lock()
        """Of who writes to disk."""
        self._adding = Lock()
        """Of who changes what stands in memory: held for milliseconds, within the other one or alone."""
        self._gone: frozenset[str] = frozenset()
        self._first: set[int] = set()
        """Threads to which others give way."""
        self._changed = self._searched = 0.0
        self._told: tuple[_View | None, Status | None] = (None, None)
        self._told_disk: tuple[Any, Status | None] = (None, None)
        self._fresh = Fresh()
        self._touched: set[str] = set()
        self._index = self._open()
        self._writer = self._index.writer(HEAP_BYTES, 1)

    def close(self) -> None:
        """Wait for what is being written; the index may not be used after it. What stands in memory is
        written, or where it cannot be comes again from the feed.
        """
        with suppress(Exception):
            self.write()
        with self._lock:
            if not self._closed:
                self._writer.wait_merging_threads()
            self._closed = True

    # writing

    def add(self, documents: Iterable[tuple[Stored, Parsed]], *, position: int | None = None) -> int:
        """Put documents in, each instead of its version before; the number of passages. Found on return.

        ``position``: of the store's feed, kept with them.
        """
        given = [cut(stored, parsed) for stored, parsed in documents]
        count = sum(len(each.passages) for each in given)
        fresh = max(self._fresh.passages, self._fresh.held) + count
        if self._searcher.num_docs and count <= FRESH_AT_ONCE and fresh <= FRESH_PASSAGES:
            with self._going_first():
                self._add_fresh(given, position)
        else:
            made = [(each.stored.id, self._whole(each)) for each in given]
            with self._writing(position):
                self._put(made)
        self._collections |= {each.stored.collection for each in given}
        self._changed = time.monotonic()
        return count

    def _add_fresh(self, given: Iterable[New], position: int | None) -> None:
        with self._adding:
            self._fresh.add(self._beside(self._view.disk, given))
            if position is not None:
                self.position = position
            self._look(self._view.disk, self._view.heads)

    def _beside(self, disk: Any, given: Iterable[New]) -> Iterator[Changed]:
        """Documents beside what the disk has of them."""
        for new in given:
            old = self._stored(disk, f"={new.stored.id}")
            yield changed(new, None if old is None else msgspec.msgpack.decode(old, type=Head))

    def _put(self, made: Iterable[tuple[str, Iterable[Any]]]) -> None:
        for document, parts in made:
            self._delete(document)
            for each in parts:
                self._writer.add_document(each)

    @property
    def unwritten(self) -> bool:
        """Whether something stands in memory alone."""
        return bool(self._fresh.documents)

    def write(self) -> None:
        """Have on disk what stands in memory; nothing where there is nothing."""
        if self.unwritten:
            with self._writing(None):
                pass

    def remove(self, documents: Iterable[str], *, position: int | None = None) -> None:
        """Take documents out. They are not found from this moment on."""
        gone = frozenset(documents)
        self._gone |= gone
        with self._writing(position):
            for document in gone:
                self._delete(document)
        self._gone -= gone

    def set_aside(self, documents: Iterable[Aside], *, position: int | None = None) -> None:
        """Leave these out, each with its reason, until it is added or removed."""
        with self._writing(position):
            for each in documents:
                self._delete(each.document)
                self._mark_aside(each)

    def fill(self, most: int = FILL_PASSAGES) -> int:
        """Fill in morphemes of about ``most`` passages, slowly; how many passages still wait. A document that
        Kiwi cannot read is found by grams alone, and is set aside with the reason.
        """
        tried = self.folder / "filling"
        for head, passages in self._waiting(most):
            stored = head.stored
            morphemes, failed = self._read_slowly(tried, stored, passages)
            made = self._whole(New(stored, passages, head.signs), morphemes)
            self._await_quiet()
            with self._writing(None):
                if self._heads(self._view, [stored.id]).get(stored.id) == stored:  # else it changed meanwhile
                    self._put([(stored.id, made)])
                    if failed:
                        self._mark_aside(Aside(stored.id, stored.version, failed))
        tried.unlink(missing_ok=True)
        return _count(self._searcher, self._term("waiting", _PASSAGE))

    def _await_quiet(self) -> None:
        """Who changes documents goes first: wait until nobody has for a while, but not for ever."""
        until = time.monotonic() + MOST_PATIENCE_S
        while time.monotonic() < min(self._changed + QUIET_S, until) and not self._closed:
            time.sleep(QUIET_S / 10)

    def _read_slowly(self, tried: Path, stored: Stored, passages: Cut) -> tuple[list[str], str]:
        """The morphemes of each passage, or none and why. ``tried`` names what is being read, for whoever
        comes after us where the process ends in it.
        """
        name = f"{stored.id} {stored.version}"
        if tried.exists() and tried.read_text("utf-8").splitlines().count(name) >= ATTEMPTS:
            return [""] * len(passages), "the process ended whenever its morphemes were looked for"
        with tried.open("a", encoding="utf-8") as file:
            file.write(f"{name}\n")
        try:
            return [" ".join(each) for each in self.morphemes.many(self._lines(stored, passages))], ""
        except (ValueError, RuntimeError, TypeError, LookupError) as error:  # MemoryError is nobody's fault
            return [""] * len(passages), f"its morphemes cannot be found: {type(error).__name__}"

    def _lines(self, stored: Stored, passages: Cut) -> Iterator[str]:
        for _, passage, text in passages:
            self._give_way(READ_WAY_S, JUST_S)
            yield f"{stored.facts.title} {rank.heading(passage, text)} {text}"

    def _give_way(self, most_s: float = MOST_WAY_S, just_s: float = 0.0) -> None:
        """Wait while somebody else goes first, or searched just now."""
        until = time.monotonic() + most_s
        while (now := time.monotonic()) < until and (self._first or now < self._searched + just_s):
            if get_ident() in self._first:
                return
            time.sleep(GIVE_WAY_S)

    @contextmanager
    def _going_first(self) -> Iterator[None]:
        """Others give way to this thread."""
        self._first.add(me := get_ident())
        try:
            yield
        finally:
            self._first.discard(me)

    @contextmanager
    def _writing(self, position: int | None) -> Iterator[None]:
        """One change of what is on disk; what stands in memory goes first."""
        standing = self._fresh.documents
        ready = {name: self._whole(each.new) for name, each in standing.items()}  # slow: not under the lock
        with self._lock:
            with self._adding:
                taken, mark = self._fresh.documents, self.position if position is None else position
            self._touched.clear()
            try:
                self._put(
                    (name, ready[name] if standing.get(name) is each else self._whole(each.new))
                    for name, each in taken.items()
                )
                yield
                self._mark(mark)
                self._writer.commit()
            except BaseException:
                self._take_back()
                raise
            self._marked = mark
            self._index.reload()
            with self._going_first(), self._adding:
                self._renew(taken)
                self.position = self.position if position is None else position

    def _mark(self, position: int) -> None:
        if position != self._marked:
            self._writer.delete_documents_by_term("id", _MARK)
            self._writer.add_document(_document({"id": _MARK, "data": msgspec.msgpack.encode(position)}))

    def _renew(self, written: Mapping[str, Changed]) -> None:
        """Look at the disk as it is now; in memory stays what was added while these were written."""
        disk, fresh, heads = self._index.searcher(), Fresh(), dict(self._view.heads)
        later = [each.new for name, each in self._fresh.documents.items() if written.get(name) is not each]
        fresh.add(self._beside(disk, later))
        for document in self._touched:
            heads.pop(document, None)
        self._fresh = fresh
        self._look(disk, heads)

    def _look(self, disk: Any, heads: dict[str, Stored]) -> None:
        """Let searches see what is there now."""
        self._view = _View(disk, self._fresh, self._fresh.documents, self._fresh.passages, heads)

    @property
    def _searcher(self) -> Any:
        return self._view.disk

    def _take_back(self) -> None:
        """What was not committed; a writer that cannot even do that is replaced."""
        try:
            self._writer.rollback()
        except Exception:  # noqa: BLE001  (whatever native code says)
            del self._writer  # only one may be, and it goes with its last name
            self._writer = self._index.writer(HEAP_BYTES, 1)

    def _delete(self, document: str) -> None:
        self._touched.add(document)
        self._writer.delete_documents_by_term("document", document)
        self._writer.delete_documents_by_term("id", f"={document}")
        self._writer.delete_documents_by_term("id", f"!{document}")

    def _mark_aside(self, one: Aside) -> None:
        fields: Fields = {"id": f"!{one.document}", "waiting": _ASIDE}
        self._writer.add_document(_document(fields | {"data": msgspec.msgpack.encode(one)}))

    def _whole(self, new: New, morphemes: list[str] | None = None) -> list[Any]:
        """What tantivy holds of a document: its passages, and one for the whole."""
        waits = morphemes is None
        head: Fields = {
            "id": f"={new.stored.id}",
            "waiting": _WAITING if waits else _FILLED,
            "data": msgspec.msgpack.encode(Head(new.stored, new.signs, waits)),
        }
        return [*self._documents(new.stored, new.passages, morphemes), _document(head)]

    def _documents(self, stored: Stored, passages: Cut, morphemes: list[str] | None) -> Iterator[Any]:
        """What tantivy holds of passages. Python's work, so it gives way to those who search."""
        facts = stored.facts
        since, until = _in_force(facts)
        common: Fields = {
            "document": stored.id,
            "collection": stored.collection,
            "kind": facts.kind,
            "ministry": _ministries(facts),
            "since": since,
            "until": until,
        }
        for at, (number, passage, text) in enumerate(passages):
            self._give_way()
            fields: Fields = {
                **words(stored, passage, text),
                "morphemes": morphemes[at] if morphemes else "",
                "waiting": _PASSAGE if morphemes is None else "",
                "data": msgspec.msgpack.encode(candidate(stored, number, passage, text)),
            }
            yield _document(common | fields)

    def _waiting(self, most: int) -> list[tuple[Head, Cut]]:
        searcher, count = self._searcher, 0
        taken: list[tuple[Head, Cut]] = []
        for _, address in searcher.search(self._term("waiting", _WAITING), 200, count=False).hits:
            head = msgspec.msgpack.decode(searcher.doc(address).get_first("data"), type=Head)
            here = [_candidate(searcher, at) for at in self._of(searcher, head.stored.id)]
            passages = sorted((each.number, each.passage, each.text) for each in here)
            taken.append((head, passages))
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
        try:
            with self._going_first():
                return self._search(query, allowed)
        finally:
            self._searched = time.monotonic()

    def _search(self, query: Query, allowed: frozenset[str] | None) -> list[Found]:
        view, gone = self._view, self._gone
        asked = understand(query.text, self.morphemes, lambda title: view.frequency("law", title) > 0)
        limits = self._limits(query, asked, allowed)
        if not limits.collections or query.limit < 1:
            return []
        frequency = cache(view.frequency)
        ways = list(self._ways(asked, frequency))
        candidates = self._named_now(view, ways, limits, max(CANDIDATES, query.limit))
        terms = rank.terms(asked, partial(frequency, "grams"), view.size)
        seen = [each for each in candidates if each.document not in gone]
        found = [one for one in rank.order(asked, terms, seen) if one[0] > 0]
        best = self._near(asked, found)[: query.limit]
        heads = self._heads(view, {each.document for _, each in best})
        return [_found(score, each, heads[each.document]) for score, each in best if each.document in heads]

    def _named_now(self, view: _View, ways: list[Way], limits: _Limits, most: int) -> list[rank.Candidate]:
        """Candidates as they are now. The limits are asked of the disk, and of what is newer here."""
        filters, newer = self._filters(limits), view.documents
        if filters and newer:
            newer = {name: each for name, each in newer.items() if limits.meet(each.new.stored)}
            either = [tantivy.Query.boolean_query(filters), self._among("document", newer)]
            filters = [_must(tantivy.Query.boolean_query([(tantivy.Occur.Should, each) for each in either]))]
        hidden = view.documents.keys() - newer.keys()
        found = self._candidates(view.disk, [self._query(each) for each in ways], filters, most)
        named = [now for each in found if each.document not in hidden and (now := view.now(each))]
        fresh = [each for way in ways for each in view.fresh.best(way, newer, view.rarity, most)]
        return named + list({(each.document, each.number): each for each in fresh}.values())

    def _candidates(
        self, searcher: Any, queries: Iterable[Any], filters: list[tuple[Any, Any]], most: int
    ) -> Iterator[rank.Candidate]:
        """What any of the ways names on disk, each once."""
        named = {}
        for query in queries:
            sought = (
                tantivy.Query.boolean_query([*filters, (tantivy.Occur.Must, query)]) if filters else query
            )
            for _, at in searcher.search(sought, most, count=False).hits:
                named[at.segment_ord, at.doc] = at
        return (_candidate(searcher, at) for at in named.values())

    def _ways(self, asked: Asked, frequency: Frequency) -> Iterator[Way]:
        """What names candidates: articles, grams, morphemes."""
        if asked.places:
            yield Way("place", list(asked.places))
        grams = dict.fromkeys((*asked.grams, *(gram for each in asked.added.values() for gram in each)))
        if telling := _rarest(grams, partial(frequency, "grams")):
            yield Way("grams", telling)
            if asked.laws:
                within = sorted(asked.laws, key=lambda law: -asked.laws[law])[:LAWS]
                yield Way("grams", list(grams)[:WITHIN], within)
        morphemes = dict.fromkeys((*asked.morphemes, *asked.added))
        if telling := _rarest(morphemes, partial(frequency, "morphemes")):
            yield Way("morphemes", telling)

    def _query(self, way: Way) -> Any:
        """A way of searching for tantivy; flat, so that it can skip what cannot be among the best."""
        if way.field == "place":
            return self._among("place", way.words)
        named = [tantivy.Query.term_query(self._schema, way.field, word, "freq") for word in way.words]
        query = tantivy.Query.boolean_query([(tantivy.Occur.Should, each) for each in named])
        if not way.laws:
            return query
        return tantivy.Query.boolean_query([_must(self._among("law", way.laws)), (tantivy.Occur.Must, query)])

    def _limits(self, query: Query, asked: Asked, allowed: frozenset[str] | None) -> _Limits:
        """What may be found at all; no collections: nothing."""
        seen = self._collections if allowed is None else self._collections & allowed
        if query.collections:
            seen &= frozenset(query.collections)
        return _Limits(seen, query.kinds, query.ministry, query.in_force_on or asked.day)

    def _filters(self, limits: _Limits) -> list[tuple[Any, Any]]:
        """The same for tantivy; empty where everything may be found."""
        filters = []
        if limits.collections != self._collections:
            filters.append(self._among("collection", limits.collections))
        if limits.kinds:
            filters.append(self._among("kind", limits.kinds))
        if limits.ministry:
            filters.append(self._among("ministry", (limits.ministry,)))
        if limits.day:
            number, day = tantivy.FieldType.Integer, limits.day.toordinal()
            filters.append(tantivy.Query.range_query(self._schema, "since", number, 0, day))
            filters.append(tantivy.Query.range_query(self._schema, "until", number, day, _ALWAYS))
        return [_must(each) for each in filters]

    def _among(self, field: str, values: Iterable[str]) -> Any:
        """Any of these. A set of terms would be one query, but one that goes through all of the index."""
        named = [tantivy.Query.term_query(self._schema, field, each, "basic") for each in sorted(values)]
        return tantivy.Query.boolean_query([(tantivy.Occur.Should, each) for each in named])

    def _near(self, asked: Asked, found: list[tuple[float, Any]]) -> list[tuple[float, Any]]:
        if self._embedder is None or not found:
            return found
        best = found[:NEAREST]
        near = nearness(self._embedder, asked.text, [f"{each.title} {each.text}" for _, each in best])
        lifted = [(score * (1 + NEARNESS * one), each) for (score, each), one in zip(best, near, strict=True)]
        return sorted(lifted, key=lambda one: -one[0]) + found[NEAREST:]

    # what is there

    def status(self) -> Status:
        """What the index holds now; counted once after each change."""
        view, (counted, told) = self._view, self._told
        if view is not counted or told is None:
            told = self._counted(view)
            self._told = (view, told)
        return msgspec.structs.replace(told, morphemes=self.morphemes.ready)

    def _counted(self, view: _View) -> Status:
        disk = self._on_disk(view.disk)
        told = msgspec.structs.replace(disk, position=self.position, rebuilt=self.rebuilt)
        newer = view.documents.values()
        there = [each.old for each in newer if each.old]
        waited = sum(len(old.signs) for old in there if old.waits)
        return msgspec.structs.replace(
            told,
            documents=disk.documents + len(newer) - len(there),
            passages=disk.passages + view.passages - sum(len(old.signs) for old in there),
            waiting=disk.waiting + view.passages - waited,
            aside=tuple(each for each in disk.aside if each.document not in view.documents),
        )

    def _on_disk(self, disk: Any) -> Status:
        """What is on disk alone; counted once after each change of it."""
        counted, told = self._told_disk
        if counted is not disk or told is None:
            heads = _count(disk, self._among("waiting", (_WAITING, _FILLED)))
            found = disk.search(self._term("waiting", _ASIDE), MOST_ASIDE)
            aside = [disk.doc(at).get_first("data") for _, at in found.hits]
            told = Status(
                documents=heads,
                passages=disk.num_docs - heads - found.count - _count(disk, self._term("id", _MARK)),
                waiting=_count(disk, self._term("waiting", _PASSAGE)),
                aside=tuple(msgspec.msgpack.decode(each, type=Aside) for each in aside),
                position=0,
                bytes=sum(each.stat().st_size for each in self.folder.iterdir() if each.is_file()),
                rebuilt="",
                morphemes=False,
            )
            self._told_disk = (disk, told)
        return told

    def damage(self) -> str:
        """What is wrong with the files on disk: the first one that is not as it was written; empty: nothing.
        Reads all of them, in a tenth of a second for all statutes.
        """
        with self._lock:
            return files.damage(self.folder)

    def _term(self, field: str, value: str) -> Any:
        return tantivy.Query.term_query(self._schema, field, value)

    def _stored(self, searcher: Any, key: str) -> bytes | None:
        for _, at in searcher.search(self._term("id", key), 1, count=False).hits:
            return bytes(searcher.doc(at).get_first("data"))
        return None

    def _heads(self, view: _View, documents: Collection[str]) -> dict[str, Stored]:
        """What is known of documents as wholes; one that is not here is left out."""
        known = {each: one for each in documents if (one := view.stored(each))}
        if ids := [f"={each}" for each in documents if each not in known]:
            if len(view.heads) > HEADS:
                view.heads.clear()
            for _, at in view.disk.search(self._among("id", ids), len(ids), count=False).hits:
                data = view.disk.doc(at).get_first("data")
                stored = msgspec.msgpack.decode(data, type=Head).stored
                known[stored.id] = view.heads[stored.id] = stored
        return known

    def _named(self) -> frozenset[str]:
        """The collections that have passages."""
        counted = {"names": {"terms": {"field": "collection", "size": 10_000}}}
        found = self._searcher.aggregate(tantivy.Query.all_query(), counted)
        return frozenset(each["key"] for each in found["names"]["buckets"])

    def _open(self) -> Any:
        """The index of the folder; a new one where there is none, or none that can be read. Fails closed."""
        marked = self.folder / "format"
        if marked.is_file():
            try:
                _check(self.folder, marked.read_text())
                index = tantivy.Index(self._schema, str(self.folder))
                self._read(index.searcher())
            except (ValueError, OSError, RuntimeError, msgspec.DecodeError) as error:
                self.rebuilt = str(error)
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
        self._view = _View(searcher, self._fresh, {}, 0, {})
        position = self._stored(searcher, _MARK)
        self._marked = self.position = 0 if position is None else msgspec.msgpack.decode(position, type=int)
        self._collections = self._named()


def _check(folder: Path, form: str) -> None:
    """Raises ValueError for an index that cannot be used."""
    if form != FORMAT:
        raise ValueError("it is of another version of Modu")
    if wrong := files.damage(folder):
        raise ValueError(f"its file {wrong} is damaged")


def _schema() -> Any:
    build = tantivy.SchemaBuilder()
    for name in ("id", "document", "waiting", "kind", "ministry", "place", "law"):
        build.add_text_field(name, tokenizer_name="raw", index_option="basic")
    build.add_text_field("collection", tokenizer_name="raw", index_option="basic", fast=True)
    for name in ("grams", "morphemes"):
        build.add_text_field(name, tokenizer_name="whitespace", index_option="freq")
    for name in ("since", "until"):
        build.add_integer_field(name, indexed=True, fast=True)
    build.add_bytes_field("data", stored=True)
    return build.build()


def _count(searcher: Any, query: Any) -> int:
    return int(searcher.search(query, 1).count)


def _rarest(words: Iterable[str], frequency: Callable[[str], int]) -> list[str]:
    """The rarest words that the index knows, as many as may be read; one at least."""
    known = sorted((count, word) for word in words if (count := frequency(word)))
    kept: list[str] = []
    read = 0
    for count, word in known[:MOST_SOUGHT]:
        read += count
        if kept and read > POSTINGS:
            break
        kept.append(word)
    return kept


def _document(fields: Fields) -> Any:
    made = tantivy.Document()
    for name, value in fields.items():
        if isinstance(value, bytes):
            made.add_bytes(name, value)
        elif isinstance(value, int):
            made.add_integer(name, value)
        else:
            for each in (value,) if isinstance(value, str) else value:
                if each:
                    made.add_text(name, each)
    return made


def _candidate(searcher: Any, at: Any) -> rank.Candidate:
    return msgspec.msgpack.decode(searcher.doc(at).get_first("data"), type=rank.Candidate)


def _must(query: Any) -> tuple[Any, Any]:
    """A condition that counts nothing."""
    return tantivy.Occur.Must, tantivy.Query.const_score_query(query, 0.0)


def _ministries(facts: Facts) -> list[str]:
    return [one.strip() for one in facts.ministry.split(",")]


def _in_force(facts: Facts) -> tuple[int, int]:
    """The first and the last day, as numbers."""
    return (
        facts.in_force_from.toordinal() if facts.in_force_from else 0,
        facts.in_force_until.toordinal() if facts.in_force_until else _ALWAYS,
    )


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
