"""hop: what a ticket and its grant add to a request, against one process: CPU of all that serves, and time.

CPU: gateway and dispatcher together on one core, JSON answers of 32 clients, beside a worker that has its
line in itself; the two in turn, medians. Time: one client alone, the median of its answers.
"""

from __future__ import annotations

from benchmarks.bars import Bench, Measured, Row, median
from benchmarks.harness import load, modu, process
from benchmarks.harness.cell import affinity, running_cell
from benchmarks.harness.load import Load, Result


def hop(bench: Bench) -> Measured:
    """Microseconds of CPU a request, and milliseconds of its median, that the dispatcher adds."""
    rounds, window = (1, 1.0) if bench.quick else (5, 4.0)
    place = bench.place("hop")
    one: list[tuple[Result, Result]] = []
    cell: list[tuple[Result, Result]] = []
    with process.engine_process(place / "engine.log", on=bench.beside) as engine:
        home = modu.prepare(place / "home", [engine])
        for number in range(rounds):
            with modu.running_modu(home, place / "one.log", on=bench.target, beside=bench.beside) as target:
                one.append(_both(bench, target.url, home.key, target.pids[:1], window))
            with running_cell(home, place / f"parts-{number}", gateways=1) as found:
                pids = (found.gateways[0].pid, found.dispatchers[0].pid)
                affinity(list(pids), bench.target)
                affinity([found.metering.pid], bench.beside)
                cell.append(_both(bench, found.gateways[0].url, home.key, pids, window))
    errors = sum(result.errors for pair in (*one, *cell) for result in pair)
    cpu = [many.each_us - alone.each_us for (alone, _), (many, _) in zip(one, cell, strict=True)]
    p50 = [many.p50_ms - alone.p50_ms for (_, alone), (_, many) in zip(one, cell, strict=True)]
    value = [round(median(cpu), 1), round(median(p50), 3)]
    dispatcher = median([each.cpu_s[1] / max(each.answers, 1) * 1e6 for each, _ in cell])
    notes = [
        f"one process: {_middle(one)}",
        f"cell: {_middle(cell)}; {dispatcher:.1f} µs of it are the dispatcher's",
        f"differences of {rounds} rounds: {min(cpu):.1f} to {max(cpu):.1f} µs; {errors} errors",
    ]
    holds = value[0] <= 60 and value[1] <= 1 and not errors
    return Measured(Row("hop", list(value), "<= 60 µs; <= 1 ms", holds), notes, broken=bool(errors))


def _middle(pairs: list[tuple[Result, Result]]) -> str:
    cpu, p50 = median([each.each_us for each, _ in pairs]), median([each.p50_ms for _, each in pairs])
    return f"{cpu:.1f} µs a request; p50 of one client {p50:.2f} ms"


def _both(bench: Bench, url: str, key: str, pids: tuple[int, ...], window: float) -> tuple[Result, Result]:
    many = Load(url=url, key=key, window_s=window, watch=pids)
    alone = Load(url=url, key=key, clients=1, window_s=window / 2, watch=pids)
    return load.measure(many, on=bench.beside), load.measure(alone, on=bench.beside)
