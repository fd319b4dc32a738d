"""json-cpu, chunk-cpu and peers: CPU a request and a chunk, as a multiple of nginx's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from benchmarks.bars import Bench, Figure, Measured, Row, median
from benchmarks.harness import load, modu, nginx, process
from benchmarks.harness.load import Kind, Load, Result
from benchmarks.harness.nginx import Target
from benchmarks.peers import PEERS, Peer, running_peer

JSON_MUST, CHUNK_MUST = 2.4, 1.4
CLIENTS = {"json": 32, "sse": 64}
ENGINE = ("--chunks", "200", "--pace", "0.01")
NAMES = {"json": "a JSON request", "sse": "a chunk"}


class Turns(dict[str, list[Result]]):
    """Results of each target, in the order in which they were taken."""

    def each_us(self, name: str, kind: Kind, first: int | None = None) -> list[float]:
        """CPU a request or a chunk in each turn, of the first process alone or of all."""
        return [
            sum(r.cpu_s[:first]) / max(r.answers if kind == "json" else r.chunks, 1) * 1e6 for r in self[name]
        ]

    def times(self, name: str, base: str, kind: Kind, first: int | None = None) -> float:
        """Median of the ratios of neighbouring turns."""
        pairs = zip(self.each_us(name, kind, first), self.each_us(base, kind), strict=True)
        ratios = [mine / theirs for mine, theirs in pairs if theirs]
        if not ratios:
            raise process.StartError(f"{base} did nothing while it was measured")
        return median(ratios)


def json_cpu(bench: Bench) -> Measured:
    """CPU a JSON request."""
    return _against_nginx(bench, "json-cpu", "json", JSON_MUST)


def chunk_cpu(bench: Bench) -> Measured:
    """CPU a chunk of a stream."""
    return _against_nginx(bench, "chunk-cpu", "sse", CHUNK_MUST)


def _against_nginx(bench: Bench, bar: str, kind: Kind, must: float) -> Measured:
    place = bench.place(bar)
    with _engine(bench, bar) as engine, contextlib.ExitStack() as stack:
        home = modu.prepare(place / "home", [engine])
        ours = modu.running_modu(home, place / "modu.log", on=bench.target, beside=bench.beside)
        targets = [
            stack.enter_context(ours),
            stack.enter_context(nginx.running_nginx(place, engine, on=bench.target)),
        ]
        ceiling = _measure(bench, Target("ceiling", engine, "", ()), kind)
        turns = interleave(bench, targets, kind, rounds=1 if bench.quick else 7)
    value = round(turns.times("modu", "nginx", kind, first=1), 3)
    broken = _errors(turns) > 0
    row = Row(bar, value, f"<= {must}", value <= must and not broken)
    with_loader = turns.times("modu", "nginx", kind)
    notes = [
        *(line(name, kind, turns, first=1) for name in turns),
        f"with the metering process beside it: {with_loader:.2f} × nginx",
        f"ceiling of the load side: {_rates(ceiling)}; own CPU of the generator {ceiling.own_cpu_s:.1f} s",
    ]
    return Measured(row, notes, broken)


def peers(bench: Bench) -> Measured:
    """The same two figures for other gateways."""
    value: list[Figure] = []
    notes: list[str] = []
    place = bench.place("peers")
    with _engine(bench, "peers") as engine, nginx.running_nginx(place, engine, on=bench.target) as base:
        for peer in PEERS:
            figures, lines = _peer(bench, peer, engine, base)
            value += figures
            notes += lines
    return Measured(Row("peers", value, "reported", len(value) == 2 * len(PEERS)), notes)


def _peer(bench: Bench, peer: Peer, engine: str, base: Target) -> tuple[list[Figure], list[str]]:
    if bench.quick:
        return [None, None], [f"{peer.name} {peer.version}: left out by --quick"]
    try:
        with running_peer(peer, bench.place("peers"), engine, on=bench.target) as target:
            figures: list[Figure] = []
            lines = []
            kinds: tuple[Kind, Kind] = ("json", "sse")
            for kind in kinds:
                turns = interleave(bench, [target, base], kind, rounds=3)
                figures.append(round(turns.times(target.name, "nginx", kind), 3))
                lines.append(line(target.name, kind, turns))
            lines.append(f"{peer.name} {peer.version}: {_pss(target):.0f} MB")
            return figures, lines
    except process.StartError as error:
        return [None, None], [f"{peer.name} {peer.version}: not measured: {error}"]


def interleave(bench: Bench, targets: list[Target], kind: Kind, rounds: int) -> Turns:
    """Measure the targets in turn, ``rounds`` times."""
    turns = Turns({target.name: [] for target in targets})
    for _ in range(rounds):
        for target in targets:
            result = _measure(bench, target, kind)
            if not sum(result.cpu_s):  # it had not begun, on a machine that is busy
                result = _measure(bench, target, kind)
            turns[target.name].append(result)
    return turns


def line(
    name: str, kind: Kind, turns: Turns, first: int | None = None, *, base: str = "nginx", what: str = ""
) -> str:
    """One target's figures for people; ``what`` one answer is, where it is not a JSON one."""
    each = turns.each_us(name, kind, first)
    rate = median([(r.answers if kind == "json" else r.chunks) / r.seconds for r in turns[name]])
    errors = sum(r.errors for r in turns[name])
    text = (
        f"{name}: {median(each):.1f} µs {what or NAMES[kind]} ({min(each):.1f} to {max(each):.1f}), "
        f"{turns.times(name, base, kind, first):.2f} × {base}, {rate:,.0f}/s, "
        f"p50 {median([r.p50_ms for r in turns[name]]):.1f} ms"
    )
    if errors:
        text += f", {errors} errors: {next(r.first_error for r in turns[name] if r.first_error)}"
    return text


def _measure(bench: Bench, target: Target, kind: Kind) -> Result:
    asked = Load(
        url=target.url,
        kind=kind,
        clients=CLIENTS[kind],
        key=target.key,
        model=target.model,
        asks=target.asks,
        watch=target.pids,
        window_s=0.8 if bench.quick else 4.0,
        warm_s=0.4 if bench.quick else 1.0,
    )
    return load.measure(asked, on=bench.beside)


@contextlib.contextmanager
def _engine(bench: Bench, name: str) -> Iterator[str]:
    with process.engine_process(bench.place(name) / "engine.log", *ENGINE, on=bench.beside) as url:
        yield url


def _rates(result: Result) -> str:
    return f"{result.answers / result.seconds:,.0f} answers/s, {result.chunks / result.seconds:,.0f} chunks/s"


def _errors(turns: Turns) -> int:
    return sum(result.errors for results in turns.values() for result in results)


def _pss(target: Target) -> float:
    return sum(process.pss(pid) for pid in target.pids) / 2**20
