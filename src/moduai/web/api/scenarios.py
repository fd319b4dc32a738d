"""The planner's scenarios: which there are, and what becomes of one with a few changes."""

from __future__ import annotations

import asyncio
import contextlib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from moduai.gateway.errors import ApiError
from moduai.lined import near
from moduai.planner.what_if import WhatIf
from moduai.web.api.operation import Call, Code, Nothing, Operation, Request, Word
from moduai.web.scenario_runs import Asked, files

MOST_DAYS = 8
"""As many as may be run in steps of five minutes (``scenario_runs.MOST_TICKS``)."""
MOST_BYTES = 1 << 20
"""Of a scenario whose head is read."""
Times = Annotated[float, Meta(ge=0, le=100)]


class Choice(Struct, frozen=True, kw_only=True):
    """One scenario, as its file says."""

    name: str
    title: dict[str, str]
    """By language."""
    about: dict[str, str]
    start: str


class Scenarios(Struct, frozen=True, kw_only=True):
    """Those that come with Modu, and those of the pack in use."""

    items: tuple[Choice, ...]


class ScenarioWanted(Request, frozen=True):
    """One of them, with changes."""

    scenario: Annotated[Word, Meta(description="Its name.")]
    fleet: Annotated[Times, Meta(description="All accelerators so many times.")] = 1.0
    launch: Annotated[Times, Meta(description="So many times the questions.")] = 1.0
    lose: Annotated[Code, Meta(description="Id of a site that is lost; empty: none.")] = ""
    kind: Annotated[Code, Meta(description="A kind of accelerator that is faster; empty: none.")] = ""
    faster: Annotated[float, Meta(ge=0.1, le=10, description="So many times as fast.")] = 2.0
    days: Annotated[int, Meta(ge=0, le=MOST_DAYS, description="Run so many; 0: as it says.")] = 0
    policy: Annotated[
        Literal["scenario", "live"],
        Meta(description="live: shared by the policy in force here, in place of the scenario's."),
    ] = "scenario"
    report: Annotated[
        Literal["", "en", "ko"], Meta(description="The report's figures and tables too, in this language.")
    ] = ""


class Range(Struct, frozen=True):
    """A figure and its band: the 5th to the 95th of a hundred runs with drawn figures."""

    low: float
    middle: float
    high: float


class ClassRun(Struct, frozen=True, kw_only=True):
    """What one class got. Waits in seconds; the rest are parts of what was asked unless said."""

    service_class: str
    title: dict[str, str]
    asked: float
    """Questions."""
    served: Range | None
    """None: nobody asked."""
    refused: float
    left: float
    waiting: float
    share: float
    """Part of all accelerator time that was used."""
    mean: float
    p50: float
    p90: float
    p99: Range


class RegionRun(Struct, frozen=True, kw_only=True):
    """What people in one region got."""

    region: str
    name: dict[str, str]
    asked: float
    served: float
    mean: float
    p99: float


class GoalRun(Struct, frozen=True, kw_only=True):
    """Whether a goal was kept."""

    service_class: str
    wait_s: float
    wanted: float
    within: float
    turned_away: float
    kept: bool


class SiteRun(Struct, frozen=True, kw_only=True):
    """What one site had."""

    site: str
    name: dict[str, str]
    accelerators: int
    powered: float
    peak_mw: float
    energy_mwh: float


class PoolRun(Struct, frozen=True, kw_only=True):
    """Replicas of a model at a site."""

    site: str
    model: str
    accelerator: str
    replicas: int
    devices: int
    """That one spans."""
    tpot_ms: float
    """For each token of an answer, and below nine of ten lie within this part of it."""
    error: float
    basis: str


class YearRun(Struct, frozen=True, kw_only=True):
    """A calendar year at the pace of the days that were run; money in the currency."""

    year: int
    bought: Range
    energy_mwh: Range | None
    bill: Range | None
    budget: float | None
    part: float | None


class ScenarioRun(Struct, frozen=True, kw_only=True):
    """What a scenario comes to. `modu plan run --json` has more."""

    scenario: str
    name: dict[str, str]
    start: str
    days: float
    draws: int
    """Runs behind the bands; 0: there are none."""
    currency: str
    accelerators: int
    serving: int
    """Of them, in replicas that answer."""
    asked: float
    tokens_s: float
    used: dict[str, float]
    """Part of the supply by model, in the mean; below: in the busiest step."""
    peak: dict[str, float]
    classes: tuple[ClassRun, ...]
    regions: tuple[RegionRun, ...]
    goals: tuple[GoalRun, ...]
    sites: tuple[SiteRun, ...]
    pools: tuple[PoolRun, ...]
    years: tuple[YearRun, ...]
    basis: dict[str, str]
    """Of questions, engines, waits, energy and money, the weakest of what each rests on: measured, fitted,
    published, assumed."""
    report: str = ""
    """The report's sections as HTML, where they were asked for; escaped, without scripts and styles."""


async def list_scenarios(call: Call, _: Nothing) -> Scenarios:
    """Those that come with Modu and those of the pack in use. `scenario.run` says whether one can be run."""
    loaded = call.services.loaded
    known = await asyncio.to_thread(files, loaded.home, loaded.settings.pack.use)
    return Scenarios(items=tuple(await asyncio.to_thread(lambda: [*map(_choice, known.items())])))


def _choice(one: tuple[str, Path]) -> Choice:
    """What the head of a file says; a file that cannot be read has no title."""
    name, file = one
    head: Any = None
    with contextlib.suppress(OSError, ValueError), file.open("rb") as opened:
        head = tomllib.loads(opened.read(MOST_BYTES).decode()).get("scenario")
    head = head if isinstance(head, dict) else {}
    title, about = (_words(head.get(name)) for name in ("name", "about"))
    return Choice(name=name, title=title, about=about, start=str(head.get("start", "")))


def _words(raw: object) -> dict[str, str]:
    return (
        {str(key): text for key, text in raw.items() if isinstance(text, str)}
        if isinstance(raw, dict)
        else {}
    )


async def run(call: Call, wanted: ScenarioWanted) -> ScenarioRun:
    """Run it in a process of its own, one at a time on this machine, within bounds of time and memory; the
    same question again within ten minutes is answered from memory. What is too much is refused.
    """
    services = call.services
    loaded = services.loaded
    known = files(loaded.home, loaded.settings.pack.use)
    if wanted.scenario not in known:
        raise ApiError("not_found", f"There is no such scenario; {near(wanted.scenario, list(known))}")
    what_if = WhatIf(
        lose=(wanted.lose,) if wanted.lose else (),
        launch=wanted.launch,
        faster={wanted.kind: wanted.faster} if wanted.kind else {},
        fleet=wanted.fleet,
        days=wanted.days,
    )
    asked = Asked(
        home=str(loaded.home),
        file=str(known[wanted.scenario]),
        policy=services.policy().text if wanted.policy == "live" else "",
        chosen=tuple(sorted(loaded.settings.people.groups)),
        what_if=what_if,
    )
    said = await services.scenarios.ask(asked)
    found = msgspec.json.decode(said.outcome, type=ScenarioRun)
    return msgspec.structs.replace(found, report=said.figures[wanted.report]) if wanted.report else found


OPERATIONS = (
    Operation(
        "scenario.list", "GET", "/api/scenarios", "usage", "List the planner's scenarios.",
        Nothing, Scenarios, list_scenarios, "plan list",
    ),
    Operation(
        "scenario.run", "GET", "/api/scenarios/{scenario}", "usage",
        "Run a scenario of the planner, with changes.", ScenarioWanted, ScenarioRun, run, "plan run",
    ),
)  # fmt: skip
