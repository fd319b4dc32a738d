"""What the installation's own ledger tells: how fast its replicas are, and who asked how much, when.

Words: a *row* is one request of the ledger (``metering.row``), a *place* is one model on one engine, rows are
*learned* from when the step time of their place is fitted to them. Rule: what the ledger does not hold is not
made up. It has times, lengths, classes and opaque ids; rows without an answer have no length, and are left
out and counted. The first part of the time is learned from and the rest foretold: the error of that is what a
place is known by. Then all of it is learned from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from moduai.planner.calibrate import Served, from_usage, played, tune
from moduai.planner.clock import SECOND
from moduai.planner.devices import devices
from moduai.planner.engine import NEVER, Ints
from moduai.planner.load import Floats
from moduai.planner.models import models
from moduai.planner.steptime import CHUNK, Coefficients, Replica, StepTime, room, shipped, step_time

if TYPE_CHECKING:
    from moduai.engines.record import Engine
    from moduai.metering.row import UsageRow

ENDPOINTS: Final = frozenset({"chat", "completions", "responses"})
"""Those that write an answer token by token."""
FEWEST: Final = 20
"""Streamed answers of a place that can be learned from, and as many to foretell."""
MOST: Final = 20_000
"""Rows of one place that are learned from: the newest."""
LEARNED: Final = 0.6
"""Part of the rows that is learned from; the rest is foretold."""
LONG: Final = 4
"""Tokens of an answer from which on the time of each can be told."""
SOURCE: Final = "the ledger of this installation"


class Place(Struct, frozen=True, kw_only=True):
    """One model on one engine."""

    engine: str
    """Id, and below its name."""
    name: str
    model: str
    """As people name it."""
    shape: str = ""
    """Key of the model in the planner's table; empty: it is not there."""
    device: str = ""
    """Key of the accelerator; empty: not there."""
    devices: int = 1
    slots: int = 1
    """Requests that it runs at once."""

    @property
    def known(self) -> bool:
        """Whether the planner knows model and accelerator, and the model fits."""
        return bool(
            self.shape
            and self.device
            and room(models()[self.shape], devices()[self.device], self.devices) > 0
        )


class Off(Struct, frozen=True):
    """How far a step time is off on requests that it had not seen; parts of the truth."""

    first: float
    """Of the mean time to the first token: below 0, too short."""
    median: float
    """Of the time for each further token; half of all are nearer, and below nine of ten."""
    p90: float


class Learned(Struct, frozen=True, kw_only=True):
    """What a place's rows came to."""

    place: Place
    requests: int
    """Streamed answers that it was learned from and foretold."""
    time: StepTime
    factors: tuple[float, float, float]
    """Of each step, of what is held, of each token read: beside the fit, or beside a first guess."""
    before: Off | None
    """With the fit as it was; None: it does not know this model or accelerator."""
    after: Off

    def replica(self) -> Replica | None:
        """For a fit's file; None: the planner knows no such model or accelerator."""
        if not self.place.known:
            return None
        return Replica(
            model=models()[self.place.shape].name,
            device=devices()[self.place.device].name,
            devices=self.place.devices,
            factors=self.factors,
            error=self.after.p90,
            requests=self.requests,
            source=SOURCE,
        )


def places(engines: Iterable[Engine]) -> dict[tuple[str, str], Place]:
    """By engine and model; the planner's keys are found by name."""
    return {
        (engine.id, model.name): Place(
            engine=engine.id,
            name=engine.name,
            model=model.name,
            shape=shape_of(model.upstream_name) or shape_of(model.name),
            device=device_of(engine.hardware.kind),
            devices=max(1, engine.hardware.count),
            slots=engine.concurrency,
        )
        for engine in engines
        for model in engine.models
    }


def device_of(kind: str) -> str:
    """The accelerator's key in the planner's table: all words of it stand in ``kind``; empty: none."""
    words = set(_words(kind))
    found = [key for key in devices() if words.issuperset(_words(key))]
    return max(found, key=len, default="")


def shape_of(name: str) -> str:
    """The model's key in the planner's table: the name begins with it; empty: none."""
    words = _words(name.rpartition("/")[2])
    for key, model in models().items():
        for known in (key, model.name.rpartition("/")[2]):
            mine = _words(known)
            if words[: len(mine)] == mine:
                return key
    return ""


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9.]+", text.lower())


def ran(row: UsageRow) -> bool:
    """Whether an engine wrote an answer for it, so that it has a length."""
    return bool(
        row.engine and row.tokens_out and row.endpoint in ENDPOINTS and row.duration_us > row.queue_us
    )


def served(rows: Iterable[UsageRow], origin: int) -> list[Served]:
    """What a replica was asked, in order. ``origin``: of time, µs. When the tokens of an answer came that was
    not streamed, the ledger does not tell: it counts as load and is not learned from.
    """
    made = []
    for row in rows:
        one = from_usage(
            row.at - origin, row.queue_us, row.first_token_us, row.duration_us, row.tokens_in,
            row.tokens_cached, row.tokens_out,
        )  # fmt: skip
        told = row.stream and row.first_token_us
        made.append(one if told else Served(one.at, one.tokens_in, one.tokens_out, NEVER, NEVER))
    return sorted(made, key=lambda one: one.at)


def learn(
    place: Place,
    rows: Sequence[UsageRow],
    fit: Coefficients | None = None,
    told: Callable[[float], None] | None = None,
) -> Learned:
    """Fit the step time of a place to its rows; the error is that of foretelling their later part. ``told``
    hears how much is done. Raises ValueError: too few streamed answers, or none in one of the parts.
    """
    mine = sorted((row for row in rows if ran(row)), key=lambda row: row.at)[-MOST:]
    asked = served(mine, mine[0].at if mine else 0)
    streamed = [one for one in asked if one.first < NEVER]
    if len(streamed) < 2 * FEWEST:
        raise ValueError(f"{len(streamed)} streamed answers: it takes {2 * FEWEST} to learn and to foretell")
    until = sorted(one.ended for one in streamed)[round(LEARNED * len(streamed))]
    begin = _begin(place, streamed, fit)
    first, then = (lambda part: told and told(part / 2)), (lambda part: told and told(0.5 + part / 2))
    found = tune(begin, asked, until, slots=place.slots, told=first)
    late = np.array([until < one.at and one.first < NEVER and one.tokens_out >= LONG for one in asked])
    if late.sum() < FEWEST:
        raise ValueError(
            f"{late.sum()} answers of {LONG} tokens came after those it learned from: too few to foretell"
        )
    truth = np.array([(one.at, one.first, one.ended, one.tokens_out) for one in asked], np.int64)
    whole = tune(begin, asked, max(one.ended for one in streamed), slots=place.slots, told=then)
    each, held, read = whole.factors
    return Learned(
        place=place,
        requests=len(streamed),
        time=whole.time,
        factors=(each, held, read),
        before=_foretold(begin, place, asked, truth, late) if place.known else None,
        after=_foretold(found.time, place, asked, truth, late),
    )


def _begin(place: Place, streamed: list[Served], fit: Coefficients | None) -> StepTime:
    """Where the search begins: the fit, or for what it does not know a guess from the middle of the rows."""
    if place.known:
        model, device = models()[place.shape], devices()[place.device]
        return step_time(model, device, place.devices, fit=replace(fit or shipped(), replicas=()))
    each = float(np.median([_each(one) for one in streamed if one.tokens_out >= LONG] or [0.02]))
    read = float(np.median([(one.first - one.at) / one.tokens_in for one in streamed]))
    held = 2 * max(one.tokens_in + one.tokens_out for one in streamed)
    return StepTime(
        base=round(each * SECOND * 800),
        sequence=round(each * SECOND * 200 / place.slots) + 1,
        context=1,
        prefill=round(read * 500) + 1,
        room=place.slots * held,
    )


def _each(one: Served) -> float:
    """Seconds of each token after the first."""
    return (one.ended - one.first) / max(1, one.tokens_out - 1) / SECOND


def _foretold(time: StepTime, place: Place, asked: list[Served], truth: Ints, late: NDArray[np.bool_]) -> Off:
    """How far a step time is off on those that came late."""
    model = played(time, asked, place.slots, CHUNK)
    first = [float((rows[late, 1] - rows[late, 0]).mean()) for rows in (model, truth)]
    times = [(rows[late, 2] - rows[late, 1]) / (rows[late, 3] - 1) for rows in (model, truth)]
    off: Floats = np.abs(times[0] / np.maximum(1.0, times[1]) - 1)
    return Off(first[0] / max(1.0, first[1]) - 1, float(np.median(off)), float(np.quantile(off, 0.9)))


def joined(learned: Iterable[Learned]) -> tuple[Replica, ...]:
    """For a fit's file: one of each model on so many accelerators of a kind, however many engines run it. The
    factors are the mean of theirs, the error is the largest: of any of them, or from the mean to any.
    """
    of: dict[tuple[str, str, int], list[Replica]] = {}
    for one in learned:
        if replica := one.replica():
            of.setdefault((replica.model, replica.device, replica.devices), []).append(replica)
    return tuple(map(_joined, of.values()))


def _joined(alike: list[Replica]) -> Replica:
    logs = np.log([one.factors for one in alike])
    weights = [one.requests for one in alike]
    mean = np.average(logs, axis=0, weights=weights)
    each, held, read = (float(one) for one in np.exp(mean))
    apart = float(np.expm1(np.abs(logs - mean).max()))
    error = max(apart, *(one.error for one in alike))
    return replace(alike[0], factors=(each, held, read), error=error, requests=sum(weights))
