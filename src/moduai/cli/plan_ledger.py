"""``modu plan calibrate``, ``replay``, ``watch``: the planner beside measured points and the own ledger."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, NoReturn

import msgspec
import typer
from msgspec import Struct
from msgspec.structs import replace

from moduai.cli import data
from moduai.cli.common import (
    HomeOption,
    JsonOption,
    count,
    examples,
    fail,
    new_app,
    open_loaded,
    safe,
    table,
    to_json,
    with_options,
)
from moduai.cli.scenarios import (
    FitOption,
    GoOnOption,
    ScenarioArgument,
    WhatIfs,
    banded,
    finite,
    fit_of,
    opened,
    progress_of,
    stopped,
    told_basis,
)
from moduai.cli.scenarios import world as read_world
from moduai.engines.record import Engine
from moduai.engines.repository import list_engines
from moduai.gateway import policy_file
from moduai.gateway.policy_text import PolicyError, parse
from moduai.lined import near
from moduai.metering.row import UsageRow
from moduai.metering.rows import Asked, Rows, Took, rows, sums
from moduai.packs import choose
from moduai.planner import calibrate as fitting
from moduai.planner.calibrate import Split
from moduai.planner.devices import devices
from moduai.planner.fluid import Progress
from moduai.planner.kept import Kept
from moduai.planner.ledger import Learned, Off, joined, learn, places, ran
from moduai.planner.load import DAY
from moduai.planner.measured import Point, PointsError, read_points
from moduai.planner.models import models
from moduai.planner.rehearse import ByClass, Change, Got, LeftOut, Rehearsed, rehearse
from moduai.planner.steptime import Coefficients, shipped
from moduai.planner.watch import Expected, Line, Seen, Watched
from moduai.scheduling.policy import Policy, trusted
from moduai.settings import Loaded
from moduai.store.database import Connection
from moduai.store.keyring import Keyring, KeyringError

app = new_app("The planner beside measured points and the own ledger.")

LEAST_EVERY_S: Final = 10
SPLITS: Final = {
    "held": "held out",
    "kind": "models",
    "points": "points",
    "median": "median error",
    "p90": "nine of ten",
    "worst": "worst",
}
LEARNED: Final = {
    "engine": "engine",
    "model": "model",
    "accelerator": "accelerator",
    "requests": "answers",
    "factors": "× each step, held, read",
    "before": "off before (first, each)",
    "after": "off after (first, each)",
}
UNKNOWN: Final = {"accelerator": "accelerator", "error": "nine of ten within", "basis": "basis"}
WAITS: Final = {
    "class": "class",
    "what": "",
    "asked": "questions",
    "refused": "turned away",
    "mean": "mean wait s",
    "p50": "p50 s",
    "p99": "p99 s",
}
LINES: Final = {
    "of": "class or model",
    "what": "what",
    "seen": "now",
    "low": "from",
    "middle": "plan",
    "high": "to",
    "where": "",
}
SinceOption = Annotated[str, typer.Option("--since", help="Of the ledger: how long ago (7d), or a time.")]
UntilOption = Annotated[str, typer.Option("--until", help="The same; not included [default: now].")]


class Span(Struct, frozen=True):
    """Which rows, of which installation."""

    since: SinceOption = "7d"
    until: UntilOption = ""
    home: HomeOption = None


class Ledger(Struct, frozen=True):
    """What was read of an installation."""

    loaded: Loaded
    engines: list[Engine]
    found: Rows
    span: tuple[int, int]
    """Unix seconds."""

    @property
    def options(self) -> tuple[str, ...]:
        """The span as it is said, whenever."""
        since, until = (datetime.fromtimestamp(one, UTC).isoformat() for one in self.span)
        return "--since", since, "--until", until


@app.command(
    epilog=examples(
        "modu plan calibrate traces/aiconfigurator --out fit.toml && modu plan run kr-50000 --fit fit.toml",
        "modu plan calibrate points.csv --ledger --since 7d --out fit.toml",
        "modu plan calibrate --ledger --json",
    )
)
@with_options
def calibrate(
    points: Annotated[
        Path | None,
        typer.Argument(help="Measured points: a CSV file, or a folder of them [default: Modu's own fit]."),
    ] = None,
    *,
    ledger: Annotated[
        bool, typer.Option("--ledger", help="Learn from this installation's ledger too.")
    ] = False,
    span: Span,
    out: Annotated[Path | None, typer.Option("--out", help="Write the fit: a new file, for --fit.")] = None,
    go_on: GoOnOption = None,
    json: JsonOption = False,
) -> None:
    """Fit how fast engines are, and say how far the fit is off where it had not looked.

    Points are a table of AIConfigurator's, or own ones with the columns that the reference names. The ledger
    is learned from for each model on each engine, the newest rows first; the later part of it is foretold.
    Ctrl-C ends it: what is done is kept, and it says how to go on.
    """
    if points is None and not ledger:
        fail("say where measured points are, or --ledger", 2)
    read = read_ledger(span, newest=True) if ledger else None
    measured = _points(points) if points is not None else []
    kept = opened(go_on, "calibrate", measured, *(read.span if read else ()))
    splits: list[Split] = []
    fitted, learned, left = shipped(), list[Learned](), list[str]()
    try:
        if points is not None:
            with progress_of("folds") as progress:
                splits = fitting.splits(measured, progress=progress, done=kept)
            fitted = fitting.coefficients(measured, splits, f"{len(measured):,} points of {points.name}")
        if read:
            learned, left = _learned(read, fitted, kept)
    except KeyboardInterrupt:
        stopped(kept, "calibrate", "a part of it", *(read.options if read else ()))
    fitted = replace(fitted, replicas=joined(learned))
    if out is not None:
        _write(out, fitted)
    too_many = read.found.left_out if read else 0
    if json:
        told = {"fit": fitted, "splits": splits, "ledger": learned, "not_learned": left, "too_many": too_many}
        typer.echo(to_json(told))
        return
    if points is not None:
        typer.echo(f"{fitted.points:,} points: {safe(fitted.source)}\n")
        table(map(_split, splits), SPLITS)
        typer.echo("\nAccelerators without points; this error goes into every result:\n")
        table(_unknown(fitted), UNKNOWN)
    if ledger:
        typer.echo("\n" if points else "", nl=False)
        _tell_learned(learned, left)
    if too_many:
        typer.echo(f"{count(too_many, 'older request')} were too many to read: left out.", err=True)


@app.command(
    epilog=examples(
        "modu plan replay --since 1d                      how far the model is from what was",
        "modu plan replay --since 1d --policy mine.toml   the same requests under another policy",
        "modu plan replay --since 1d --kind b200         on another kind of accelerator",
        "modu plan replay --since 2026-11-20 --until 2026-11-21 --fleet 2 --json",
    )
)
@with_options
def replay(
    *,
    policy: Annotated[Path | None, typer.Option("--policy", help="Another policy file.")] = None,
    fleet: Annotated[
        float, typer.Option("--fleet", min=0.01, callback=finite, help="So many times the engines.")
    ] = 1.0,
    faster: Annotated[
        float, typer.Option("--faster", min=0.01, callback=finite, help="Each so many times as fast.")
    ] = 1.0,
    kind: Annotated[str, typer.Option("--kind", help="Accelerators of another kind, such as b200.")] = "",
    devices_each: Annotated[
        int,
        typer.Option(
            "--devices", min=0, max=64, help="Of them for each engine; 0: the fewest that hold the model."
        ),
    ] = 0,
    span: Span,
    fit: FitOption = None,
    go_on: GoOnOption = None,
    json: JsonOption = False,
) -> None:
    """Ask what the ledger has once more, through the live dispatcher, under another policy or fleet.

    Engines are as fast as the ledger shows them to be, those of another kind as the fit says. "again" is the
    same policy and fleet: how far it is from what was recorded is how far to trust the rest. Ctrl-C ends it:
    what is done is kept, and it says how to go on.
    """
    if kind and kind not in devices():
        fail(f"there is no accelerator {safe(kind)!r}; {near(kind, list(devices()))}", 2)
    ledger = read_ledger(span)
    before = policy_file.read(ledger.loaded).policy
    chosen = ledger.loaded.settings.people.groups
    change = None
    if policy or kind or fleet != 1.0 or faster != 1.0:
        after = trusted(_policy(policy) if policy else before, chosen)
        change = Change(policy=after, fleet=fleet, faster=faster, kind=kind, devices=devices_each)
    fitted = fit_of(fit) or shipped()
    kept = opened(go_on, "replay", *ledger.span, before, change, fitted)
    try:
        learned, left = _learned(ledger, fitted, kept)
        with progress_of("requests once more") as progress:
            found, out = rehearse(
                ledger.found.rows, learned, trusted(before, chosen), change,
                fit=fitted, progress=progress, done=kept,
            )  # fmt: skip
    except ValueError as error:
        fail(safe(str(error)))
    except KeyboardInterrupt:
        stopped(kept, "replay", "a part of it", *ledger.options)
    if json:
        told = {"models": found, "left_out": out, "too_many": ledger.found.left_out, "not_learned": left}
        typer.echo(to_json(told))
        return
    if not found:
        _tell_learned(learned, left)
        fail("no engine's rows can be asked again")
    for one in found:
        _tell_rehearsed(one)
    for line in _honest(out, ledger.found.left_out, left):
        typer.echo(line, err=True)


@app.command(
    epilog=examples(
        "modu plan watch university                  the last hour beside the plan",
        "modu plan watch mine.toml --every 5m",
        "modu plan watch mine.toml --window 15m --as-of 2027-03-02 --json",
    )
)
@with_options
def watch(
    scenario: ScenarioArgument,
    *,
    window: Annotated[str, typer.Option("--window", help="How far back, at most a day.")] = "1h",
    every: Annotated[str, typer.Option("--every", help="Again so often, until Ctrl-C, such as 5m.")] = "",
    as_of: Annotated[
        str, typer.Option("--as-of", help="The day of the plan to hold it against [default: today].")
    ] = "",
    what_if: WhatIfs,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Hold the last hour of the ledger against what a scenario expects of it, and say what leaves the band.

    The status is 1 where something does, so that a timer can tell. A scenario is of as many people and
    accelerators as it says: for one machine, write one of it. Ctrl-C ends it; nothing has to be kept.
    """
    seconds, pause = data.duration(window), data.duration(every) if every else 0
    if not 0 < seconds <= DAY:
        fail("--window is from a second to a day", 2)
    if every and pause < LEAST_EVERY_S:
        fail(f"--every is {LEAST_EVERY_S}s at least", 2)
    loaded = open_loaded(home)
    try:
        _watch(loaded, scenario, what_if, Watching(seconds, pause, as_of, json))
    except KeyboardInterrupt:
        typer.echo("Stopped. Go on: the same command again.", err=True)
        raise typer.Exit(1) from None


class Watching(NamedTuple):
    """How it is watched: seconds that are looked at, and between two looks (0: once), the day of the plan."""

    seconds: int
    pause: int
    as_of: str
    json: bool


def _watch(loaded: Loaded, scenario: str, what_if: WhatIfs, how: Watching) -> NoReturn:
    zone = choose.zone(loaded, parse)
    expected, day = None, None
    while True:
        now = datetime.now(zone)
        if expected is None or now.date() != day:
            expected, day = _expected(scenario, what_if, how.as_of, now), now.date()
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        begins = DAY + (now - midnight).total_seconds() - how.seconds
        found = expected.beside(begins, how.seconds, *_seen(loaded, now.timestamp(), how.seconds))
        _tell_watched(found, now, json=how.json)
        if not how.pause:
            raise typer.Exit(1 if found.outside else 0)
        time.sleep(how.pause)


# reading


def read_ledger(span: Span, *, newest: bool = False) -> Ledger:
    """The rows and engines of an installation; ends the command where there are none."""
    begin = data.moment(span.since)
    end = data.moment(span.until) if span.until else int(time.time()) + 1
    if begin >= end:
        fail("--since is not before --until", 2)
    loaded = open_loaded(span.home)

    async def look(connection: Connection) -> Ledger:
        engines = await list_engines(connection, Keyring.open(loaded.home))
        found = await rows(connection, begin * 1_000_000, end * 1_000_000, newest=newest)
        return Ledger(loaded, engines, found, (begin, end))

    read = data.read(loaded, look, KeyringError)
    if not read.found.rows:
        fail("the ledger has no row in this time: modu usage shows what it has")
    return read


def _policy(file: Path) -> Policy:
    try:
        return parse(file.read_bytes())
    except (OSError, PolicyError) as error:
        fail(safe(f"{file}: {error}"))


def _points(where: Path) -> list[Point]:
    """The points of a file or folder; faults in it end the command."""
    try:
        return read_points(where)
    except PointsError as error:
        fail(safe(str(error)))


def _learned(ledger: Ledger, fit: Coefficients, kept: Kept) -> tuple[list[Learned], list[str]]:
    """Each place's step time, and why there is none of the others. Raises KeyboardInterrupt."""
    of: dict[tuple[str, str], list[UsageRow]] = defaultdict(list)
    for row in ledger.found.rows:
        if ran(row):
            of[row.engine, row.model].append(row)
    known, learned, left = places(ledger.engines), [], []
    with progress_of("engines") as progress:
        for number, (place, some) in enumerate(of.items()):
            if place not in known:
                left.append(f"{place[1]} on {place[0]}: this engine no longer has it")
                continue
            told = progress and partial(_part, progress, number, len(of))
            name = f"learned {place[0]} {place[1]} {len(some)}"
            try:
                learned.append(kept.piece(name, Learned, partial(learn, known[place], some, fit, told)))
            except ValueError as error:
                left.append(f"{place[1]} on {known[place].name}: {error}")
    return learned, left


def _part(progress: Progress, number: int, all_: int, part: float) -> None:
    progress(round(100 * (number + part)), 100 * all_)


def _write(out: Path, fitted: Coefficients) -> None:
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(fitting.to_toml(fitted))
    except OSError as error:
        fail(safe(str(error)))
    typer.echo(f"The fit is in {out}: modu plan run SCENARIO --fit {out}", err=True)


def _expected(scenario: str, what_if: WhatIfs, as_of: str, now: datetime) -> Expected:
    """The plan for today and the evening before it."""
    try:
        today = datetime.strptime(as_of, "%Y-%m-%d").replace(tzinfo=UTC).date() if as_of else now.date()
    except ValueError:
        fail(f"{safe(as_of)!r} is no day: write 2027-03-02", 2)
    start = today - timedelta(days=1)
    with progress_of("what is expected") as progress:
        return Expected(read_world(scenario, replace(what_if, days=2), start=start), progress)


def _seen(loaded: Loaded, until: float, seconds: float) -> tuple[dict[str, Seen], dict[str, float]]:
    """By class as the policy in force places them, and the use of each known model's accelerators."""

    async def look(connection: Connection) -> tuple[list[Engine], list[Asked], list[Took]]:
        engines = await list_engines(connection, Keyring.open(loaded.home))
        asked, took = await sums(connection, int((until - seconds) * 1e6), int(until * 1e6))
        return engines, asked, took

    engines, asked, spent = data.read(loaded, look, KeyringError)
    policy = trusted(policy_file.read(loaded).policy, loaded.settings.people.groups)
    of: dict[str, list[Asked]] = defaultdict(list)
    for one in asked:
        of[policy.place(one.service_class, one.organisation, one.group, one.zone).class_name].append(one)
    took: dict[str, float] = defaultdict(float)
    known = places(engines)
    for each in spent:
        if place := known.get((each.engine, each.model)):
            took[place.shape or place.model] += each.accelerator_us / 1e6
    have: dict[str, int] = defaultdict(int)
    for engine in engines:
        names = {known[engine.id, model.name] for model in engine.models}
        for name in {place.shape or place.model for place in names} if engine.state == "active" else ():
            have[name] += max(1, engine.hardware.count)
    used = {name: took[name] / (count_ * seconds) for name, count_ in have.items()}
    return {name: _sum(some) for name, some in of.items()}, used


def _sum(some: Sequence[Asked]) -> Seen:
    answered = sum(one.answered for one in some)
    return Seen(
        asked=sum(one.asked for one in some),
        served=answered,
        wait=sum(one.queue_us for one in some) / 1e6 / max(1, answered),
        tokens_in=sum(one.uncached for one in some),
        tokens_out=sum(one.tokens_out for one in some),
    )


# telling


def _split(one: Split) -> dict[str, Any]:
    return {
        "held": {"half": "half of each group", "system": "an accelerator", "model": "a model"}[one.name],
        "kind": "mixtures" if one.mixture else "dense",
        "points": one.points,
        "median": f"{one.median:.1%}",
        "p90": f"{one.p90:.1%}",
        "worst": f"{one.worst}: {one.worst_median:.1%}",
    }


def _unknown(fitted: Coefficients) -> Iterable[dict[str, Any]]:
    dense = next(model for model in models().values() if not model.experts)
    for key, device in devices().items():
        if key not in fitted.devices:
            error = fitted.error(dense, device)
            yield {"accelerator": key, "error": f"± {error.value:.0%}", "basis": str(error.basis)}


def _tell_learned(learned: list[Learned], left: list[str]) -> None:
    def off(one: Off | None) -> str:
        return f"{one.first:+.0%}, {one.median:.0%} (nine of ten {one.p90:.0%})" if one else "not known"

    table(
        (
            {
                "engine": safe(one.place.name),
                "model": safe(one.place.model),
                "accelerator": f"{one.place.devices} × {one.place.device or '?'}",
                "requests": one.requests,
                "factors": ", ".join(f"{each:.2f}" for each in one.factors),
                "before": off(one.before),
                "after": off(one.after),
            }
            for one in learned
        ),
        LEARNED,
        empty="Nothing of the ledger could be learned from.",
    )
    for why in left:
        typer.echo(f"Not learned from: {safe(why)}", err=True)
    for one in learned:
        if not one.place.known:
            typer.echo(
                f"{safe(one.place.model)} on {safe(one.place.name)}: the planner's tables do not have it, so "
                "it counts for `replay` and goes into no fit.",
                err=True,
            )


def _tell_rehearsed(one: Rehearsed) -> None:
    engines = count(round(one.again.value), "engine")
    typer.echo(f"{safe(one.model)}: {engines} with {one.slots} places each, {one.seconds:,.0f} s\n")
    lines: list[dict[str, Any]] = []
    for each in one.classes:
        lines += _waits(each)
    table(lines, WAITS)
    typer.echo()
    for what, figure in (("recorded", one.recorded), ("again", one.again), ("changed", one.changed)):
        if figure:
            off = f", time per token ± {figure.error:.0%}" if figure.error else ""
            known = f"{figure.basis}, {safe(figure.source)}{off}"
            typer.echo(f"{what}: {count(round(figure.value), 'engine')}; {known}")
    typer.echo()


def _waits(one: ByClass) -> Iterable[dict[str, Any]]:
    told: dict[str, Got | None] = {"recorded": one.recorded, "again": one.again, "changed": one.changed}
    for what, got in told.items():
        if got is not None:
            spreads = {name: banded(getattr(got, name)) for name in ("mean", "p50", "p99")}
            yield {"class": safe(one.service_class), "what": what, "asked": got.asked, "refused": got.refused,
                   **spreads}  # fmt: skip


def _honest(out: LeftOut, too_many: int, left: list[str]) -> Iterable[str]:
    """What the ledger does not hold, in numbers where there are some."""
    counted = (
        (out.no_answer, "had no answer, so nobody knows how long it would have been: left out"),
        (out.no_engine, "ran on engines that could not be learned from: left out"),
        (too_many, "came later than can be read at once: left out; say --until"),
        (out.guests, "came from guests, whose networks the ledger does not have: they share as one"),
        (out.estimated, "have lengths estimated from bytes, because the engine did not count"),
    )
    yield from (f"{count(number, 'request')}: {text}." for number, text in counted if number)
    yield from (f"Not learned from: {safe(why)}" for why in left)
    yield (
        "Not in the ledger: what clients allowed at most, which texts begin alike (what was cached counts as "
        "cached), when engines were away, and who would not have come back."
    )


def _tell_watched(found: Watched, now: datetime, *, json: bool) -> None:
    if json:
        typer.echo(to_json({"at": now.isoformat(timespec="seconds"), **msgspec.to_builtins(found)}))
        return
    typer.echo(f"{now:%Y-%m-%d %H:%M}, the last {found.seconds:,.0f} s beside {safe(found.scenario)}\n")
    table(map(_line, found.lines), LINES)
    for name in found.not_planned:
        typer.echo(f"{safe(name)} asks, and the plan does not have it.", err=True)
    outside = ", ".join(f"{safe(one.of)} {one.what} {one.where}" for one in found.outside)
    typer.echo(f"\nOutside of the band: {outside}." if outside else "\nAll within the band.")
    typer.echo(f"What was seen is measured: {found.seen}. What is expected:")
    told_basis(found.known.basis)


def _line(one: Line) -> dict[str, Any]:
    return {
        "of": safe(one.of),
        "what": one.what,
        **{name: f"{getattr(one, name):,.4g}" for name in ("seen", "low", "middle", "high")},
        "where": "" if one.where == "within" else one.where,
    }
