"""statutes: building the index of all articles, asking it over its socket, and changing a law.

It is the search process itself on a home folder whose database has every statute. It is asked while it fills
in morphemes in the background, as it is on the day on which the statutes were added.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from benchmarks.bars import Bench, Measured, Row, knowledge_data, median
from benchmarks.harness import process
from benchmarks.harness.searching import Document, Home, tell
from moduai.knowledge.client import Search
from moduai.knowledge.types import Parsed, Query
from moduai.knowledge.wire import Status

MB = 2**20
MUST_CPU_S, MUST_MB = 120, 200
MUST_QUERY_MS, MUST_UPDATE_MS = 10.0, 50.0
QUICK_LAWS = 60
ARTICLES, NAMES, UPDATES, ROUNDS = 500, 250, 100, 5
EVERYDAY = Path(__file__).resolve().parents[1] / "data" / "everyday.jsonl"


class Built(Struct):
    """A home folder with the statutes and their index, and what that index cost."""

    home: Home
    laws: list[Document]
    status: Status
    cpu_s: float
    bytes: int


class Warm(Struct):
    """The search process that has the index and Kiwi, and fills in morphemes."""

    pid: int
    built: Built
    asked: int = 0


@contextmanager
def built(bench: Bench) -> Iterator[Built]:
    """All articles by grams: built by a process of its own out of its database, for the first who asks."""
    place = bench.place("statutes")
    laws = list(knowledge_data.statutes(place, most=QUICK_LAWS if bench.quick else 0))
    home = Home(place / "home")
    asyncio.run(home.put(laws))
    with home.searching(kiwi=False) as running:
        cpu_s = process.cpu_s(running.pid)
        status = asyncio.run(Search(home.loaded).status())
    files = (home.loaded.index_folder / "index").iterdir()
    yield Built(home, laws, status, cpu_s, sum(each.stat().st_size for each in files))


@contextmanager
def warm(bench: Bench) -> Iterator[Warm]:
    """The same with Kiwi, as it serves."""
    made = bench.shared(built)
    with made.home.searching(kiwi=True) as running:
        yield Warm(running.pid, made)


def build(bench: Bench) -> Measured:
    """CPU-seconds of the process that built the index, reading the database included; megabytes on disk; and
    that morphemes are filled in from there.
    """
    made = bench.shared(built)
    value = [round(made.cpu_s, 1), round(made.bytes / MB, 1)]
    running = bench.shared(warm)
    filled = asyncio.run(_fills(made.home, 60.0))
    note = (
        f"{made.status.documents:,} statutes, {made.status.passages:,} articles, the first {filled:,} with "
        f"morphemes; {process.cpu_s(running.pid):.0f} CPU-s of the process that fills them in"
    )
    holds = value[0] <= MUST_CPU_S and value[1] <= MUST_MB
    row = Row("statutes-build", list(value), f"<= {MUST_CPU_S} CPU-s; <= {MUST_MB} MB", holds)
    return Measured(row, [note], broken=made.status.documents != len(made.laws) or not filled)


async def _fills(home: Home, within_s: float) -> int:
    """Passages that have their morphemes, once there are some."""
    search, deadline = Search(home.loaded), time.monotonic() + within_s
    while True:
        status = await search.status()
        if status.waiting < status.passages or time.monotonic() > deadline:
            return status.passages - status.waiting
        await asyncio.sleep(0.2)


def questions(laws: list[Document], *, quick: bool) -> list[str]:
    """Everyday questions, articles by name, names of laws, and needs of people: more than a thousand."""
    draw = random.Random(11)
    asked = [json.loads(line)["question"] for line in EVERYDAY.read_text("utf-8").splitlines()]
    some = [(stored, parsed) for stored, parsed in laws if parsed.passages]
    for stored, parsed in draw.choices(some, k=ARTICLES):
        asked.append(f"{stored.facts.title} {draw.choice(parsed.passages).label}")
    asked += [stored.facts.title for stored, _ in draw.choices(laws, k=NAMES)]
    asked += [each.q for each in draw.sample(knowledge_data.questions(), NAMES)]
    draw.shuffle(asked)
    return asked[:100] if quick else asked


def query(bench: Bench) -> Measured:
    """The median of each round's p99, of searches; p99 of the time from the commit of a changed law until its
    new word is found. Between the searches the process is asked for its status, which tells the noise.
    """
    made = bench.shared(warm)
    asked = questions(made.built.laws, quick=bench.quick)
    rounds = asyncio.run(_rounds(made.built.home, asked, 1 if bench.quick else ROUNDS))
    made.asked += len(asked) * (len(rounds) + 1)
    updates = asyncio.run(_updates(made.built, 5 if bench.quick else UPDATES))
    p99s = [_p(each, 0.99) for each, _ in rounds]
    value = [round(median(p99s), 2), round(_p(updates, 0.99), 2)]
    holds = value[0] <= MUST_QUERY_MS and value[1] <= MUST_UPDATE_MS
    middle = median([_p(each, 0.5) for each, _ in rounds])
    noise = median([_p(each, 0.99) for _, each in rounds])
    told = ", ".join(f"{each:.1f}" for each in p99s)
    searched = (
        f"{len(rounds)} rounds of {len(asked):,} questions over the socket, while morphemes are filled in: "
        f"p50 {middle:.1f} ms, p99 {told} ms; p99 of a request for the status between them {noise:.1f} ms"
    )
    changed = f"{len(updates)} laws changed: p50 {_p(updates, 0.5):.1f} ms, longest {max(updates):.0f} ms"
    row = Row("statutes-query", list(value), f"p99 <= {MUST_QUERY_MS} ms; <= {MUST_UPDATE_MS} ms", holds)
    return Measured(row, [searched, changed])


async def _rounds(home: Home, asked: list[str], count: int) -> list[tuple[list[float], list[float]]]:
    """Milliseconds of every search and of every status, a round each; the first round is to warm up."""
    search, rounds = Search(home.loaded), []
    for at in range(count + 1):
        tell(f"round {at} of {count}")
        searches, others = [], []
        for text in asked:
            searches.append(await _ms(search.search(Query(text, language="ko"))))
            others.append(await _ms(search.status()))
        rounds.append((searches, others))
    return rounds[1:]


async def _updates(made: Built, count: int) -> list[float]:
    """Milliseconds from the commit of a changed law until its new word is found."""
    search, times = Search(made.home.loaded), []
    for number, (stored, parsed) in enumerate(
        random.Random(5).sample([each for each in made.laws if each[1].passages], count)
    ):
        word = f"쾱뷁{chr(0xAC00 + number)}"
        first = parsed.passages[0]
        text = parsed.text[: first.end - len(word)] + word + parsed.text[first.end :]
        await made.home.put([(stored, Parsed(parsed.facts, text, parsed.passages))])
        began = time.perf_counter()
        await search.changed()
        found = await search.search(Query(word))
        times.append((time.perf_counter() - began) * 1e3)
        if not any(word in each.text for each in found):
            raise OSError(f"the new word of {stored.facts.title} is not found")
    return times


async def _ms(act: Awaitable[object]) -> float:
    began = time.perf_counter()
    await act
    return (time.perf_counter() - began) * 1e3


def _p(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
