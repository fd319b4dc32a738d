"""``modu plan run --sampled`` and ``modu plan cell``: every request, by processes or a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import typer
from msgspec import Struct

from moduai.cli.common import JsonOption, examples, fail, new_app, safe, table, to_json, with_options
from moduai.cli.scenarios import (
    GoOnOption,
    LanguageOption,
    ScenarioArgument,
    WhatIfs,
    banded,
    opened,
    progress_of,
    stopped,
    told_basis,
)
from moduai.cli.scenarios import world as read_world
from moduai.packs.pack import in_language
from moduai.planner import crew, fluid, one_cell, sampled
from moduai.planner.estimates import Beside, ClassBeside, Part, Sampled, estimates
from moduai.planner.fluid import Columns, Flow
from moduai.planner.kept import Kept
from moduai.planner.one_cell import OneCell, Where
from moduai.planner.plant import Plant
from moduai.planner.report.figures import short
from moduai.planner.sampled import Counted, Plan
from moduai.planner.scenario import World

app = new_app("Cells, every request.")

CLASSES: Final = {
    "class": "class",
    "served": "served",
    "share": "of the time",
    "lost": "turned away or lost",
    "mean": "mean wait s",
    "p99": "p99 s",
}
STRATA: Final = {
    "stratum": "stratum",
    "hours": "hours",
    "cells": "cells",
    "answers": "answers a second",
    "apart": "fluid beside",
}


class Options(Struct, frozen=True):
    """What is asked of a sample."""

    cells: int
    peak: bool
    processes: int
    ray: str


class Drawn(NamedTuple):
    """Cells that are done, of a plan."""

    plan: Plan
    counted: list[Counted]

    @property
    def whole(self) -> bool:
        """All of them."""
        return len(self.counted) == len(self.plan.tasks)


def drawn(world: World, plant: Plant, flow: Flow, options: Options, kept: Kept) -> Drawn:
    """All cells of the sample, or those that were done when Ctrl-C came."""
    try:
        plan = sampled.plan(world, plant, flow, options.cells, peak=options.peak)
    except ValueError as error:
        fail(safe(str(error)))
    return _run(plan, options, kept)


def _run(plan: Plan, options: Options, kept: Kept) -> Drawn:
    """Cells that are kept, and those that are run now."""
    whole = plan.name
    known = [kept.get(f"cell {whole} {task.stratum} {task.draw}", Counted) for task in plan.tasks]
    counted = [one for one in known if one]
    tasks = [task for task, one in zip(plan.tasks, known, strict=True) if one is None]
    try:
        with progress_of("cells") as progress:
            for one in _done(tasks, options):
                counted.append(one)
                kept.put(f"cell {whole} {one.stratum} {one.draw}", one)
                if progress:
                    progress(len(counted), len(plan.tasks))
    except KeyboardInterrupt:
        pass
    except crew.CrewError as error:
        typer.echo(safe(str(error)), err=True)
    return Drawn(plan, counted)


def _done(tasks: Sequence[sampled.Task], options: Options) -> Iterator[Counted]:
    if options.ray and tasks:
        return crew.on_ray(sampled.run, tasks, options.ray)
    return crew.here(sampled.run, tasks, options.processes)


def result(
    world: World, plant: Plant, flow: Flow, done: Drawn, bands: tuple[Columns, Flow] | None
) -> Sampled | None:
    """What they say; None: no stratum has two yet."""
    enough = [
        number
        for number in range(len(done.plan.strata))
        if sum(one.stratum == number for one in done.counted) >= sampled.EACH
    ]
    return estimates(world, plant, flow, done.plan, done.counted, bands) if enough else None


@app.command(
    epilog=examples(
        "modu plan cell kr-50000",
        "modu plan cell kr-200000 --at 2030-09-02T11:00 --accelerators 64 --minutes 5",
        "modu plan cell kr-200000-npu --kind rebel-quad --policy mine.toml --json",
    )
)
@with_options
def cell(
    scenario: ScenarioArgument,
    *,
    model: Annotated[
        str, typer.Option("--model", help="Of its replicas [default: what has most work].")
    ] = "",
    kind: Annotated[
        str, typer.Option("--kind", help="Of its accelerators [default: what has most work].")
    ] = "",
    accelerators: Annotated[
        int, typer.Option("--accelerators", min=0, max=4096, help="How many; 0: as the scenario's cells.")
    ] = 0,
    at: Annotated[
        str, typer.Option("--at", help="Local time, as 2027-03-02T11:00 [default: the busiest].")
    ] = "",
    minutes: Annotated[int, typer.Option("--minutes", min=1, max=60, help="That are looked at.")] = 15,
    processes: Annotated[
        int, typer.Option("--processes", min=0, max=1024, help="That run it; 0: one for each core.")
    ] = 0,
    what_if: WhatIfs,
    go_on: GoOnOption = None,
    language: LanguageOption = "en",
    json: JsonOption = False,
) -> None:
    """Run one cell of a scenario, every request through the live dispatcher, and compare it with the fluid.

    Three times: with engines as fast as they are known to be, and slower and faster by their error.
    """
    world = read_world(scenario, what_if, cell=accelerators)
    plant = Plant(world)
    where = Where(model=model, accelerator=kind, at=_moment(at), seconds=60.0 * minutes)
    kept = opened(go_on, "cell", world, where)
    with progress_of("days") as progress:
        flow = kept.flow(
            "flow",
            lambda begun: fluid.run(world, plant, fluid.middle(world), begun=begun, progress=progress),
        )
    if flow.done < len(flow.served):
        stopped(kept, f"cell-{Path(scenario).stem}", f"{fluid.days(flow):.3g} days")
    try:
        plan = one_cell.plan(world, plant, flow, where)
    except ValueError as error:
        fail(safe(str(error)))
    done = _run(plan, Options(len(plan.tasks), False, processes, ""), kept)
    if not done.whole:
        stopped(
            kept, f"cell-{Path(scenario).stem}", f"{len(done.counted)} of {len(plan.tasks)} runs of the cell"
        )
    found = one_cell.told(world, plant, flow, plan, done.counted)
    if json:
        typer.echo(to_json(found))
    else:
        _tell_cell(found, language)


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=None) if text else None
    except ValueError:
        fail(f"{safe(text)!r} is no time: write 2027-03-02T11:00", 2)


# telling


def _tell_cell(found: OneCell, language: str) -> None:
    part = found.part
    typer.echo(
        f"{found.replicas:,} replicas of {safe(part.model)} on {part.devices} {safe(part.accelerator)}, "
        f"{found.minutes:g} minutes from {found.at}; {found.requests:,} requests one by one; in "
        f"brackets with engines {found.error:.0%} slower and faster, and what the fluid says\n"
    )
    typer.echo(f"answers a second: {_beside(part.answers_s)}")
    typer.echo(f"tokens a second: {_beside(part.tokens_s)}\n")
    table([_class(one, language) for one in part.classes], CLASSES)
    told_basis(found.known.basis)
    typer.echo(f"hash {found.digest}")


def tell(found: Sampled, language: str) -> None:
    """Tables: the nation by class, and each stratum."""
    nation = found.nation
    typer.echo(
        f"\n{found.drawn} of {found.planned} cells of up to {found.cell} accelerators, {found.requests:,} "
        f"requests one by one; {found.sure:.0%} intervals, and what the fluid says of the same time"
    )
    typer.echo(
        f"Intervals hold the chance of the draw. Engines may be {found.error:.0%} slower or faster: that and "
        "what is not known of people is in the fluid's band alone."
    )
    typer.echo(f"answers a second: {_beside(nation.answers_s)}")
    typer.echo(f"tokens a second: {_beside(nation.tokens_s)}\n")
    table([_class(one, language) for one in nation.classes], CLASSES)
    typer.echo()
    table([_stratum(one) for one in found.strata], STRATA)
    told_basis(found.known.basis)
    typer.echo(f"hash {found.digest}")


def _class(one: ClassBeside, language: str) -> dict[str, Any]:
    return {
        "class": safe(in_language(one.title, language) or one.service_class),
        "served": _part(one.served),
        "share": _part(one.share),
        "lost": _part(one.away),
        "mean": _seconds(one.mean),
        "p99": _seconds(one.p99),
    }


def _stratum(one: Part) -> dict[str, Any]:
    level = "busiest hour" if one.level == 0 else f"load {one.level}"
    return {
        "stratum": safe(f"{one.model} on {one.devices} {one.accelerator}: {level}"),
        "hours": short(one.hours),
        "cells": f"{one.drawn} of {short(one.cells)}",
        "answers": banded(one.answers_s.sampled),
        "apart": f"{banded(one.answers_s.fluid)} ({one.answers_s.apart:+.1%})",
    }


def _beside(one: Beside) -> str:
    return f"{_told(one, short)} ({one.apart:+.1%})"


def _part(one: Beside) -> str:
    return _told(one, "{:.1%}".format)


def _seconds(one: Beside) -> str:
    return _told(one, short)


def _told(one: Beside, how: Callable[[float], str]) -> str:
    """Both sides; nothing is below 0, whatever an interval says."""
    return "; fluid ".join(
        banded(side, lambda each: how(max(0.0, each))) for side in (one.sampled, one.fluid)
    )
