"""What the workers of a gateway count, and Prometheus' text of it. Names: docs/reference/metrics.md.

Words: the *figures* of a worker are all its counters at one moment, as they travel to the worker that was
asked. Rule: several workers are told apart by the label ``worker`` and never added up here, so that the
counters of one that begins anew fall by themselves, as Prometheus expects it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct, field

from moduai.gateway.degraded import MODES
from moduai.gateway.searches import Searches
from moduai.gateway.stats import BOUNDS_S, Histogram

if TYPE_CHECKING:
    from moduai.gateway.lane import Lane


class Metric(NamedTuple):
    """One metric: name, type, labels, what it counts, and how the values of several gateways are joined."""

    name: str
    type: str
    labels: tuple[str, ...]
    help: str
    over: str = "sum"
    """Not the sum where each gateway tells of its whole cell, or where the worst or best one counts."""


REQUESTS = Metric("modu_requests_total", "counter", ("endpoint", "model", "outcome"), "Requests that ended.")
ERRORS = Metric("modu_errors_total", "counter", ("code",), "Errors told to clients, by stable code.")
TOKENS = Metric("modu_tokens_total", "counter", ("model", "kind"), "Tokens: in, cached (part of in) and out.")
ACCELERATOR = Metric("modu_accelerator_seconds_total", "counter", ("engine",), "Accelerator-seconds charged.")
ENERGY = Metric("modu_energy_joules_total", "counter", ("engine",), "Estimated energy in joules.")
FAILURES = Metric("modu_engine_failures_total", "counter", ("engine",), "Requests that an engine failed.")
RETRIES = Metric("modu_retries_total", "counter", (), "Requests that were sent to another engine.")
QUEUE = Metric("modu_queue_seconds", "histogram", (), "Time in line of requests that ran.")
FIRST_TOKEN = Metric(
    "modu_first_token_seconds", "histogram", (), "Time from arrival to the answer's first byte."
)
DURATION = Metric("modu_request_seconds", "histogram", (), "Time from arrival to the end of the answer.")
RUNNING = Metric("modu_running", "gauge", ("engine",), "Requests that run now.", "max")
WAITING = Metric("modu_waiting", "gauge", ("model",), "Requests that wait in line now.", "max")
WAIT_EXPECTED = Metric(
    "modu_wait_expected_seconds", "gauge", ("model",),
    "Expected time until all who wait now are served: what to scale by.", "max",
)  # fmt: skip
UP = Metric("modu_engine_open", "gauge", ("engine",), "1 if the engine takes requests.", "max")
LEDGER = Metric("modu_ledger_rows_waiting", "gauge", (), "Usage rows that are not yet on disk.")
LEDGER_BEHIND = Metric(
    "modu_ledger_behind_seconds", "gauge", (), "Age of the oldest usage that may not be in the database yet.",
    "max",
)  # fmt: skip
DEGRADED = Metric(
    "modu_degraded", "gauge", ("mode",), "1 while something does not work (docs/failure-modes.md).",
    "max",
)  # fmt: skip
SERVED = Metric(
    "modu_share_cost_seconds_total", "counter", ("model", "class"),
    "Accelerator-seconds that a class was served since somebody had to wait.", "max",
)  # fmt: skip
CLASS_RUNNING = Metric(
    "modu_share_running", "gauge", ("model", "class"), "Requests of a class that run now.", "max"
)
CLASS_WAITING = Metric(
    "modu_share_waiting", "gauge", ("model", "class"), "Requests of a class that wait in line now.", "max"
)
CLASS_WEIGHT = Metric(
    "modu_share_weight", "gauge", ("model", "class"),
    "Weight that a class shares by in this cell: less than the policy's where other cells serve it too.",
    "max",
)  # fmt: skip
CELLS_AGE = Metric(
    "modu_cells_age_seconds", "gauge", ("cell",),
    "Age of what another cell told last of its service; above six rounds it counts for nothing.", "max",
)  # fmt: skip
STEPS = Metric(
    "modu_steps_total", "counter", ("step",),
    "Requests that ended after they waited (queued), were shortened, or were given a lighter model.",
)  # fmt: skip
WAIT_ERROR = Metric(
    "modu_wait_error_ratio", "gauge", ("model", "kind"),
    "Median difference of foretold waits, as a part of the wait that came; of light and of heavy people.",
    "max",
)  # fmt: skip
WAIT_COVER = Metric(
    "modu_wait_cover_ratio", "gauge", ("model", "kind"),
    "Part of the waits that fell into the 80 % interval that was foretold.", "max",
)  # fmt: skip
WORKER_UP = Metric(
    "modu_worker_up", "gauge", ("worker",), "1 if the worker answered the one that was asked.", "min"
)
SEARCHES = Metric(
    "modu_searches_total", "counter", ("outcome",),
    "Searches of public documents: found, nothing, or away (no answer in time).",
)  # fmt: skip
SEARCH_SECONDS = Metric("modu_search_seconds", "histogram", (), "Time that a search took.")
SEARCH_UP = Metric("modu_search_up", "gauge", (), "1 if the search process answers.", "min")
DOCUMENTS = Metric("modu_search_documents", "gauge", (), "Documents that can be found.", "min")
PASSAGES = Metric("modu_search_passages", "gauge", (), "Passages that can be found.", "min")
BEHIND = Metric(
    "modu_search_behind", "gauge", (), "Changes of documents that search does not have yet.", "max"
)
MORPHEMES = Metric(
    "modu_search_morphemes_ratio", "gauge", (), "Part of the passages that are found by morphemes too.", "min"
)
JOINED: dict[str, Callable[[Iterable[float]], float]] = {"sum": sum, "max": max, "min": min}
"""By ``Metric.over``."""
CATALOGUE = (
    REQUESTS, ERRORS, TOKENS, ACCELERATOR, ENERGY, FAILURES, RETRIES, QUEUE, FIRST_TOKEN, DURATION, RUNNING,
    WAITING, WAIT_EXPECTED, UP, LEDGER, LEDGER_BEHIND, DEGRADED, SERVED, CLASS_RUNNING, CLASS_WAITING,
    CLASS_WEIGHT, CELLS_AGE, STEPS, WAIT_ERROR, WAIT_COVER, WORKER_UP,
    SEARCHES, SEARCH_SECONDS, SEARCH_UP, DOCUMENTS, PASSAGES, BEHIND, MORPHEMES,
)  # fmt: skip


class Times(Struct):
    """A histogram: counts in the buckets of BOUNDS_S and above the last, and the sum in µs."""

    counts: list[int]
    sum_us: int


class Figures(Struct):
    """All that one worker tells of itself."""

    boot: str
    """Names its process."""
    started: int
    """Unix time in seconds."""
    degraded: list[str]
    """What does not work now, by name."""
    values: dict[str, list[tuple[tuple[str, ...], int | float]]] = field(default_factory=dict)
    """By metric: its labels' values, and the value."""
    times: dict[str, Times] = field(default_factory=dict)
    """By metric."""

    def put(self, metric: Metric, values: Mapping[Any, float]) -> None:
        """Tell of a counter or gauge, by its labels."""
        self.values[metric.name] = sorted(values.items())

    def put_times(self, metric: Metric, histogram: Histogram) -> None:
        """Tell of a histogram."""
        self.times[metric.name] = Times(histogram.counts(), histogram.sum_us)


def figures(
    lane: Lane, searches: Searches | None = None, *, started: int = 0, degraded: Iterable[str] = ()
) -> Figures:
    """All figures of this worker; ``searches`` is None where nothing is searched."""
    stats, told = lane.stats, Figures(lane.boot, started, list(degraded))
    told.put(REQUESTS, stats.total("requests", 0, 1, 3))
    told.put(ERRORS, {(code,): count for code, count in stats.errors.items()})
    kinds = ("in", "cached", "out")
    tokens = {kind: stats.total(f"tokens_{kind}", 1) for kind in kinds}
    told.put(TOKENS, {(model, kind): n for kind in kinds for (model,), n in tokens[kind].items() if model})
    for metric, name, unit in ((ACCELERATOR, "accelerator_us", 1e6), (ENERGY, "energy_mj", 1e3)):
        told.put(metric, {key: n / unit for key, n in stats.total(name, 2).items() if key[0]})
    told.put(FAILURES, {(engine,): count for engine, count in stats.engine_failures.items()})
    told.put(RETRIES, {(): stats.retries})
    told.put_times(QUEUE, stats.queue)
    told.put_times(FIRST_TOKEN, stats.first_token)
    told.put_times(DURATION, stats.duration)
    told.put(RUNNING, {(engine,): count for engine, count in lane.line.running().items()})
    told.put(WAITING, {(model,): count for model, count in lane.line.waiting().items()})
    told.put(WAIT_EXPECTED, {(model,): wait / 1e9 for model, wait in lane.line.expected().items()})
    told.put(UP, {(name,): int(replica.is_open) for name, replica in lane.fleet.replicas.items()})
    told.put(LEDGER, {(): lane.ledger.rows_waiting})
    told.put(LEDGER_BEHIND, {(): round(lane.ledger.behind_s, 1)})
    told.put(DEGRADED, {(mode.name,): int(mode.name in told.degraded) for mode in MODES})
    told.put(STEPS, {(step,): count for step, count in stats.steps.items()})
    _sharing(told, lane)
    if searches is not None:
        _searching(told, searches)
    return told


def _sharing(told: Figures, lane: Lane) -> None:
    """By class; organisations would be too many for a label."""
    classes = [share for share in lane.line.shares() if len(share.path) == 1]
    by_class = [
        (SERVED, "served", 1e6),
        (CLASS_RUNNING, "running", 1),
        (CLASS_WAITING, "waiting", 1),
        (CLASS_WEIGHT, "here", 1000),
    ]
    for metric, name, unit in by_class:
        told.put(metric, {(one.pool, one.path[0]): getattr(one, name) / unit for one in classes})
    told.put(CELLS_AGE, {(cell,): age / 1e9 for cell, age in lane.line.cells().items()})
    found = [(model, figure) for model, each in lane.line.figures().items() for figure in each]
    for metric, name in ((WAIT_ERROR, "error"), (WAIT_COVER, "covered")):
        told.put(metric, {(model, one.kind): getattr(one, name) / 1000 for model, one in found})


def _searching(told: Figures, searches: Searches) -> None:
    told.put(SEARCHES, {(outcome,): count for outcome, count in searches.outcomes.items()})
    told.put_times(SEARCH_SECONDS, searches.seconds)
    told.put(SEARCH_UP, {(): int(searches.up)})
    if searches.up:
        held = [(DOCUMENTS, searches.documents), (PASSAGES, searches.passages), (BEHIND, searches.behind)]
        for metric, value in [*held, (MORPHEMES, searches.morphemes)]:
            told.put(metric, {(): value})


def exposition(workers: Mapping[str, Figures | None]) -> bytes:
    """All metrics of these workers by their names; None: it did not answer."""
    told = {name: each for name, each in workers.items() if each is not None}
    lines = [*_head(WORKER_UP), *(_line(WORKER_UP, (name,), int(name in told)) for name in workers)]
    for metric in CATALOGUE:
        if any(metric.name in each.values or metric.name in each.times for each in told.values()):
            lines += _head(metric)
        for name, each in told.items():
            worker = [("worker", name)] if len(workers) > 1 else []
            if metric.name in each.times:
                lines += _histogram(metric, each.times[metric.name], worker)
            lines += [_line(metric, *sample, worker) for sample in each.values.get(metric.name, ())]
    return ("\n".join(lines) + "\n").encode()


def joined(told: Sequence[Figures], metric: Metric) -> dict[tuple[str, ...], float]:
    """The values of several workers as one, by labels: as the metric's definition says."""
    found: dict[tuple[str, ...], list[float]] = {}
    for each in told:
        for labels, value in each.values.get(metric.name, ()):
            found.setdefault(labels, []).append(value)
    return {labels: JOINED[metric.over](values) for labels, values in found.items()}


def joined_times(told: Sequence[Figures], metric: Metric) -> Times:
    """The histograms of several workers as one."""
    each = [one.times[metric.name] for one in told if metric.name in one.times]
    counts = [sum(bucket) for bucket in zip(*(one.counts for one in each), strict=True)]
    return Times(counts, sum(one.sum_us for one in each))


def _head(metric: Metric) -> Iterator[str]:
    yield f"# HELP {metric.name} {metric.help}"
    yield f"# TYPE {metric.name} {metric.type}"


def _line(metric: Metric, labels: Iterable[str], value: float, beside: Iterable[tuple[str, str]] = ()) -> str:
    return f"{metric.name}{_labels([*zip(metric.labels, labels, strict=True), *beside])} {value}"


def _histogram(metric: Metric, times: Times, beside: Iterable[tuple[str, str]]) -> Iterator[str]:
    total = 0
    for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), times.counts, strict=True):
        total += count
        yield f"{metric.name}_bucket{_labels([*beside, ('le', bound)])} {total}"
    yield f"{metric.name}_sum{_labels(beside)} {times.sum_us / 1e6}"
    yield f"{metric.name}_count{_labels(beside)} {total}"


def _labels(pairs: Iterable[tuple[str, str]]) -> str:
    text = ",".join(f'{name}="{_escape(value)}"' for name, value in pairs)
    return f"{{{text}}}" if text else ""


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
