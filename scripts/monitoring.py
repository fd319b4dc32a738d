"""Write what watches the service from its metrics' definitions: ``python -m scripts.monitoring``.

A Grafana dashboard with a panel for each metric, and Prometheus' alert rules. A test compares the committed
files with it, so a metric cannot be added, renamed or dropped without them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from moduai.gateway import metrics
from moduai.gateway.degraded import MODES
from moduai.gateway.metrics import Metric

FOLDER = Path(__file__).parent.parent / "deploy" / "monitoring"
UNITS = {"seconds": "s", "ratio": "percentunit", "joules": "joule", "total": "short"}
HEAD = """\
# Written by `python -m scripts.monitoring` from the metrics' definitions; change them there.
groups:
  - name: modu
    rules:
"""
WIDTH, HEIGHT, COLUMNS = 8, 7, 3


class Alert(NamedTuple):
    """When a person is wanted."""

    name: str
    metric: Metric
    when: str
    """PromQL; ``{}`` stands for the metric's name."""
    lasts: str
    severity: str
    """page: somebody must look now. ticket: in working hours."""
    what: str
    do: str


PAGES = "|".join(mode.name for mode in MODES if mode.page)
OURS = ("internal_error", "database_unavailable", "keyring_lost", "ledger_unavailable", "line_unavailable")
"""Codes of errors that neither clients nor engines can help."""
WORSE = "{{ $labels.instance }} is degraded: {{ $labels.mode }}."
ALERTS = (
    Alert(
        "ModuAway", metrics.LEDGER, "absent({})", "1m", "page",
        "No gateway answers its collector.", "modu doctor, and the service's log",
    ),
    Alert(
        "ModuNoEngine", metrics.UP, "sum(max by (engine) ({})) == 0", "30s", "page",
        "No engine takes requests: everybody is refused.", "modu engine list",
    ),
    Alert(
        "ModuEngineClosed", metrics.UP, "max by (engine) ({}) == 0", "5m", "ticket",
        "The engine {{ $labels.engine }} takes no requests.", "modu engine show {{ $labels.engine }}",
    ),
    Alert(
        "ModuLongWait", metrics.WAIT_EXPECTED, "max by (model) ({}) > 60", "10m", "ticket",
        "Whoever asks {{ $labels.model }} waits {{ $value | humanizeDuration }}.",
        "add an engine, or look who uses it: modu shares",
    ),
    Alert(
        "ModuEngineFails", metrics.FAILURES, "sum by (engine) (rate({}[5m])) > 0.1", "10m", "ticket",
        "The engine {{ $labels.engine }} fails requests.", "modu engine show {{ $labels.engine }}",
    ),
    Alert(
        "ModuErrors", metrics.ERRORS,
        f'sum(rate({{}}{{{{code=~"{"|".join(OURS)}"}}}}[5m])) > 0.1', "5m", "page",
        "Clients are told of errors that are ours.", "/health/ready, and the service's log",
    ),
    Alert(
        "ModuLedgerWaits", metrics.LEDGER, "max by (instance) ({}) > 1000", "2m", "page",
        "Usage of {{ $labels.instance }} cannot be written to its disk; requests are refused soon.",
        "make room in its home folder",
    ),
    Alert(
        "ModuLedgerBehind", metrics.LEDGER_BEHIND, "max by (instance) ({}) > 900", "1m", "page",
        "Usage of {{ $labels.instance }} has not reached the database for {{ $value | humanizeDuration }}.",
        "modu doctor there, and the log of its metering process",
    ),
    Alert(
        "ModuDegradedNow", metrics.DEGRADED, f'max by (instance, mode) ({{}}{{{{mode=~"{PAGES}"}}}}) == 1',
        "1m", "page", WORSE, "docs/failure-modes.md, and /health/ready there",
    ),
    Alert(
        "ModuDegraded", metrics.DEGRADED, f'max by (instance, mode) ({{}}{{{{mode!~"{PAGES}"}}}}) == 1',
        "10m", "ticket", WORSE, "docs/failure-modes.md, and /health/ready there",
    ),
    Alert(
        "ModuSearchBehind", metrics.BEHIND, "max by (instance) ({}) > 1000", "30m", "ticket",
        "Search of {{ $labels.instance }} has not taken in what was published.", "modu knowledge list",
    ),
)  # fmt: skip


def dashboard() -> str:
    """Grafana's dashboard, a panel for each metric in their order."""
    panels = [_panel(number, metric) for number, metric in enumerate(metrics.CATALOGUE)]
    source = {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    made = {
        "uid": "modu",
        "title": "Modu",
        "tags": ["modu"],
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [source]},
        "panels": panels,
    }
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def _panel(number: int, metric: Metric) -> dict[str, Any]:
    row, column = divmod(number, COLUMNS)
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": metric.name.removeprefix("modu_").replace("_", " "),
        "description": metric.help,
        "datasource": {"type": "prometheus", "uid": "${source}"},
        "gridPos": {"x": column * WIDTH, "y": row * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": _unit(metric), "min": 0}, "overrides": []},
        "targets": [
            {"refId": letter, "expr": expression, "legendFormat": legend}
            for letter, (expression, legend) in zip("AB", expressions(metric), strict=False)
        ],
    }


def expressions(metric: Metric) -> list[tuple[str, str]]:
    """PromQL and legend of what a panel shows. A gauge is joined over gateways as its definition says."""
    by = f" by ({', '.join(metric.labels)})" if metric.labels else ""
    legend = " ".join(f"{{{{{label}}}}}" for label in metric.labels) or "all"
    if metric.type == "histogram":
        rate = f"sum by (le) (rate({metric.name}_bucket[$__rate_interval]))"
        return [(f"histogram_quantile({part}, {rate})", name) for part, name in ((0.5, "p50"), (0.99, "p99"))]
    if metric.type == "counter":
        return [(f"{metric.over}{by} (rate({metric.name}[$__rate_interval]))", legend)]
    return [(f"{metric.over}{by} ({metric.name})", legend)]


def _unit(metric: Metric) -> str:
    """Grafana's name of the unit, from the metric's own; a rate of a total is a second's."""
    words = metric.name.split("_")
    if metric.type != "counter":
        return UNITS.get(words[-1], "short")
    return {"seconds": "short", "joules": "watt"}.get(words[-2], "ops")


def rules() -> str:
    """Prometheus' alert rules."""
    return HEAD + "".join(map(_rule, ALERTS))


def _rule(one: Alert) -> str:
    return (
        f"      - alert: {one.name}\n"
        f"        expr: {json.dumps(one.when.format(one.metric.name))}\n"
        f"        for: {one.lasts}\n"
        f"        labels: {{severity: {one.severity}}}\n"
        f"        annotations:\n"
        f"          summary: {json.dumps(one.what)}\n"
        f"          description: {json.dumps(one.do)}\n"
    )


FILES = {"dashboard.json": dashboard, "alerts.yaml": rules}
"""File below deploy/monitoring/ to the function that writes it."""


def main() -> None:
    """Write every file."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, make in FILES.items():
        (FOLDER / name).write_text(make(), "utf-8")


if __name__ == "__main__":
    main()
