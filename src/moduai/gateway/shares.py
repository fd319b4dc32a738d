"""How the service is shared at this moment, as staff see it: by model, class and organisation.

Rule: what is told of one organisation is told of at least ``LEAST`` people who run or wait now; others are
a number, and so are the networks of guests. Of a class everything is told, as of a model.

What was served counts from when somebody had to wait: what runs while there is room is held against nobody.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from moduai.gateway.lane import Lane
from moduai.gateway.policy_file import InForce
from moduai.gateway.policy_text import told
from moduai.metering.disclosure import LEAST, hidden
from moduai.scheduling import Share
from moduai.scheduling.policy import ClassRule
from moduai.scheduling.tree import VT_COST

NETWORK = "net_"
"""What the names of guests' networks begin with."""
Path = tuple[str, ...]
People = dict[tuple[str, str, str], set[str]]
"""Who runs or waits now, by model, class and organisation."""


class PolicyInForce(Struct, frozen=True, kw_only=True):
    """What the worker shares by."""

    name: str
    digest: str
    """Names its text."""
    source: str
    """shipped, pack, file or last good."""
    problems: list[str]
    """Why the file is not what counts."""


class Part(Struct, frozen=True, kw_only=True):
    """What a class or an organisation is due and has, of one model."""

    weight: float
    guarantee: float
    """In percent of the model's places, as the cap is."""
    cap: float
    running: int
    waiting: int
    part: float | None
    """In percent of what the model has served since somebody had to wait; null: nothing yet."""
    at_cap: bool
    ahead_s: float | None
    """While it waits: accelerator-seconds at weight 1 that it was served ahead of whoever is due."""


class OrganisationPart(Part, frozen=True, kw_only=True):
    """One organisation or zone."""

    id: str
    """Empty: people of none."""
    name: str = ""


class ClassPart(Part, frozen=True, kw_only=True):
    """One class."""

    id: str
    title: dict[str, str]
    """By language; empty for a class that the policy no longer has."""
    person_cap: float
    """In percent of the model's places, of each of its people."""
    organisations: list[OrganisationPart]
    kept_back: int
    """Organisations of too few people to tell of."""
    networks: int
    """Networks of guests."""


class Forecast(Struct, frozen=True, kw_only=True):
    """How good the waits were that people were told, in percent."""

    kind: str
    """light: people with few questions in line; heavy: all others."""
    error: float
    """Median of the difference as a part of the wait that came."""
    cover: float
    """Waits that fell between the two that were told; 80 is meant."""
    seen: int
    """Waits that this rests on."""


class ModelShares(Struct, frozen=True, kw_only=True):
    """One model."""

    id: str
    running: int
    waiting: int
    places: int
    """Requests that its engines can run at once."""
    classes: list[ClassPart]
    forecasts: list[Forecast]


class Shares(Struct, frozen=True, kw_only=True):
    """How the worker that answers shares now, and since it began."""

    at: int
    """Unix time in seconds."""
    worker: str
    started_at: int
    policy: PolicyInForce
    least_people: int
    """Organisations of fewer people than this are not told of."""
    models: list[ModelShares]
    steps: dict[str, int]
    """Requests that ended, by how far the pressure went with them: queued, shortened, lighter."""


class _Row(NamedTuple):
    group: str
    people: int


def look(lane: Lane, found: InForce, started: int) -> Shares:
    """What one worker knows. ``found``: the policy in force; ``started``: Unix time in seconds."""
    told_now = lane.line.shares()  # gives tickets to those that had slipped in
    people: People = defaultdict(set)
    for exchange in lane.exchanges:
        class_, organisation, person = exchange.ticket.path
        people[exchange.ticket.pool, class_, organisation].add(person)
    shares: dict[str, dict[Path, Share]] = {name: {} for name in lane.fleet.models()}
    for share in told_now:
        shares.setdefault(share.pool, {})[share.path] = share
    return Shares(
        at=int(time.time()),
        worker=lane.boot,
        started_at=started,
        policy=PolicyInForce(
            name=found.policy.name,
            digest=found.digest,
            source=found.source,
            problems=[told(problem) for problem in found.problems],
        ),
        least_people=LEAST,
        models=[_model(lane, name, shares[name], people) for name in sorted(shares)],
        steps=dict(lane.stats.steps),
    )


def organisations(shares: Shares) -> set[str]:
    """Ids of the organisations that are told of."""
    return {one.id for model in shares.models for each in model.classes for one in each.organisations}


def named(shares: Shares, names: Mapping[str, str]) -> Shares:
    """The same with the organisations' names, by id."""
    return replace(shares, models=[_named(model, names) for model in shares.models])


def _named(model: ModelShares, names: Mapping[str, str]) -> ModelShares:
    classes = [
        replace(each, organisations=[replace(one, name=names.get(one.id, "")) for one in each.organisations])
        for each in model.classes
    ]
    return replace(model, classes=classes)


def _model(lane: Lane, name: str, shares: Mapping[Path, Share], people: People) -> ModelShares:
    rules = lane.line.policy.classes
    classes = [share for path, share in shares.items() if len(path) == 1]
    served = sum(share.served for share in classes)
    gone = sorted({share.path[0] for share in classes if share.running or share.waiting} - rules.keys())
    return ModelShares(
        id=name,
        running=sum(share.running for share in classes),
        waiting=sum(share.waiting for share in classes),
        places=sum(replica.engine.concurrency for replica in lane.fleet.serving(name) if replica.is_open),
        classes=[
            _class(rules.get(id_) or ClassRule(id_), name, shares, served, people) for id_ in (*rules, *gone)
        ],
        forecasts=[
            Forecast(kind=each.kind, error=each.error / 10, cover=each.covered / 10, seen=each.seen)
            for each in lane.line.figures().get(name, [])
        ],
    )


def _class(
    rule: ClassRule, model: str, shares: Mapping[Path, Share], served: int, people: People
) -> ClassPart:
    own = shares.get((rule.name,))
    if own is None:
        own = Share(
            model, (rule.name,), rule.weight, rule.guarantee, rule.cap, 0, 0, served=0, lag=0, over=False
        )
    below = {path[1]: share for path, share in shares.items() if len(path) == 2 and path[0] == rule.name}
    organisations = {name: share for name, share in below.items() if not name.startswith(NETWORK)}
    shown = _shown({name: people.get((model, rule.name, name), set()) for name in organisations})
    parts = [OrganisationPart(**_part(organisations[name], served), id=name) for name in shown]
    return ClassPart(
        **_part(own, served),
        id=rule.name,
        title=dict(rule.title),
        person_cap=rule.person_cap / 10,
        organisations=sorted(parts, key=lambda one: (-one.running - one.waiting, one.id)),
        kept_back=len(organisations) - len(parts),
        networks=len(below) - len(organisations),
    )


def _shown(crowds: Mapping[str, set[str]]) -> frozenset[str]:
    """The organisations of a class that are told of. Fails closed: those of whom nobody runs or waits now
    are not.
    """
    rows = [_Row(name, len(crowd)) for name, crowd in crowds.items()]
    few = set().union(*(crowd for crowd in crowds.values() if len(crowd) < LEAST))
    return frozenset(crowds) - hidden(rows, len(set().union(*crowds.values())), len(few))


def _part(share: Share, served: int) -> dict[str, Any]:
    return {
        "weight": share.weight / 1000,
        "guarantee": share.guarantee / 10,
        "cap": share.cap / 10,
        "running": share.running,
        "waiting": share.waiting,
        "part": round(100 * share.served / served, 1) if served else None,
        "at_cap": share.over,
        "ahead_s": round(share.lag / VT_COST / 1e6, 3) if share.waiting else None,
    }
