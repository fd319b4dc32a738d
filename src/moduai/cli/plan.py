"""``modu plan``: how many accelerators, where, who waits how long, what it costs."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from moduai.cli import plan_sampled
from moduai.cli.common import JsonOption, done, examples, fail, new_app, safe, table, to_json
from moduai.gateway.policy_text import parse, shipped_text
from moduai.packs import choose, where
from moduai.packs.pack import Pack, in_language
from moduai.packs.read import PackError, told
from moduai.packs.read import read as read_pack
from moduai.planner import fluid, outcome, size
from moduai.planner.basis import Spread
from moduai.planner.fluid import Columns, Flow, Progress
from moduai.planner.outcome import ByClass, Outcome
from moduai.planner.plant import Plant
from moduai.planner.report import NoParquetError, write_parquet
from moduai.planner.report import report as html
from moduai.planner.report.figures import short
from moduai.planner.scenario import Given, ScenarioError, World
from moduai.planner.scenario import read as read_scenario
from moduai.planner.scenario import shipped as scenarios
from moduai.planner.spent import Year

app = new_app("Plan accelerators: who waits how long with how many, where, and what it costs.")

DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
CLASSES: Final = {
    "class": "class",
    "asked": "questions",
    "served": "served",
    "share": "of the time",
    "mean": "mean wait s",
    "p50": "p50 s",
    "p99": "p99 s",
    "band": "p99 band",
    "lost": "turned away",
}
REGIONS: Final = {
    "region": "region",
    "asked": "questions",
    "served": "served",
    "mean": "mean wait s",
    "p99": "p99 s",
}
YEARS: Final = {
    "year": "year",
    "bought": "bought",
    "energy": "MWh a year",
    "bill": "electricity",
    "budget": "budget",
    "part": "of the budget",
}
ScenarioArgument = Annotated[
    str, typer.Argument(help="One that comes with Modu (`modu plan list`), or a file.")
]
LanguageOption = Annotated[str, typer.Option("--language", help="Of names and of the report: en or ko.")]
LoseOption = Annotated[
    list[str] | None, typer.Option("--lose", help="What if: this site is lost all the time.")
]
LaunchOption = Annotated[
    float, typer.Option("--launch", min=0, help="What if: so many times the questions, all the time.")
]
FasterOption = Annotated[
    list[str] | None, typer.Option("--faster", help="What if: KIND=FACTOR, such as rebel-quad=2.")
]
PolicyOption = Annotated[
    Path | None, typer.Option("--policy", help="What if: this policy file in place of all others.")
]
DaysOption = Annotated[int, typer.Option("--days", min=0, help="Run so many days; 0: as the scenario says.")]
FleetOption = Annotated[
    float, typer.Option("--fleet", min=0, help="What if: all fleets so many times as large.")
]


@app.command("list", epilog=examples("modu plan list", "modu plan list --json"))
def list_scenarios(language: LanguageOption = "en", json: JsonOption = False) -> None:
    """List the scenarios that come with Modu."""
    worlds = {name: _read(name) for name in scenarios()}
    rows = [
        {
            "name": name,
            "title": safe(in_language(world.head.name, language)),
            "accelerators": round(sum(pool.count for pool in world.pools)),
            "start": str(world.head.start),
            "pack": world.head.pack,
            "file": str(scenarios()[name]),
        }
        for name, world in worlds.items()
    ]
    table(rows, ("name", "accelerators", "start", "title"), json=json)


@app.command(epilog=examples("modu plan check mine.toml", "modu plan check mine.toml --json"))
def check(scenario: ScenarioArgument, json: JsonOption = False) -> None:
    """Look for all that is wrong with a scenario, each with its file and line. Status 1 if there is any."""
    try:
        world = read_scenario(scenario, _given())
    except ScenarioError as error:
        if json:
            typer.echo(to_json({"valid": False, "faults": error.faults}))
        for fault in () if json else error.faults:
            typer.echo(safe(told(fault)), err=True)
        raise typer.Exit(1) from None
    counts = f"{len(world.demands)} demands, {len(world.pools)} pools"
    done(f"{safe(world.title('en'))} is valid: {counts}.", {"valid": True, "faults": []}, json=json)


@app.command(
    epilog=examples(
        "modu plan run kr-50000",
        "modu plan run kr-200000 --lose ulsan-sk-aws --launch 3 --report what-if.html",
        "modu plan run mine.toml --days 365 --json",
        "modu plan run kr-200000 --sampled --peak --cells 24",
    )
)
def run(
    scenario: ScenarioArgument,
    *,
    report: Annotated[Path | None, typer.Option("--report", help="Write a report, one HTML file.")] = None,
    parquet: Annotated[
        Path | None, typer.Option("--parquet", help="Write a row for each tick and class.")
    ] = None,
    lose: LoseOption = None,
    launch: LaunchOption = 1.0,
    faster: FasterOption = None,
    fleet: FleetOption = 1.0,
    policy: PolicyOption = None,
    days: DaysOption = 0,
    draws: Annotated[
        int, typer.Option("--draws", min=-1, max=64, help="Runs for the bands; -1: as the scenario says.")
    ] = -1,
    sampled: Annotated[
        bool, typer.Option("--sampled", help="Draw cells too, each request simulated, and compare.")
    ] = False,
    cells: Annotated[int, typer.Option("--cells", min=2, max=100_000, help="How many are drawn.")] = 32,
    peak: Annotated[bool, typer.Option("--peak", help="Draw from the busiest hour alone.")] = False,
    processes: Annotated[
        int, typer.Option("--processes", min=0, max=1024, help="That run cells; 0: one for each core.")
    ] = 0,
    ray: Annotated[
        str, typer.Option("--ray", help="Run cells on this Ray cluster: its address, auto or local.")
    ] = "",
    go_on: Annotated[
        Path | None, typer.Option("--go-on", help="Go on from what an interrupted run has kept.")
    ] = None,
    language: LanguageOption = "en",
    json: JsonOption = False,
) -> None:
    """Run a scenario: waits by class and region, throughput, shares, use, energy, cost, beside the budget.

    Ctrl-C ends it: what is done is shown and kept, and it says how to go on.
    """
    head = {"days": days} if days else {}
    head |= {"draws": draws} if draws >= 0 else {}
    world = _read(scenario, _what_if(lose, launch, faster, head), policy, fleet)
    plant = Plant(world)
    begun = _begun(go_on, world) if go_on and not sampled else None
    with _progress("days") as progress:
        flow = fluid.run(world, plant, fluid.middle(world), begun=begun, progress=progress)
    bands = None
    if flow.done == len(flow.served) and world.head.draws:
        with _progress("bands") as progress:
            bands = _bands(world, plant, progress)
    found = outcome.outcome(world, plant, flow, bands)
    _write(world, plant, flow, found, report, parquet, language)
    if not json:
        _tell(found, language)
    elif not sampled:
        typer.echo(to_json(found))
    if not found.whole:
        _keep(flow, scenario)
    if sampled:
        options = plan_sampled.Options(cells, peak, processes, ray, go_on)
        _sample(scenario, world, plant, flow, found, options, "json" if json else language)


@app.command(
    "size", epilog=examples("modu plan size kr-200000", "modu plan size mine.toml --sure 0.9 --json")
)
def size_(
    scenario: ScenarioArgument,
    *,
    sure: Annotated[
        float, typer.Option("--sure", min=0, max=1, help="Keep the goals in this part of the drawn runs too.")
    ] = 0.0,
    lose: LoseOption = None,
    launch: LaunchOption = 1.0,
    faster: FasterOption = None,
    policy: PolicyOption = None,
    days: DaysOption = 0,
    json: JsonOption = False,
) -> None:
    """Search for the fewest accelerators that keep the goals; all fleets grow or shrink together."""
    world = _read(scenario, _what_if(lose, launch, faster, {"days": days} if days else {}), policy)
    try:
        with _progress("sizes") as progress:
            found = size.size(world, Plant(world), sure, progress)
    except ValueError as error:
        fail(safe(str(error)))
    if json:
        typer.echo(to_json(found))
        return
    if found.fewest is None:
        why = f"no size from {size.LEAST * found.now:,.0f} to {size.MOST * found.now:,.0f} keeps the goals"
        fail(f"{why}: `modu plan run {shlex.quote(scenario)}` says which is missed")
    for name, count in found.fleets.items():
        typer.echo(f"{safe(name):<24} {count:>12,}")
    part = f" in {sure:.0%} of the drawn runs" if sure else ""
    typer.echo(
        f"\n{found.fewest:,} accelerators keep the goals{part}, {found.serving:,} of them answering: "
        f"{found.multiple:.3g} times the scenario's {found.now:,}."
    )
    if not found.whole:
        typer.echo("Stopped: fewer may do. Run it again to search to the end.", err=True)


@app.command(
    epilog=examples("modu plan compare kr-start kr-50000 kr-200000", "modu plan compare a.toml b.toml --json")
)
def compare(
    scenario: Annotated[list[str], typer.Argument(help="Two or more.")],
    *,
    lose: LoseOption = None,
    launch: LaunchOption = 1.0,
    faster: FasterOption = None,
    policy: PolicyOption = None,
    days: DaysOption = 0,
    language: LanguageOption = "en",
    json: JsonOption = False,
) -> None:
    """Put scenarios side by side. What-ifs count for all of them."""
    found: dict[str, Outcome] = {}
    for name in scenario:
        changes = _what_if(lose, launch, faster, {"days": days} if days else {})
        world = _read(name, changes, policy)
        plant = Plant(world)
        with _progress(name) as progress:
            flow = fluid.run(world, plant, fluid.middle(world), progress=progress)
        found[name] = outcome.outcome(world, plant, flow, None)
        if not found[name].whole:
            typer.echo(f"Stopped at {safe(name)}; what is done is shown.", err=True)
            break
    if json:
        typer.echo(to_json(found))
        return
    table(_side_by_side(found, language), ["", *found])


# reading


def _given(instead: str = "") -> Given:
    return Given(parse, shipped_text(), _pack, instead)


@cache
def _pack(name: str) -> Pack:
    folder = where.folder(name, Path.cwd())
    if not folder.is_dir():
        raise PackError([choose.absent(folder)])
    return read_pack(folder, parse)


def _read(
    scenario: str, changes: dict[str, Any] | None = None, policy: Path | None = None, fleet: float = 1.0
) -> World:
    """A world; one with faults ends the command."""
    try:
        instead = policy.read_text("utf-8") if policy else ""
        parse(instead or shipped_text())
    except (OSError, ValueError) as error:
        fail(safe(f"{policy}: {error}"))
    try:
        world = read_scenario(scenario, _given(instead), changes)
    except ScenarioError as error:
        for fault in error.faults:
            typer.echo(safe(told(fault)), err=True)
        fail(f"the scenario cannot be used: {len(error.faults)} faults")
    return world if fleet == 1.0 else world.grown(fleet)


def _what_if(
    lose: list[str] | None, launch: float, faster: list[str] | None, head: dict[str, Any]
) -> dict[str, Any]:
    """Options as tables of a scenario."""
    events: list[dict[str, Any]] = [
        {"id": f"what-if.lost.{number}", "kind": "site-lost", "site": site}
        for number, site in enumerate(lose or ())
    ]
    if launch != 1.0:
        events.append({"id": "what-if.launch", "kind": "launch", "factor": launch})
    for number, one in enumerate(faster or ()):
        kind, _, factor = one.partition("=")
        try:
            times = float(factor or 2)
        except ValueError:
            fail(f"write --faster KIND=FACTOR, such as rebel-quad=2, not {safe(one)!r}", 2)
        events.append(
            {"id": f"what-if.faster.{number}", "kind": "faster", "accelerator": kind, "factor": times}
        )
    return {**({"scenario": head} if head else {}), **({"event": events} if events else {})}


# running


@contextmanager
def _progress(what: str) -> Iterator[Progress | None]:
    """A bar with the time left, where someone looks."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console  # noqa: PLC0415  Rich costs 0.1 s, so only where it is seen
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415
    from rich.progress import Progress as Shown  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Shown(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=None)
        yield lambda ticks, all_: shown.update(task, completed=ticks, total=all_)


def _bands(world: World, plant: Plant, progress: Progress | None) -> tuple[Columns, Flow] | None:
    columns = fluid.drawn(world, plant)
    flow = fluid.run(world, plant, columns, regions=False, progress=progress)
    return (columns, flow) if flow.done == len(flow.served) else None


def _sample(
    scenario: str, world: World, plant: Plant, flow: Flow, found: Outcome, options: plan_sampled.Options,
    how: str,
) -> None:  # fmt: skip
    """``how``: json, or the language to tell it in."""
    with _progress("cells") as progress:
        drawn = plan_sampled.run(world, plant, flow, options, progress)
    said = plan_sampled.result(world, plant, flow, *drawn)
    if how == "json":
        typer.echo(to_json({"fluid": found, "sampled": said}))
    elif said:
        plan_sampled.tell(said, how)
    plan_sampled.keep(*drawn, scenario)


def _begun(file: Path, world: World) -> Flow:
    try:
        flow = Flow.load(file)
    except (OSError, ValueError, KeyError) as error:
        fail(safe(f"{file} is not what a run has kept: {error}"))
    expected = fluid.empty(world, 1, len(world.regions), len({one.model for one in world.demands}))
    if flow.came.shape != expected.came.shape or flow.used.shape != expected.used.shape:
        fail(safe(f"{file} was kept by a run of another scenario, or with other options"))
    return flow


def _keep(flow: Flow, scenario: str) -> None:
    """What is done goes into a file beside; the command fails, for it was not all."""
    file = Path(f"modu-plan-{Path(scenario).stem}.npz")
    flow.save(file)
    words = [word for word in sys.argv[1:] if word != "--go-on" and not word.endswith(".npz")]
    typer.echo(
        f"Stopped after {fluid.days(flow):.3g} days; what is done is kept. Go on: "
        f"modu {shlex.join(words)} --go-on {file}",
        err=True,
    )
    raise typer.Exit(1)


def _write(
    world: World,
    plant: Plant,
    flow: Flow,
    found: Outcome,
    report: Path | None,
    parquet: Path | None,
    language: str,
) -> None:
    try:
        if report:
            report.write_text(html(found, language), "utf-8")
            typer.echo(f"The report is in {report}.", err=True)
        if parquet:
            about = {"scenario": found.scenario, "seed": str(found.seed)}
            write_parquet(outcome.by_tick(world, plant, flow), parquet, about)
            typer.echo(f"The ticks are in {parquet}.", err=True)
    except (OSError, NoParquetError) as error:
        fail(safe(str(error)))


# telling


def _tell(found: Outcome, language: str) -> None:
    name = safe(in_language(found.name, language) or found.scenario)
    typer.echo(
        f"{name}\n{found.days:.3g} days from {found.start}; {found.accelerators:,} accelerators, "
        f"{found.serving:,} answer\n"
    )
    table([_class(one, language) for one in found.classes], CLASSES)
    if len(found.regions) > 1:
        typer.echo()
        table(
            [
                {
                    "region": safe(in_language(one.name, language) or one.region),
                    "asked": short(one.asked),
                    "served": f"{one.served:.2%}",
                    "mean": short(one.mean),
                    "p99": short(one.p99),
                }
                for one in found.regions
            ],
            REGIONS,
        )
    typer.echo()
    for model, used in found.used.items():
        typer.echo(f"{safe(model)}: {used:.1%} used, {found.peak[model]:.1%} when busiest")
    for goal in found.goals:
        kept = "kept" if goal.kept else "MISSED"
        typer.echo(
            f"goal {kept}: {safe(goal.service_class)}: {goal.within:.2%} of {goal.wanted:.1%} within "
            f"{goal.wait_s:g} s, {goal.turned_away:.2%} turned away"
        )
    for site in found.sites:
        lacks = "" if site.powered >= 0.9995 else f"; power for {site.powered:.1%} of them only"
        drew = f"at most {site.peak_mw:.3g} MW, {short(site.energy_mwh)} MWh"
        typer.echo(f"{safe(site.site)}: {drew}{lacks}")
    if found.years:
        typer.echo()
        table([_year(one, found.currency) for one in found.years], YEARS)
    said = ", ".join(f"{name} {basis}" for name, basis in found.basis.items())
    typer.echo(
        f"\nBasis, the weakest of what each rests on: {said}. --json has every figure with its source."
    )


def _class(one: ByClass, language: str) -> dict[str, Any]:
    return {
        "class": safe(in_language(one.title, language) or one.service_class),
        "asked": short(one.asked),
        "served": f"{one.served.middle:.2%}",
        "share": f"{one.share:.1%}",
        "mean": short(one.mean),
        "p50": short(one.p50),
        "p99": short(one.p99.middle),
        "band": f"{short(one.p99.low)} – {short(one.p99.high)}",
        "lost": f"{one.refused + one.left:.2%}",
    }


def _year(one: Year, currency: str) -> dict[str, Any]:
    def money(value: Spread | float | None) -> str:
        number = value.middle if isinstance(value, Spread) else value
        return f"{short(number)} {currency}" if number else ""

    return {
        "year": str(one.year),
        "bought": money(one.bought),
        "energy": short(one.energy_mwh.middle) if one.energy_mwh else "",
        "bill": money(one.bill),
        "budget": money(one.budget),
        "part": f"{one.part:.1%}" if one.part is not None else "",
    }


def _side_by_side(found: dict[str, Outcome], language: str) -> list[dict[str, Any]]:
    """A row for each figure, a column for each scenario."""
    rows = [_figure(found, name, told) for name, told in BESIDE.items()]
    classes = dict.fromkeys(each.service_class for one in found.values() for each in one.classes)
    for service_class in classes:
        mine = {name: one for name, outcome_ in found.items() if (one := _of(outcome_, service_class))}
        title = in_language(next(iter(mine.values())).title, language) or service_class
        rows.append(
            {"": safe(f"{title}: served"), **{n: f"{one.served.middle:.2%}" for n, one in mine.items()}}
        )
        rows.append({"": safe(f"{title}: p99 s"), **{n: short(one.p99.middle) for n, one in mine.items()}})
    return rows


def _figure(found: dict[str, Outcome], name: str, told_: Callable[[Outcome], str]) -> dict[str, Any]:
    return {"": name, **{scenario: told_(one) for scenario, one in found.items()}}


def _of(found: Outcome, service_class: str) -> ByClass | None:
    return next((one for one in found.classes if one.service_class == service_class), None)


def _sum(found: Outcome, spreads: Iterable[Spread | None]) -> str:
    whole = sum(one.middle for one in spreads if one)
    return f"{short(whole)} {found.currency}" if whole else ""


BESIDE: Final[dict[str, Callable[[Outcome], str]]] = {
    "accelerators": lambda one: f"{one.accelerators:,}",
    "of them answering": lambda one: f"{one.serving:,}",
    "questions a day": lambda one: short(one.asked / max(one.days, 1e-9)),
    "tokens a second": lambda one: short(one.tokens_s),
    "busiest model": lambda one: f"{max(one.peak.values(), default=0.0):.1%}",
    "goals kept": lambda one: f"{sum(goal.kept for goal in one.goals)} of {len(one.goals)}",
    "most power MW": lambda one: short(sum(site.peak_mw for site in one.sites)),
    "bought": lambda one: _sum(one, (year.bought for year in one.years)),
    "electricity a year": lambda one: _sum(one, (year.bill for year in one.years)),
}
"""What is compared, before the classes."""
