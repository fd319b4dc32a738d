"""Who asks what, and when: people made up from a seed, and traces that others recorded.

A trace is read from a folder as it was published: ``azure2023`` (Splitwise, ISCA'24), ``servegen``
(ServeGen, arXiv 2505.09999) and ``mooncake`` (Mooncake, FAST'25). None says who asked for what, so
each reader states how it makes persons of it.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator
from datetime import datetime
from math import gamma
from pathlib import Path
from random import Random

from msgspec import Struct
from msgspec.structs import replace

from moduai.planner.clock import SECOND

POOL = "model"


class Request(Struct, frozen=True):
    """One request as a client sends it."""

    at: int
    """When, in ns."""
    path: tuple[str, str, str]
    """Class, organisation, person."""
    tokens_in: int
    tokens_out: int
    """How long its answer will be: nobody knows it before the end."""
    max_out: int = 0
    """What the client says; 0: nothing. The engine stops there."""
    blocks: tuple[int, ...] = ()
    app: str = "page"
    weight: int = 1000
    held: int = 0
    """Tokens of its conversation before ``tokens_in``, which the engine still has."""
    insists: bool = False
    """Its client comes again until it is taken, where a line is full: batch work."""
    patience: int = 0
    """The client leaves after this time (ns) without a first token; 0: never."""
    pool: str = POOL

    @property
    def work(self) -> int:
        """What it costs at most, in tokens: prompt and twice the answer."""
        return self.tokens_in + 2 * self.tokens_out


class Sizes(Struct, frozen=True):
    """Lengths of prompts and answers: lognormal, within bounds."""

    tokens_in: float
    """Median."""
    tokens_out: float
    spread: float
    """Standard deviation of the logarithm."""
    most_in: int
    most_out: int

    def draw(self, random: Random) -> tuple[int, int]:
        """A prompt's and an answer's length."""
        read = int(random.lognormvariate(0, self.spread) * self.tokens_in)
        wrote = int(random.lognormvariate(0, self.spread) * self.tokens_out)
        return max(8, min(read, self.most_in)), max(1, min(wrote, self.most_out))


CHAT = Sizes(300, 250, 0.75, 2_000, 1_000)
"""A person at the page: a mean of about 400 tokens in and 330 out."""
BULK = Sizes(290, 190, 1.1, 8_000, 4_000)
"""A program: about 530 in and 350 out, up to a cost of 16,000 tokens."""


def poisson(random: Random, rate: float, seconds: float) -> Iterator[int]:
    """Times in ns of a Poisson process of ``rate`` a second."""
    at = random.expovariate(rate)
    while at < seconds:
        yield int(at * SECOND)
        at += random.expovariate(rate)


def people(
    seed: int,
    seconds: float,
    *,
    count: int,
    rate: float,
    sizes: Sizes,
    place: tuple[str, str, str] = ("resident", "none", "light"),
) -> list[Request]:
    """``count`` persons who each ask ``rate`` times a second, at random; the last name is numbered."""
    random = Random(seed)
    service_class, organisation, name = place
    made = []
    for number in range(count):
        path = (service_class, organisation, f"{name}-{number}")
        for at in poisson(random, rate, seconds):
            read, wrote = sizes.draw(random)
            made.append(Request(at, path, read, wrote, app=name))
    return sorted(made, key=lambda request: request.at)


def light(seed: int, seconds: float, count: int = 400, rate: float = 1 / 40) -> list[Request]:
    """People at the page: each asks every forty seconds."""
    return people(seed, seconds, count=count, rate=rate, sizes=CHAT)


def heavy(seed: int, seconds: float, rate: float, count: int = 8) -> list[Request]:
    """A few who send without end: ``rate`` requests a second in all."""
    place = ("resident", "none", "heavy")
    return people(seed, seconds, count=count, rate=rate / count, sizes=BULK, place=place)


def merged(*parts: list[Request]) -> list[Request]:
    """All of them in order of time."""
    return sorted((request for part in parts for request in part), key=lambda request: request.at)


def later(requests: list[Request], seconds: float) -> list[Request]:
    """The same so many seconds later."""
    return [replace(request, at=request.at + int(seconds * SECOND)) for request in requests]


def azure(folder: Path, seconds: float, persons: int = 400) -> list[Request]:
    """The first seconds of Azure's hour of conversations; each request is of a person drawn at random."""
    random = Random(1)
    made: list[Request] = []
    began = 0.0
    with (folder / "azure2023" / "AzureLLMInferenceTrace_conv.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            at = _timestamp(row["TIMESTAMP"])
            began = began or at
            if at - began >= seconds:
                break
            path = ("resident", "none", f"light-{random.randrange(persons)}")
            read, wrote = int(row["ContextTokens"]), int(row["GeneratedTokens"])
            made.append(Request(int((at - began) * SECOND), path, read, max(1, wrote), app="azure"))
    return made


def _timestamp(text: str) -> float:
    """Seconds; the trace has seven digits after the point, Python reads six."""
    return datetime.fromisoformat(text[:26] + "+00:00").timestamp()


class Tenant(Struct, frozen=True):
    """One client of the ServeGen trace at one time of day."""

    name: str
    rate: float
    """Requests a second, as recorded."""
    shape: float
    """Of the gaps between its requests; below 1 they come in bursts."""
    weibull: bool
    """How the gaps are spread: Weibull, or Gamma."""
    lengths: tuple[tuple[float, ...], tuple[float, ...]]
    """Quantiles of prompts and of answers: p10, p50, p90, p99 and the most."""


QUANTILES = (0.1, 0.5, 0.9, 0.99, 1.0)


def tenants(folder: Path, trace: str = "language_m-large", at: int = 820_800) -> list[Tenant]:
    """Every client that was active in the ten minutes from ``at`` (s) and whose lengths are known."""
    lengths: dict[tuple[str, str], tuple[float, ...]] = {}
    for row in _rows(folder / "servegen" / f"{trace}_client_lengths.csv.gz"):
        if int(row["t_s"]) <= at:
            values = tuple(float(row[name] or 0) for name in ("p10", "p50", "p90", "p99", "max"))
            lengths[row["client"], row["field"]] = values
    found = []
    for row in _rows(folder / "servegen" / f"{trace}_client_rates.csv.gz"):
        client, rate = row["client"], float(row["rate_rps"])
        both = lengths.get((client, "input_tokens")), lengths.get((client, "output_tokens"))
        if int(row["t_s"]) == at and rate > 0 and both[0] and both[1]:
            shape = float(row["p1"]) if row["dist"] else 1.0
            found.append(Tenant(client, rate, shape, row["dist"] == "Weibull", (both[0], both[1])))
    return found


def servegen(some: list[Tenant], seconds: float, factor: float, seed: int = 1) -> list[Request]:
    """Each tenant's requests at ``factor`` times its rate; gaps and lengths are spread as recorded."""
    made = []
    for tenant in some:
        random = Random(f"{seed} {tenant.name}")
        mean = 1 / (tenant.rate * factor)
        # A process that has run for ever: the first gap began somewhere before the start.
        at = _gap(tenant, mean, random) * random.random()
        path = ("resident", "none", f"tenant-{tenant.name}")
        while at < seconds:
            read, wrote = (max(1, int(_drawn(values, random))) for values in tenant.lengths)
            made.append(Request(int(at * SECOND), path, read, wrote, app=tenant.name))
            at += _gap(tenant, mean, random)
    return sorted(made, key=lambda request: request.at)


def _gap(tenant: Tenant, mean: float, random: Random) -> float:
    if tenant.weibull:
        return random.weibullvariate(mean / gamma(1 + 1 / tenant.shape), tenant.shape)
    return random.gammavariate(tenant.shape, mean / tenant.shape)


def _drawn(values: tuple[float, ...], random: Random) -> float:
    """A value with these quantiles, straight lines between them."""
    part, low, below = random.random(), 0.0, values[0] / 2
    for quantile, value in zip(QUANTILES, values, strict=True):
        if part <= quantile:
            return below + (value - below) * (part - low) / (quantile - low)
        low, below = quantile, value
    return below


def _rows(file: Path) -> Iterator[dict[str, str]]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        yield from csv.DictReader(lines)


def mooncake(folder: Path, *, faster: float, most: int = 0) -> list[Request]:
    """Mooncake's hour of conversations, played ``faster``; the first ``most`` requests, 0: all.

    Its blocks are of 512 tokens, so each is two of ours. Every prompt begins with the same block, the
    service's own words, so a person is the block after it; a prompt of one block is of a person of its own.
    """
    made: list[Request] = []
    with (folder / "mooncake" / "conversation_trace.jsonl").open(encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            if most and number >= most:
                break
            row = json.loads(line)
            hashes = row["hash_ids"]
            blocks = tuple(half for block in hashes for half in (2 * block, 2 * block + 1))
            person = f"person-{hashes[1]}" if len(hashes) > 1 else f"once-{number}"
            at = int(row["timestamp"] * (SECOND // 1000) / faster)
            read, wrote = row["input_length"], max(1, row["output_length"])
            path = ("resident", "none", person)
            made.append(Request(at, path, read, wrote, blocks=blocks, app="mooncake"))
    return made
