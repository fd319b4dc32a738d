"""The lane's counters in Prometheus' text format. Names are documented in docs/reference/metrics.md."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

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
CATALOGUE = (
    REQUESTS, ERRORS, TOKENS, ACCELERATOR, ENERGY, FAILURES, RETRIES, QUEUE, FIRST_TOKEN, DURATION, RUNNING,
    WAITING, WAIT_EXPECTED, UP, LEDGER, LEDGER_BEHIND, DEGRADED, SERVED, CLASS_RUNNING, CLASS_WAITING,
    CLASS_WEIGHT, CELLS_AGE, STEPS, WAIT_ERROR, WAIT_COVER, SEARCHES, SEARCH_SECONDS, SEARCH_UP, DOCUMENTS,
    PASSAGES, BEHIND, MORPHEMES,
)  # fmt: skip


def exposition(lane: Lane, searches: Searches | None = None, degraded: Collection[str] = ()) -> bytes:
    """All metrics of this worker; ``searches`` is None where nothing is searched, ``degraded`` names the
    modes that hold.
    """
    stats = lane.stats
    lines: list[str] = []
    lines += _family(REQUESTS, stats.total("requests", 0, 1, 3))
    lines += _family(ERRORS, {(code,): count for code, count in stats.errors.items()})
    kinds = ("in", "cached", "out")
    lines += _family(
        TOKENS,
        {
            (model, kind): n
            for kind in kinds
            for (model,), n in stats.total(f"tokens_{kind}", 1).items()
            if model
        },
    )
    engines = [(ACCELERATOR, "accelerator_us", 1e6), (ENERGY, "energy_mj", 1e3)]
    for metric, field, unit in engines:
        lines += _family(metric, {key: n / unit for key, n in stats.total(field, 2).items() if key[0]})
    lines += _family(FAILURES, {(engine,): count for engine, count in stats.engine_failures.items()})
    lines += _family(RETRIES, {(): stats.retries})
    for metric, histogram in (
        (QUEUE, stats.queue),
        (FIRST_TOKEN, stats.first_token),
        (DURATION, stats.duration),
    ):
        lines += _histogram(metric, histogram)
    lines += _family(RUNNING, {(engine,): count for engine, count in lane.line.running().items()})
    lines += _family(WAITING, {(model,): count for model, count in lane.line.waiting().items()})
    lines += _family(WAIT_EXPECTED, {(model,): wait / 1e9 for model, wait in lane.line.expected().items()})
    lines += _family(UP, {(name,): int(replica.is_open) for name, replica in lane.fleet.replicas.items()})
    lines += _family(LEDGER, {(): lane.ledger.rows_waiting})
    lines += _family(LEDGER_BEHIND, {(): round(lane.ledger.behind_s, 1)})
    lines += _family(DEGRADED, {(mode.name,): int(mode.name in degraded) for mode in MODES})
    lines += _family(STEPS, {(step,): count for step, count in stats.steps.items()})
    lines += _sharing(lane)
    if searches is not None:
        lines += _searching(searches)
    return ("\n".join(lines) + "\n").encode()


def _sharing(lane: Lane) -> Iterator[str]:
    """By class; organisations would be too many for a label."""
    classes = [share for share in lane.line.shares() if len(share.path) == 1]
    by_class = [
        (SERVED, "served", 1e6),
        (CLASS_RUNNING, "running", 1),
        (CLASS_WAITING, "waiting", 1),
        (CLASS_WEIGHT, "here", 1000),
    ]
    for metric, field, unit in by_class:
        yield from _family(metric, {(one.pool, one.path[0]): getattr(one, field) / unit for one in classes})
    yield from _family(CELLS_AGE, {(cell,): age / 1e9 for cell, age in lane.line.cells().items()})
    figures = [(model, figure) for model, found in lane.line.figures().items() for figure in found]
    for metric, field in ((WAIT_ERROR, "error"), (WAIT_COVER, "covered")):
        yield from _family(metric, {(model, one.kind): getattr(one, field) / 1000 for model, one in figures})


def _searching(searches: Searches) -> Iterator[str]:
    yield from _family(SEARCHES, {(outcome,): count for outcome, count in searches.outcomes.items()})
    yield from _histogram(SEARCH_SECONDS, searches.seconds)
    yield from _family(SEARCH_UP, {(): int(searches.up)})
    if searches.up:
        held = [(DOCUMENTS, searches.documents), (PASSAGES, searches.passages), (BEHIND, searches.behind)]
        for metric, value in [*held, (MORPHEMES, searches.morphemes)]:
            yield from _family(metric, {(): value})


def _family(metric: Metric, values: Mapping[Any, float]) -> Iterator[str]:
    yield f"# HELP {metric.name} {metric.help}"
    yield f"# TYPE {metric.name} {metric.type}"
    for labels, value in sorted(values.items()):
        yield f"{metric.name}{_labels(zip(metric.labels, labels, strict=True))} {value}"


def _histogram(metric: Metric, histogram: Histogram) -> Iterator[str]:
    yield f"# HELP {metric.name} {metric.help}"
    yield f"# TYPE {metric.name} histogram"
    total = 0
    for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), histogram.counts(), strict=True):
        total += count
        yield f'{metric.name}_bucket{{le="{bound}"}} {total}'
    yield f"{metric.name}_sum {histogram.sum_us / 1e6}"
    yield f"{metric.name}_count {total}"


def _labels(pairs: Iterable[tuple[str, str]]) -> str:
    text = ",".join(f'{name}="{_escape(value)}"' for name, value in pairs)
    return f"{{{text}}}" if text else ""


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
