"""``modu plan``: how many accelerators, where, who waits how long, what it costs."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import msgspec
import typer

from moduai.cli import plan_ledger, plan_sampled
from moduai.cli.common import JsonOption, done, examples, fail, new_app, safe, table, to_json, with_options
from moduai.cli.scenarios import (
    GoOnOption,
    LanguageOption,
    ScenarioArgument,
    WhatIfs,
    banded,
    finite,
    given,
    opened,
    progress_of,
    stopped,
    told_basis,
)
from moduai.cli.scenarios import world as read_world
from moduai.packs.pack import in_language
from moduai.packs.read import told
from moduai.planner import fluid, mix, outcome, size
from moduai.planner.basis import Spread
from moduai.planner.estimates import Sampled
from moduai.planner.fluid import Columns, Flow
from moduai.planner.kept import Kept
from moduai.planner.outcome import ByClass, Outcome
from moduai.planner.plant import Plant
from moduai.planner.report import NoParquetError, rows_of, write_parquet
from moduai.planner.report import report as html
from moduai.planner.report.figures import short
from moduai.planner.scenario import ScenarioError, World
from moduai.planner.scenario import read as read_scenario
from moduai.planner.scenario import shipped as scenarios
from moduai.planner.spent import Year

app = new_app("Plan accelerators: who waits how long with how many, where, and what it costs.")
app.add_typer(plan_ledger.app)
app.add_typer(plan_sampled.app)

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
MIX: Final = {
    "kind": "accelerator",
    "now": "now",
    "alone": "fewest, others as now",
    "held": "in drawn runs",
    "mix": "in the mix",
}
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
        float,
        typer.Option("--fleet", min=0, callback=finite, help="What if: all fleets so many times as large."),
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
    go_on: GoOnOption = None,
    language: LanguageOption = "en",
    json: JsonOption = False,
) -> None:
    """Run a scenario: waits by class and region, throughput, shares, use, energy, cost, beside the budget.

    Ctrl-C ends it: what is done is shown and kept, and it says how to go on.
    """
    world = read_world(scenario, what_if, fleet=fleet, draws=draws)
    plant = Plant(world)
    options = plan_sampled.Options(cells, peak, processes, ray)
    kept = opened(go_on, "run", world, *((cells, peak) if sampled else ()))
    done = _flows(world, plant, kept)
    drawn = plan_sampled.drawn(world, plant, done.flow, options, kept) if sampled and done.whole else None
    said = drawn and plan_sampled.result(world, plant, done.flow, drawn, done.bands)
    found = outcome.outcome(world, plant, done.flow, done.bands)
    _write(world, plant, done.flow, found, said, report, parquet, language)
    if json:
        typer.echo(to_json({"fluid": found, "sampled": said} if sampled else found))
    else:
        _tell(found, language)
        if said:
            plan_sampled.tell(said, language)
    if not done.whole:
        beside = " without the drawn runs" if done.flow.done == len(done.flow.served) else ""
        stopped(kept, Path(scenario).stem, f"{fluid.days(done.flow):.3g} days{beside}")
    if drawn and not drawn.whole:
        stopped(kept, Path(scenario).stem, f"{len(drawn.counted)} of {len(drawn.plan.tasks)} cells")


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
        float,
        typer.Option(
            "--sure", min=0, max=1, callback=finite, help="Keep the goals in this part of the drawn runs too."
        ),
    ] = 0.0,
    by_kind: Annotated[
        bool, typer.Option("--by-kind", help="Then one kind at a time: the fewest of each, and a cheap mix.")
    ] = False,
    what_if: WhatIfs,
    go_on: GoOnOption = None,
    json: JsonOption = False,
) -> None:
    """Search for the fewest accelerators that keep the goals; all fleets grow or shrink together.

    Ctrl-C ends it: what was found is shown and kept, and it says how to go on.
    """
    world = read_world(scenario, what_if)
    kept = opened(go_on, "size", world, sure)
    found: size.Size | mix.Mix
    try:
        with progress_of("sizes") as progress:
            found = fewest = size.size(world, Plant(world), sure, progress, kept)
        if by_kind and fewest.whole:
            with progress_of("mixes") as progress:
                found = mix.mix(world, fewest, progress, kept)
    except ValueError as error:
        fail(safe(str(error)))
    if json:
        typer.echo(to_json(found))
    elif isinstance(found, mix.Mix):
        _tell_mix(found)
    else:
        _tell_size(found, scenario)
    if not found.whole:
        stopped(kept, f"size-{Path(scenario).stem}", "a part of the search")


def _tell_size(found: size.Size, scenario: str) -> None:
    if found.fewest is None and not found.whole:
        return
    if found.fewest is None:
        why = f"no size from {size.LEAST * found.now:,.0f} to {size.MOST * found.now:,.0f} keeps the goals"
        fail(f"{why}: `modu plan run {shlex.quote(scenario)}` says which is missed")
    for name, count in found.fleets.items():
        typer.echo(f"{safe(name):<24} {count:>12,}")
    part = f" in {found.sure:.0%} of the drawn runs" if found.sure else ""
    typer.echo(
        f"\n{found.fewest:,} accelerators keep the goals{part}, {found.serving:,} of them answering: "
        f"{found.multiple:.3g} times the scenario's {found.now:,}."
    )
    if found.drawn:
        most = (
            f"{found.drawn.high:,.0f}"
            if isfinite(found.drawn.high)
            else f"over {size.AROUND:g} times as many"
        )
        typer.echo(f"Nine of ten runs with drawn figures need from {found.drawn.low:,.0f} to {most}.")
    told_basis(found.known.basis)


@app.command(
    epilog=examples("modu plan compare kr-start kr-50000 kr-200000", "modu plan compare a.toml b.toml --json")
)
@with_options
def compare(
    scenario: Annotated[list[str], typer.Argument(help="Two or more.")],
    *,
    what_if: WhatIfs,
    go_on: GoOnOption = None,
    language: LanguageOption = "en",
    json: JsonOption = False,
) -> None:
    """Put scenarios side by side, each with its band. What-ifs count for all of them."""
    worlds = {name: read_world(name, what_if) for name in scenario}
    kept = opened(go_on, "compare", *worlds.values())
    found: dict[str, Outcome] = {}
    for name, world in worlds.items():
        one = kept.get(name, Outcome)
        if one is None:
            plant = Plant(world)
            done = _flows(world, plant, kept, f"{safe(name)}: ")
            if not done.whole:
                break
            one = outcome.outcome(world, plant, done.flow, done.bands)
            kept.put(name, one)
            kept.drop("flow", "bands")
        found[name] = one
    if json:
        typer.echo(to_json(found))
    else:
        table(_side_by_side(found, language), ["", *found])
    if len(found) < len(worlds):
        stopped(kept, "compare", f"{len(found)} of {len(worlds)} scenarios")


# running


class _Done(NamedTuple):
    """What was run of a scenario."""

    flow: Flow
    bands: tuple[Columns, Flow] | None
    whole: bool


def _flows(world: World, plant: Plant, kept: Kept, name: str = "") -> _Done:
    """The middle of all figures, and the drawn runs beside it."""
    ones, drawn = fluid.middle(world), fluid.drawn(world, plant)
    with progress_of(f"{name}days") as progress:
        flow = kept.flow("flow", lambda begun: fluid.run(world, plant, ones, begun=begun, progress=progress))
    if flow.done < len(flow.served) or not world.head.draws:
        return _Done(flow, None, flow.done == len(flow.served))
    with progress_of(f"{name}bands") as progress:
        beside = kept.flow(
            "bands",
            lambda begun: fluid.run(world, plant, drawn, regions=False, begun=begun, progress=progress),
        )
    whole = beside.done == len(beside.served)
    return _Done(flow, (drawn, beside) if whole else None, whole)


def _write(
    world: World,
    plant: Plant,
    flow: Flow,
    found: Outcome,
    said: Sampled | None,
    report: Path | None,
    parquet: Path | None,
    language: str,
) -> None:
    try:
        if report:
            report.write_text(html(found, language, said), "utf-8")
            typer.echo(f"The report is in {report}.", err=True)
        if parquet:
            about = {"scenario": found.scenario, "seed": str(found.seed)}
            write_parquet(outcome.by_tick(world, plant, flow), parquet, about)
            typer.echo(f"The ticks are in {parquet}.", err=True)
            if said:
                sample = parquet.with_suffix(f".sample{parquet.suffix}")
                write_parquet(rows_of(said), sample, {**about, "hash": said.digest})
                typer.echo(f"The sample is in {sample}.", err=True)
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
    told_basis(found.basis)


def _tell_mix(found: mix.Mix) -> None:
    table(map(_kind, found.kinds), MIX)
    held = "" if found.held is None else f" It keeps the goals in {found.held:.0%} of the drawn runs."
    typer.echo(
        f"\nThe mix costs {short(found.cost_mix)} {safe(found.unit)}, the scenario {short(found.cost_now)}. "
        f"It is the cheapest that was found; another mix may be cheaper.{held}"
    )
    told_basis(found.known.basis)


def _kind(one: mix.Kind) -> dict[str, Any]:
    alone = "" if not one.searched else "no number does" if one.alone is None else f"{one.alone:,}"
    held = "" if one.held is None else f"{one.held:.0%}"
    return {**msgspec.structs.asdict(one), "alone": alone, "held": held}


def _served(one: ByClass) -> str:
    """With its band, where there is one; nothing where nobody asked."""
    return "–" if one.served is None else banded(one.served, "{:.2%}".format)


def _class(one: ByClass, language: str) -> dict[str, Any]:
    return {
        "class": safe(in_language(one.title, language) or one.service_class),
        "asked": short(one.asked),
        "served": "–" if one.served is None else f"{one.served.middle:.2%}",
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
        rows.append({"": safe(f"{title}: served"), **{n: _served(one) for n, one in mine.items()}})
        rows.append({"": safe(f"{title}: p99 s"), **{n: banded(one.p99) for n, one in mine.items()}})
    return rows


def _figure(found: dict[str, Outcome], name: str, told_: Callable[[Outcome], str]) -> dict[str, Any]:
    return {"": name, **{scenario: told_(one) for scenario, one in found.items()}}


def _of(found: Outcome, service_class: str) -> ByClass | None:
    return next((one for one in found.classes if one.service_class == service_class), None)


def _sum(found: Outcome, spreads: Iterable[Spread | None]) -> str:
    some = [msgspec.structs.astuple(one) for one in spreads if one]
    low, middle, high = (sum(each) for each in zip(*some, strict=True)) if some else (0.0, 0.0, 0.0)
    return f"{banded(Spread(low, middle, high))} {found.currency}" if middle else ""


BESIDE: Final[dict[str, Callable[[Outcome], str]]] = {
    "accelerators": lambda one: f"{one.accelerators:,}",
    "of them answering": lambda one: f"{one.serving:,}",
    "questions a day": lambda one: short(one.asked / max(one.days, 1e-9)),
    "tokens a second": lambda one: short(one.tokens_s),
    "busiest model": lambda one: f"{max(one.peak.values(), default=0.0):.1%}",
    "waits are": lambda one: str(one.basis["waits"]),
    "goals kept": lambda one: f"{sum(goal.kept for goal in one.goals)} of {len(one.goals)}",
    "most power MW": lambda one: short(sum(site.peak_mw for site in one.sites)),
    "bought": lambda one: _sum(one, (year.bought for year in one.years)),
    "electricity a year": lambda one: _sum(one, (year.bill for year in one.years)),
}
"""What is compared, before the classes."""
