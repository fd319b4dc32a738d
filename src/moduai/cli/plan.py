"""``modu plan``: how many accelerators, where, who waits how long, what it costs."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from moduai.cli import plan_ledger, plan_sampled
from moduai.cli.common import JsonOption, done, examples, fail, new_app, safe, table, to_json, with_options
from moduai.cli.scenarios import LanguageOption, ScenarioArgument, WhatIfs, given, progress_of
from moduai.cli.scenarios import world as read_world
from moduai.packs.pack import in_language
from moduai.packs.read import told
from moduai.planner import fluid, mix, outcome, size
from moduai.planner.basis import Spread
from moduai.planner.fluid import Columns, Flow, Progress
from moduai.planner.outcome import ByClass, Outcome
from moduai.planner.plant import Plant
from moduai.planner.report import NoParquetError, write_parquet
from moduai.planner.report import report as html
from moduai.planner.report.figures import short
from moduai.planner.scenario import ScenarioError, World
from moduai.planner.scenario import read as read_scenario
from moduai.planner.scenario import shipped as scenarios
from moduai.planner.spent import Year

app = new_app("Plan accelerators: who waits how long with how many, where, and what it costs.")
app.add_typer(plan_ledger.app)

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
MIX: Final = {"kind": "accelerator", "now": "now", "alone": "fewest, others as now", "mix": "in the mix"}
YEARS: Final = {
    "year": "year",
    "bought": "bought",
    "energy": "MWh a year",
    "bill": "electricity",
    "budget": "budget",
    "part": "of the budget",
}


@app.command("list", epilog=examples("modu plan list", "modu plan list --json"))
def list_scenarios(language: LanguageOption = "en", json: JsonOption = False) -> None:
    """List the scenarios that come with Modu."""
    worlds = {name: read_world(name) for name in scenarios()}
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
        world = read_scenario(scenario, given())
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
@with_options
def run(
    scenario: ScenarioArgument,
    *,
    report: Annotated[Path | None, typer.Option("--report", help="Write a report, one HTML file.")] = None,
    parquet: Annotated[
        Path | None, typer.Option("--parquet", help="Write a row for each tick and class.")
    ] = None,
    what_if: WhatIfs,
    fleet: Annotated[
        float, typer.Option("--fleet", min=0, help="What if: all fleets so many times as large.")
    ] = 1.0,
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
    world = read_world(scenario, what_if, fleet=fleet, draws=draws)
    plant = Plant(world)
    begun = _begun(go_on, world) if go_on and not sampled else None
    with progress_of("days") as progress:
        flow = fluid.run(world, plant, fluid.middle(world), begun=begun, progress=progress)
    bands = None
    if flow.done == len(flow.served) and world.head.draws:
        with progress_of("bands") as progress:
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
    "size",
    epilog=examples(
        "modu plan size kr-200000",
        "modu plan size kr-200000-npu --by-kind",
        "modu plan size mine.toml --sure 0.9 --json",
    ),
)
@with_options
def size_(
    scenario: ScenarioArgument,
    *,
    sure: Annotated[
        float, typer.Option("--sure", min=0, max=1, help="Keep the goals in this part of the drawn runs too.")
    ] = 0.0,
    by_kind: Annotated[
        bool, typer.Option("--by-kind", help="Then one kind at a time: the fewest of each, and a cheap mix.")
    ] = False,
    what_if: WhatIfs,
    json: JsonOption = False,
) -> None:
    """Search for the fewest accelerators that keep the goals; all fleets grow or shrink together."""
    if by_kind and sure:
        fail("--by-kind asks the middle of all figures only: leave --sure out", 2)
    world = read_world(scenario, what_if)
    try:
        with progress_of("sizes") as progress:
            found = size.size(world, Plant(world), sure, progress)
        if by_kind:
            with progress_of("mixes") as progress:
                mixed = mix.mix(world, found, progress)
            _tell_mix(mixed, json=json)
            return
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
@with_options
def compare(
    scenario: Annotated[list[str], typer.Argument(help="Two or more.")],
    *,
    what_if: WhatIfs,
    language: LanguageOption = "en",
    json: JsonOption = False,
) -> None:
    """Put scenarios side by side. What-ifs count for all of them."""
    found: dict[str, Outcome] = {}
    for name in scenario:
        world = read_world(name, what_if)
        plant = Plant(world)
        with progress_of(name) as progress:
            flow = fluid.run(world, plant, fluid.middle(world), progress=progress)
        found[name] = outcome.outcome(world, plant, flow, None)
        if not found[name].whole:
            typer.echo(f"Stopped at {safe(name)}; what is done is shown.", err=True)
            break
    if json:
        typer.echo(to_json(found))
        return
    table(_side_by_side(found, language), ["", *found])


# running


def _bands(world: World, plant: Plant, progress: Progress | None) -> tuple[Columns, Flow] | None:
    columns = fluid.drawn(world, plant)
    flow = fluid.run(world, plant, columns, regions=False, progress=progress)
    return (columns, flow) if flow.done == len(flow.served) else None


def _sample(
    scenario: str, world: World, plant: Plant, flow: Flow, found: Outcome, options: plan_sampled.Options,
    how: str,
) -> None:  # fmt: skip
    """``how``: json, or the language to tell it in."""
    with progress_of("cells") as progress:
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


def _tell_mix(found: mix.Mix, *, json: bool) -> None:
    if json:
        typer.echo(to_json(found))
        return
    table(map(msgspec.structs.asdict, found.kinds), MIX)
    typer.echo(
        f"\nThe mix costs {short(found.cost_mix)} {safe(found.unit)}, the scenario {short(found.cost_now)}. "
        "It is the cheapest that was found; another mix may be cheaper."
    )
    if not found.whole:
        typer.echo("Stopped: fewer may do. Run it again to search to the end.", err=True)


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
