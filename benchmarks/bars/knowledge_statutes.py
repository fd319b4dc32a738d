"""statutes: building the index of all articles, asking it, and changing a law."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice

import msgspec
from msgspec import Struct

from benchmarks.bars import Bench, Measured, Row, knowledge_data
from moduai.knowledge.search.index import Index, Status
from moduai.knowledge.types import Query

MB = 2**20
MUST_CPU_S, MUST_MB = 120, 200
MUST_QUERY_MS, MUST_UPDATE_MS = 10.0, 50.0
BATCH, QUICK_LAWS, UPDATES = 500, 100, 200


class Built(Struct):
    """The index of the statutes, and what it cost."""

    index: Index
    status: Status
    cpu_s: float
    reading_s: float


@contextmanager
def built(bench: Bench) -> Iterator[Built]:
    """All articles, by grams: made for the first bar that asks."""
    place = bench.place("statutes")
    began = time.process_time()
    laws = list(knowledge_data.statutes(place, most=QUICK_LAWS if bench.quick else 0))
    read = time.process_time()
    index = Index(place / "index")
    rest = iter(laws)
    while batch := list(islice(rest, BATCH)):
        index.add(batch)
    cpu_s = time.process_time() - read
    yield Built(index=index, status=index.status(), cpu_s=cpu_s, reading_s=read - began)
    index.close()


def build(bench: Bench) -> Measured:
    """CPU-seconds of ``add`` and what it started, megabytes on disk; and that ``fill`` goes on from there."""
    made = bench.shared(built)
    value = [round(made.cpu_s, 1), round(made.status.bytes / MB, 1)]
    began, waiting = time.process_time(), made.index.fill(200)
    filled = made.status.waiting - waiting
    note = (
        f"{made.status.documents:,} statutes, {made.status.passages:,} articles; reading them "
        f"{made.reading_s:.0f} CPU-s besides; the first {filled} with morphemes in "
        f"{time.process_time() - began:.1f} CPU-s"
    )
    holds = value[0] <= MUST_CPU_S and value[1] <= MUST_MB
    row = Row("statutes-build", list(value), f"<= {MUST_CPU_S} CPU-s; <= {MUST_MB} MB", holds)
    return Measured(row, [note], broken=not made.status.passages or filled <= 0)


def query(bench: Bench) -> Measured:
    """p99 of a search and of an update of one law that is found when the call returns."""
    made = bench.shared(built)
    index = made.index
    index.morphemes.load()
    asked = [each.q for each in knowledge_data.questions()][:: 20 if bench.quick else 1]
    asked += [f"민법 제{number}조" for number in range(1, 100)]
    for text in asked[:50]:
        index.search(Query(text=text))
    searches = [_ms(partial(index.search, Query(text=text))) for text in asked]
    laws = list(knowledge_data.statutes(bench.place("statutes"), most=QUICK_LAWS if bench.quick else 0))
    changed = random.Random(5).sample(laws, 20 if bench.quick else UPDATES)
    updates = [_ms(partial(index.add, [law])) for law in changed]
    seen = _seen(index, changed[0])
    value = [round(_p99(searches), 2), round(_p99(updates), 2)]
    holds = value[0] <= MUST_QUERY_MS and value[1] <= MUST_UPDATE_MS and seen
    note = (
        f"{len(searches)} questions, p50 {_p(searches, 0.5):.1f} ms; {len(updates)} laws put in anew, p50 "
        f"{_p(updates, 0.5):.1f} ms, longest {max(updates):.0f} ms; a new word found at once: {seen}"
    )
    row = Row("statutes-query", list(value), f"p99 <= {MUST_QUERY_MS} ms; <= {MUST_UPDATE_MS} ms", holds)
    return Measured(row, [note], broken=not seen)


def _seen(index: Index, law: knowledge_data.Document) -> bool:
    """A word that stands nowhere else is found after the update that brings it."""
    stored, parsed = law
    text = parsed.text[: parsed.passages[0].start] + "쾱뷁쀍 " + parsed.text[parsed.passages[0].start + 4 :]
    index.add([(stored, msgspec.structs.replace(parsed, text=text))])
    return any(one.document == stored.id for one in index.search(Query(text="쾱뷁쀍")))


def _ms(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return (time.perf_counter() - began) * 1e3


def _p99(values: list[float]) -> float:
    return _p(values, 0.99)


def _p(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
