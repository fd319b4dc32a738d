"""The ledger's requests once more, through the gateway's own dispatcher: as it was, and as it could be.

Words: *recorded* is what the ledger has, *again* is the same requests under the same policy and fleet in
simulated time, *changed* is another policy, more engines, faster ones or another kind of accelerator. Rule:
changed is held against again and not against the record, so that what the model gets wrong stands on both
sides; how far again is from the record is shown, and so is what the ledger does not hold. Each is asked three
times: with engines as fast as they are known to be, and all of them slower and faster by their error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import cycle, islice
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from msgspec import Struct

from moduai.planner.basis import ORDER, Basis, Figure, Spread
from moduai.planner.cell import Cell
from moduai.planner.clock import SECOND
from moduai.planner.devices import devices
from moduai.planner.fluid import Progress
from moduai.planner.kept import Kept
from moduai.planner.ledger import SOURCE, Learned, ran
from moduai.planner.load import Floats
from moduai.planner.models import models
from moduai.planner.scenario.world import CONTEXT
from moduai.planner.steptime import Coefficients, StepTime, least_tp, shipped, step_time
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
    kind: str = ""
    """Another kind of accelerator, by its key in the planner's table; empty: the one there is."""
    devices: int = 0
    """Of that kind that a replica spans; 0: the fewest that hold the model and its context."""


class Got(Struct, frozen=True, kw_only=True):
    """What one class got. Seconds in line; low and high are those of faster and of slower engines."""

    asked: int
    refused: int | None
    """None: of what was recorded only what was answered can be asked again."""
    mean: Spread
    p50: Spread
    p99: Spread


class ByClass(Struct, frozen=True, kw_only=True):
    """One class of the policy that counted."""

    service_class: str
    recorded: Got
    again: Got
    changed: Got | None
    """None: nothing was changed."""


class Rehearsed(Struct, frozen=True, kw_only=True):
    """One model's requests."""

    model: str
    recorded: Figure
    """Engines that answered them; how waits are known."""
    again: Figure
    """As many, as fast as the ledger shows; the error is that of their time per token."""
    changed: Figure | None
    slots: int
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


class _Engine(NamedTuple):
    """A replica, and how well its speed is known."""

    time: StepTime
    known: Figure

    def off(self, way: int) -> StepTime:
        """As it is (0), slower by its error (-1), or faster (1)."""
        return self.time.slower(round(1000 * (1 + self.known.error) ** way)) if way else self.time


def rehearse(
    rows: Sequence[UsageRow],
    learned: Iterable[Learned],
    before: Policy,
    change: Change | None = None,
    *,
    fit: Coefficients | None = None,
    progress: Progress | None = None,
    done: Kept | None = None,
) -> tuple[list[Rehearsed], LeftOut]:
    """Ask all of it again, model by model; ``done`` keeps what was asked. ``fit``: how fast another kind is.
    Raises ValueError for one that a model does not run on, or of which that is not known.
    """
    known = {(one.place.engine, one.place.model): one for one in learned}
    answered = [row for row in rows if ran(row)]
    mine = [row for row in answered if (row.engine, row.model) in known]
    of: dict[str, list[UsageRow]] = {}
    for row in sorted(mine, key=lambda row: row.at):
        of.setdefault(row.model, []).append(row)
    run = _Run(before, change, fit or shipped(), done or Kept(), len(of), progress)
    found = [
        run.model(some, [one for one in known.values() if one.place.model == model])
        for model, some in of.items()
    ]
    return found, LeftOut(
        no_answer=len(rows) - len(answered),
        no_engine=len(answered) - len(mine),
        guests=sum(row.service_class == "guest" for row in mine),
        estimated=sum(row.tokens_source == "estimated" for row in mine),
    )


WAYS: Final = (0, -1, 1)


class _Run:
    """All models, with the same change."""

    def __init__(
        self, before: Policy, change: Change | None, fit: Coefficients, done: Kept, count: int,
        progress: Progress | None,
    ) -> None:  # fmt: skip
        self.before, self.change, self.fit, self.done, self.progress = before, change, fit, done, progress
        self.asked, self.all = 0, count * len(WAYS) * (2 if change else 1)

    def model(self, rows: list[UsageRow], replicas: list[Learned]) -> Rehearsed:
        engines = [_Engine(one.time, Figure(1, Basis.FITTED, SOURCE, one.after.p90)) for one in replicas]
        slots = max(1, round(sum(one.place.slots for one in replicas) / len(replicas)))
        names = [
            self.before.place(row.service_class, row.organisation, row.group, row.zone).class_name
            for row in rows
        ]
        others = self._changed(replicas, engines) if self.change else None
        again = self._by_class("again", rows, names, engines, self.before, slots)
        changed = (
            self._by_class("changed", rows, names, others, self.change.policy, slots)
            if others and self.change
            else {}
        )
        recorded = _told(names, [np.array([row.queue_us / 1e6 for row in rows])], refused=False)
        return Rehearsed(
            model=rows[0].model,
            recorded=Figure(len(engines), Basis.MEASURED, SOURCE),
            again=_together(engines),
            changed=_together(others) if others else None,
            slots=slots,
            seconds=(rows[-1].at - rows[0].at) / 1e6,
            classes=tuple(
                ByClass(
                    service_class=name,
                    recorded=recorded[name],
                    again=again[name],
                    changed=changed.get(name),
                )
                for name in sorted(recorded)
            ),
        )

    def _changed(self, replicas: list[Learned], engines: list[_Engine]) -> list[_Engine]:
        change = self.change
        if change is None:
            return engines
        if change.kind:
            engines = [self._other(one, change) for one in replicas]
        faster = [one._replace(time=one.time.slower(max(1, round(1000 * change.faster)))) for one in engines]
        return list(islice(cycle(faster), max(1, round(len(engines) * change.fleet))))

    def _other(self, one: Learned, change: Change) -> _Engine:
        """The same model on another kind, as the fit knows it."""
        if not one.place.shape:
            text = f"the planner's tables do not have {one.place.model}: nobody knows how fast it is"
            raise ValueError(f"{text} on {change.kind}")
        model, device = models()[one.place.shape], devices()[change.kind]
        span = change.devices or least_tp(model, device, CONTEXT)
        time = step_time(model, device, span, fit=self.fit)
        if time.room <= 0:
            raise ValueError(f"{one.place.model} does not fit on {span} × {device.name}")
        off = self.fit.error(model, device, span)
        return _Engine(time, Figure(1, off.basis, off.source, off.value))

    def _by_class(
        self, what: str, rows: list[UsageRow], names: Sequence[str], engines: Sequence[_Engine],
        policy: Policy, slots: int,
    ) -> Mapping[str, Got]:  # fmt: skip
        waits = []
        for way in WAYS:
            times = [one.off(way) for one in engines]
            name = f"{what} {rows[0].model} {len(rows)} {way}"
            waits.append(self.done.piece(name, list[float], partial(_waits, rows, policy, times, slots)))
            self.asked += 1
            if self.progress:
                self.progress(self.asked, self.all)
        return _told(names, [np.array(one) for one in waits])


def _together(engines: Sequence[_Engine]) -> Figure:
    """How many, and how well the least known of them is known."""
    least = max((one.known for one in engines), key=lambda one: (ORDER.index(one.basis), one.error))
    return Figure(len(engines), least.basis, least.source, max(one.known.error for one in engines))


def _waits(rows: list[UsageRow], policy: Policy, times: Sequence[StepTime], slots: int) -> list[float]:
    """Seconds in line of each; NaN for what the line refused."""
    asked = list(requests(rows, policy))
    found = Cell(FairQueue(policy), times, asked, slots=slots, pool=rows[0].model).run()
    waited = np.where(found.granted >= 0, (found.granted - found.at) / SECOND, np.nan)
    return [float(one) for one in waited]


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


def _told(names: Sequence[str], waits: Sequence[Floats], *, refused: bool = True) -> Mapping[str, Got]:
    """By class; the first of the waits is the middle."""
    of = np.array(names)
    return {str(name): _got([one[of == name] for one in waits], refused=refused) for name in np.unique(of)}


def _got(waits: Sequence[Floats], *, refused: bool) -> Got:
    served = [one[~np.isnan(one)] for one in waits]

    def around(value: Callable[[Floats], np.floating]) -> Spread:
        each = [float(value(one)) if len(one) else 0.0 for one in served]
        return Spread(min(each), each[0], max(each))

    return Got(
        asked=len(waits[0]),
        refused=len(waits[0]) - len(served[0]) if refused else None,
        mean=around(np.mean),
        p50=around(lambda one: np.quantile(one, 0.5)),
        p99=around(lambda one: np.quantile(one, 0.99)),
    )
