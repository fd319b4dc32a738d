"""locality: how much of the prefix caches is used while the order stays fair.

The load: Mooncake's conversations on eight replicas, each a 70-billion-parameter model on eight H200 with
KV room for 2.6 million tokens. They are played ``FASTER`` times, which is a fifth more than what the
replicas can do, so that there is an order to keep. A person is the first block that prompts do not all
share. The rival follows the prefix alone, whatever the load and whoever asks.
"""

from __future__ import annotations

from benchmarks.bars import Bench, Figure, Measured, Row
from benchmarks.bars.fairness_world import PRICE, fair, hits, play, traces
from moduai.planner import Engine, Twin, traffic
from moduai.planner.baselines import LocalityOnly
from moduai.planner.clock import SECOND
from moduai.planner.measure import costliest, gaps, quantile
from moduai.planner.replica import LLAMA_70B_H200
from moduai.scheduling.ticket import ONE

MUST_HITS, MUST_GAP = 0.90, 1.5
REPLICAS = 8
STEP = LLAMA_70B_H200
FASTER = 10
HOUR_S = 3_600
MOST_S = 600.0
WINDOWS = (0, 8_000, 32_000, 64_000, 126_000)
"""D in tokens; the last is the costliest request of the trace, more is not allowed."""
CHOSEN = 64_000


def locality(bench: Bench) -> Measured:
    """Prefix hits against the rival's, and the largest gap in excess of D / the costliest request."""
    folder = traces()
    if folder is None:
        note = "not measured: the traces are not here (MODU_DATA)"
        return Measured(Row("locality", [None, None], _MUST, holds=False), [note])
    load = traffic.mooncake(folder, faster=FASTER, most=1_500 if bench.quick else 0)
    rival = play(LocalityOnly(), load, MOST_S, engines())
    notes = [f"prefix only: hits {hits(rival):.1%}; {_told(rival)}"]
    value: list[Figure] = []
    for window in (CHOSEN,) if bench.quick else WINDOWS:
        twin = play(fair(locality_window=window * PRICE // 1000), load, MOST_S, engines())
        most, found = costliest(twin), max(gaps(twin, lambda _: ONE, a_second=1))
        figures = [round(hits(twin) / hits(rival), 3), round((found - window) / most, 3)]
        notes.append(
            f"D = {window:,} tokens: hits {hits(twin):.1%} ({figures[0]:.1%} of the rival's), "
            f"largest gap {found:,.0f}, costliest request {most:,}; {_told(twin)}"
        )
        if window == CHOSEN:
            value = list(figures)
            holds = figures[0] >= MUST_HITS and figures[1] <= MUST_GAP
    return Measured(Row("locality", value, _MUST, holds), notes)


_MUST = f">= {MUST_HITS}; <= {MUST_GAP} + D"


def engines() -> dict[str, Engine]:
    """The eight replicas, with nothing in their caches."""
    return {f"h200-{number}": Engine(STEP) for number in range(REPLICAS)}


def _told(twin: Twin) -> str:
    times = [record.first / SECOND for record in twin.records if record.first >= 0]
    end = max(record.ended for record in twin.records) / SECOND
    busy = sum(engine.busy for engine in twin.engines.values()) / SECOND / end / len(twin.engines)
    return (
        f"first token p50 {quantile(times, 0.5):.1f} s, p99 {quantile(times, 0.99):.1f} s; "
        f"all done after {end:.0f} s, engines busy {busy:.0%}"
    )
