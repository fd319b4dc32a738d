"""``modu plan run --sampled``: cells of a nation, by processes or a Ray cluster, beside the fluid."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import typer
from msgspec import Struct

from moduai.cli.common import fail, safe, table
from moduai.packs.pack import in_language
from moduai.planner import crew, sampled
from moduai.planner.basis import Spread
from moduai.planner.estimates import Beside, ClassBeside, Part, Sampled, estimates
from moduai.planner.fluid import Flow, Progress
from moduai.planner.plant import Plant
from moduai.planner.report.figures import short
from moduai.planner.sampled import Counted, Plan
from moduai.planner.scenario import World

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
    go_on: Path | None


class _Kept(Struct, frozen=True):
    """Cells that were done before it was stopped."""

    plan: str
    counted: list[Counted]


def run(
    world: World, plant: Plant, flow: Flow, options: Options, progress: Progress | None
) -> tuple[Plan, list[Counted]]:
    """All cells of the sample, or those that were done when Ctrl-C came."""
    try:
        plan = sampled.plan(world, plant, flow, options.cells, peak=options.peak)
    except ValueError as error:
        fail(safe(str(error)))
    counted = _kept(options.go_on, plan)
    known = {(one.stratum, one.draw) for one in counted}
    tasks = [one for one in plan.tasks if (one.stratum, one.draw) not in known]
    try:
        for one in _done(tasks, options):
            counted.append(one)
            if progress:
                progress(len(counted), len(plan.tasks))
    except KeyboardInterrupt:
        pass
    except crew.CrewError as error:
        typer.echo(safe(str(error)), err=True)
    return plan, counted


def _done(tasks: Sequence[sampled.Task], options: Options) -> Iterator[Counted]:
    if options.ray and tasks:
        return crew.on_ray(sampled.run, tasks, options.ray)
    return crew.here(sampled.run, tasks, options.processes)


def _kept(file: Path | None, plan: Plan) -> list[Counted]:
    if file is None:
        return []
    try:
        found = msgspec.msgpack.decode(file.read_bytes(), type=_Kept)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
        fail(safe(f"{file} is not what a sample has kept: {error}"))
    if found.plan != plan.name:
        fail(safe(f"{file} was kept by a sample of another scenario, or with other options"))
    return found.counted


def result(world: World, plant: Plant, flow: Flow, plan: Plan, counted: list[Counted]) -> Sampled | None:
    """What they say; None: no stratum has two yet."""
    enough = [
        number
        for number in range(len(plan.strata))
        if sum(one.stratum == number for one in counted) >= sampled.EACH
    ]
    return estimates(world, plant, flow, plan, counted) if enough else None


def keep(plan: Plan, counted: list[Counted], scenario: str) -> None:
    """Where it was not all, what is done goes into a file beside, and the command fails."""
    if len(counted) == len(plan.tasks):
        return
    file = Path(f"modu-plan-{Path(scenario).stem}.cells")
    file.write_bytes(msgspec.msgpack.encode(_Kept(plan.name, counted)))
    words = [word for word in sys.argv[1:] if word != "--go-on" and not word.endswith(".cells")]
    typer.echo(
        f"Stopped after {len(counted)} of {len(plan.tasks)} cells; they are kept. Go on: "
        f"modu {shlex.join(words)} --go-on {file}",
        err=True,
    )
    raise typer.Exit(1)


def tell(found: Sampled, language: str) -> None:
    """Tables: the nation by class, and each stratum."""
    nation = found.nation
    typer.echo(
        f"\n{found.drawn} of {found.planned} cells of up to {found.cell} accelerators, {found.requests:,} "
        f"requests one by one; {found.sure:.0%} intervals, and what the fluid says of the same time"
    )
    typer.echo(f"answers a second: {_beside(nation.answers_s)}")
    typer.echo(f"tokens a second: {_beside(nation.tokens_s)}\n")
    table([_class(one, language) for one in nation.classes], CLASSES)
    typer.echo()
    table([_stratum(one) for one in found.strata], STRATA)
    typer.echo(f"hash {found.digest}")


def _class(one: ClassBeside, language: str) -> dict[str, Any]:
    away = (one.refused, one.left, one.lost)
    lost = Beside(
        Spread(*(sum(each) for each in zip(*map(_three, away), strict=True))),
        sum(each.fluid for each in away),
    )
    return {
        "class": safe(in_language(one.title, language) or one.service_class),
        "served": _part(one.served),
        "share": _part(one.share),
        "lost": _part(lost),
        "mean": _seconds(one.mean),
        "p99": _seconds(one.p99),
    }


def _three(one: Beside) -> tuple[float, float, float]:
    return one.sampled.low, one.sampled.middle, one.sampled.high


def _stratum(one: Part) -> dict[str, Any]:
    level = "busiest hour" if one.level == 0 else f"load {one.level}"
    return {
        "stratum": safe(f"{one.model} on {one.devices} {one.accelerator}: {level}"),
        "hours": short(one.hours),
        "cells": f"{one.drawn} of {short(one.cells)}",
        "answers": _bounds(*(short(each) for each in _three(one.answers_s))),
        "apart": f"{short(one.answers_s.fluid)} ({one.answers_s.apart:+.1%})",
    }


def _beside(one: Beside) -> str:
    low, middle, high = (short(each) for each in _three(one))
    return f"{_bounds(low, middle, high)}; fluid {short(one.fluid)} ({one.apart:+.1%})"


def _part(one: Beside) -> str:
    low, middle, high = (f"{max(0.0, each):.1%}" for each in _three(one))
    return f"{_bounds(low, middle, high)}; fluid {one.fluid:.1%}"


def _seconds(one: Beside) -> str:
    low, middle, high = (short(max(0.0, each)) for each in _three(one))
    return f"{_bounds(low, middle, high)}; fluid {short(one.fluid)}"


def _bounds(low: str, middle: str, high: str) -> str:
    return middle if low == high else f"{middle} ({low} – {high})"
