"""The ledger's requests once more, through the gateway's own dispatcher: as it was, and as it could be.

Words: *recorded* is what the ledger has, *again* is the same requests under the same policy and fleet in
simulated time, *changed* is another policy or fleet. Rule: changed is held against again and not against the
record, so that what the model gets wrong stands on both sides; how far again is from the record is shown, and
so is what the ledger does not hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle, islice
from typing import TYPE_CHECKING, Final

import numpy as np
from msgspec import Struct

from moduai.planner.cell import Cell
from moduai.planner.clock import SECOND
from moduai.planner.ledger import Learned, ran
from moduai.planner.load import Floats
from moduai.planner.steptime import StepTime
from moduai.planner.traffic import Request
from moduai.scheduling import FairQueue
from moduai.scheduling.policy import Policy

if TYPE_CHECKING:
    from moduai.metering.row import UsageRow

PAGE: Final = "page"
"""What asks without a key."""


class Change(Struct, frozen=True, kw_only=True):
    """Another policy or fleet."""

    policy: Policy
    fleet: float = 1.0
    """So many times the replicas, at least one."""
    faster: float = 1.0
    """So many times as fast each."""


class Waits(Struct, frozen=True, kw_only=True):
    """What one class got. Seconds in line."""

    asked: int
    refused: int
    mean: float
    p50: float
    p99: float


class ByClass(Struct, frozen=True, kw_only=True):
    """One class of the policy that counted."""

    service_class: str
    recorded: Waits
    again: Waits
    changed: Waits | None
    """None: nothing was changed."""


class Rehearsed(Struct, frozen=True, kw_only=True):
    """One model's requests."""

    model: str
    replicas: int
    slots: int
    replicas_changed: int
    seconds: float
    """From the first request to the last."""
    classes: tuple[ByClass, ...]


class LeftOut(Struct, frozen=True, kw_only=True):
    """Rows that could not be asked again."""

    no_answer: int
    """Refused, failed or cancelled before an engine wrote anything: nobody knows how long they would be."""
    no_engine: int
    """Of an engine that could not be learned from."""
    guests: int
    """Of those that were asked again: the ledger does not say from which network they came."""
    estimated: int
    """Of those: the engine did not count their tokens."""


def rehearse(
    rows: Sequence[UsageRow], learned: Iterable[Learned], before: Policy, change: Change | None = None
) -> tuple[list[Rehearsed], LeftOut]:
    """Ask all of it again, model by model."""
    known = {(one.place.engine, one.place.model): one for one in learned}
    answered = [row for row in rows if ran(row)]
    mine = [row for row in answered if (row.engine, row.model) in known]
    models: dict[str, list[UsageRow]] = {}
    for row in sorted(mine, key=lambda row: row.at):
        models.setdefault(row.model, []).append(row)
    found = [
        _model(some, [one for one in known.values() if one.place.model == model], before, change)
        for model, some in models.items()
    ]
    return found, LeftOut(
        no_answer=len(rows) - len(answered),
        no_engine=len(answered) - len(mine),
        guests=sum(row.service_class == "guest" for row in mine),
        estimated=sum(row.tokens_source == "estimated" for row in mine),
    )


def _model(rows: list[UsageRow], replicas: list[Learned], before: Policy, change: Change | None) -> Rehearsed:
    times = [one.time for one in replicas]
    slots = max(1, round(sum(one.place.slots for one in replicas) / len(replicas)))
    names = [
        before.place(row.service_class, row.organisation, row.group, row.zone).class_name for row in rows
    ]
    recorded = _by_class(names, np.array([row.queue_us / 1e6 for row in rows]))
    again = _by_class(names, _waits(rows, before, times, slots))
    count, changed = len(times), None
    if change:
        count = max(1, round(len(times) * change.fleet))
        faster = [one.slower(max(1, round(1000 * change.faster))) for one in times]
        changed = _by_class(names, _waits(rows, change.policy, list(islice(cycle(faster), count)), slots))
    return Rehearsed(
        model=rows[0].model,
        replicas=len(times),
        slots=slots,
        replicas_changed=count,
        seconds=(rows[-1].at - rows[0].at) / 1e6,
        classes=tuple(
            ByClass(
                service_class=name,
                recorded=recorded[name],
                again=again[name],
                changed=changed[name] if changed else None,
            )
            for name in sorted(recorded)
        ),
    )


def _waits(rows: list[UsageRow], policy: Policy, times: Sequence[StepTime], slots: int) -> Floats:
    """Seconds in line of each; NaN for what the line refused."""
    asked = list(requests(rows, policy))
    found = Cell(FairQueue(policy), times, asked, slots=slots, pool=rows[0].model).run()
    waited: Floats = np.where(found.granted >= 0, (found.granted - found.at) / SECOND, np.nan)
    return waited


def requests(rows: Iterable[UsageRow], policy: Policy) -> Iterable[Request]:
    """Rows as a client sent them, where this policy places them; from the first on. What an engine had in its
    cache counts as had: which text it was the ledger does not say.
    """
    origin = None
    for row in rows:
        origin = row.at if origin is None else origin
        placed = policy.place(row.service_class, row.organisation, row.group, row.zone)
        yield Request(
            (row.at - origin) * 1000,
            (placed.class_name, placed.organisation, row.subject),
            max(1, row.tokens_in - row.tokens_cached),
            max(1, row.tokens_out),
            app=row.key or PAGE,
            weight=placed.weight,
            pool=row.model,
        )


def _by_class(names: Sequence[str], waits: Floats) -> Mapping[str, Waits]:
    of = np.array(names)
    return {str(name): _told(waits[of == name]) for name in np.unique(of)}


def _told(waits: Floats) -> Waits:
    served = waits[~np.isnan(waits)]
    some = served if len(served) else np.zeros(1)
    p50, p99 = (float(one) for one in np.quantile(some, (0.5, 0.99)))
    return Waits(
        asked=len(waits), refused=len(waits) - len(served), mean=float(some.mean()), p50=p50, p99=p99
    )
