"""What the commands of ``modu plan`` share: options, how a scenario is read, a bar with the time left,
what is kept.
"""

from __future__ import annotations

import math
import shlex
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from functools import cache
from pathlib import Path
from typing import Annotated, NoReturn

import msgspec
import typer
from msgspec import Struct
from msgspec.structs import replace as changed

from moduai.cli.common import fail, safe
from moduai.gateway.policy_text import parse, shipped_text
from moduai.packs.read import told
from moduai.planner.basis import Basis, Spread
from moduai.planner.fluid import Progress
from moduai.planner.kept import Kept, KeptError
from moduai.planner.report.figures import short
from moduai.planner.scenario import Given, ScenarioError, World
from moduai.planner.scenario import read as read_scenario
from moduai.planner.steptime import Coefficients
from moduai.planner.what_if import WhatIf

ScenarioArgument = Annotated[
    str, typer.Argument(help="One that comes with Modu (`modu plan list`), or a file.")
]
LanguageOption = Annotated[str, typer.Option("--language", help="Of names and of the report: en or ko.")]
FitOption = Annotated[
    Path | None, typer.Option("--fit", help="How fast engines are: what `modu plan calibrate` wrote.")
]


GoOnOption = Annotated[
    Path | None, typer.Option("--go-on", help="Go on from what an interrupted run has kept.")
]


def finite(value: float) -> float:
    """Of an option: a number that is one."""
    if not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no number to compute with")
    return value


class WhatIfs(Struct, frozen=True):
    """Options that change a scenario for one run."""

    lose: Annotated[
        list[str] | None, typer.Option("--lose", help="What if: this site is lost all the time.")
    ] = None
    launch: Annotated[
        float,
        typer.Option(
            "--launch", min=0, callback=finite, help="What if: so many times the questions, all the time."
        ),
    ] = 1.0
    faster: Annotated[
        list[str] | None, typer.Option("--faster", help="What if: KIND=FACTOR, such as rebel-quad=2.")
    ] = None
    policy: Annotated[
        Path | None, typer.Option("--policy", help="What if: this policy file in place of all others.")
    ] = None
    days: Annotated[int, typer.Option("--days", min=0, help="Run so many days; 0: as the scenario says.")] = 0
    fit: FitOption = None

    def said(self) -> WhatIf:
        """As the planner takes them; ends the command where one cannot be."""
        return WhatIf(
            lose=tuple(self.lose or ()),
            launch=self.launch,
            faster=dict(_factor(one) for one in self.faster or ()),
            days=self.days,
        )


def _factor(text: str) -> tuple[str, float]:
    kind, _, factor = text.partition("=")
    try:
        return kind, finite(float(factor))
    except ValueError:
        fail(f"write --faster KIND=FACTOR, such as rebel-quad=2, not {safe(text)!r}", 2)


@cache
def given(instead: str = "") -> Given:
    """What a scenario takes from around it. ``instead``: a policy in place of all others."""
    return Given.here(parse, shipped_text(), Path.cwd(), instead)


def world(
    scenario: str,
    options: WhatIfs | None = None,
    *,
    fleet: float = 1.0,
    draws: int = -1,
    cell: int = 0,
    start: date | None = None,
) -> World:
    """A world; one with faults ends the command."""
    options = options or WhatIfs()
    change = changed(options.said(), draws=draws, cell=cell, start=start)
    instead = ""
    try:
        if options.policy:
            instead = options.policy.read_text("utf-8")
            parse(instead)
    except (OSError, ValueError) as error:
        fail(safe(f"{options.policy}: {error}"))
    fitted = fit_of(options.fit)
    try:
        found = read_scenario(scenario, given(instead), change.tables(), fitted)
    except ScenarioError as error:
        for fault in error.faults:
            typer.echo(safe(told(fault)), err=True)
        fail(f"the scenario cannot be used: {len(error.faults)} faults")
    return found if fleet == 1.0 else found.grown(fleet)


def fit_of(file: Path | None) -> Coefficients | None:
    """A fit that was written; None: Modu's own. One that cannot be read ends the command."""
    if file is None:
        return None
    try:
        return msgspec.convert(tomllib.loads(file.read_text("utf-8")), Coefficients)
    except (OSError, ValueError) as error:
        fail(safe(f"{file} is no fit that `modu plan calibrate` wrote: {error}"))


def banded(one: Spread, how: Callable[[float], str] = short) -> str:
    """A figure with its bounds, where they differ."""
    low, middle, high = (how(each) for each in (one.low, one.middle, one.high))
    return middle if low == high else f"{middle} ({low} – {high})"


def told_basis(basis: Mapping[str, Basis]) -> None:
    """How well the figures above are known."""
    said = ", ".join(f"{name} {one}" for name, one in basis.items())
    typer.echo(
        f"\nBasis, the weakest of what each rests on: {said}. --json has every figure with its source."
    )


def opened(go_on: Path | None, *whole: object) -> Kept:
    """What is done of a run: nothing, or what a file has; one of another run ends the command."""
    kept = Kept(*whole)
    try:
        if go_on:
            kept.load(go_on)
    except (OSError, KeptError) as error:
        fail(safe(str(error)))
    return kept


def stopped(kept: Kept, name: str, what: str, *instead: str) -> NoReturn:
    """Keep what is done in a file beside, or where temporary files are, and say how to go on. The command
    fails, for it was not all. ``instead``: options with values, in place of those that were given.
    """
    file = Path(f"modu-plan-{name}.kept")
    try:
        try:
            kept.save(file)
        except OSError:
            file = Path(tempfile.mkdtemp(prefix="modu-plan-")) / file
            kept.save(file)
    except OSError as error:
        fail(safe(f"stopped after {what}, and it cannot be kept: {error}"))
    words = shlex.join([*_without(sys.argv[1:], {"--go-on", *instead[::2]}), *instead])
    go_on = f"modu {words} --go-on {shlex.quote(str(file))}"
    typer.echo(f"Stopped after {what}; what is done is kept. Go on: {go_on}", err=True)
    raise typer.Exit(1)


def _without(words: list[str], options: set[str]) -> Iterator[str]:
    """Words without some options and their values."""
    left = iter(words)
    for word in left:
        if word in options:
            next(left, None)
        elif word.partition("=")[0] not in options:
            yield word


@contextmanager
def progress_of(what: str) -> Iterator[Progress | None]:
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
