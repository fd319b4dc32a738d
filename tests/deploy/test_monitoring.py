"""The dashboard and the alerts follow from the metrics' definitions; Prometheus understands the alerts."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import httpx
import pytest
import yaml
from scripts import monitoring

from moduai.gateway.errors import CATALOGUE as ERRORS
from moduai.gateway.metrics import CATALOGUE, LEDGER
from tests.conftest import Service
from tests.deploy.front import program

ALERTS = yaml.safe_load((monitoring.FOLDER / "alerts.yaml").read_text("utf-8"))["groups"][0]["rules"]
CASES = {
    "ModuAway": ({}, []),
    "ModuNoEngine": ({'modu_engine_open{engine="a"}': "0x10", 'modu_engine_open{engine="b"}': "0x10"}, [{}]),
    "ModuEngineClosed": (
        {
            'modu_engine_open{engine="a",instance="1"}': "0x10",
            'modu_engine_open{engine="b",instance="1"}': "0x10",
            'modu_engine_open{engine="b",instance="2"}': "1x10",
        },
        [{"engine": "a"}],
    ),
    "ModuLongWait": (
        {
            'modu_wait_expected_seconds{model="m",instance="1"}': "90x15",
            'modu_wait_expected_seconds{model="n",instance="1"}': "30x15",
        },
        [{"model": "m"}],
    ),
    "ModuEngineFails": ({'modu_engine_failures_total{engine="a"}': "0+30x15"}, [{"engine": "a"}]),
    "ModuErrors": (
        {
            'modu_errors_total{code="line_unavailable"}': "0+30x15",
            'modu_errors_total{code="invalid_api_key"}': "0+9000x15",
        },
        [{}],
    ),
    "ModuLedgerWaits": ({'modu_ledger_rows_waiting{instance="1"}': "2000x10"}, [{"instance": "1"}]),
    "ModuLedgerBehind": ({'modu_ledger_behind_seconds{instance="1"}': "1000x15"}, [{"instance": "1"}]),
    "ModuDegradedNow": (
        {
            'modu_degraded{mode="database",instance="1"}': "1x15",
            'modu_degraded{mode="search",instance="1"}': "1x15",
            'modu_degraded{mode="line",instance="1"}': "0x15",
        },
        [{"mode": "database"}],
    ),
    "ModuDegraded": (
        {
            'modu_degraded{mode="search",instance="1"}': "1x15",
            'modu_degraded{mode="database",instance="1"}': "1x15",
            'modu_degraded{mode="clock",instance="1"}': "0x15",
        },
        [{"mode": "search"}],
    ),
    "ModuSearchBehind": ({'modu_search_behind{instance="1"}': "5000x60"}, [{"instance": "1"}]),
}
"""What a collector saw, a value a minute; which of the alert fire after the time it asks for."""


@pytest.mark.parametrize("name", monitoring.FILES)
def test_a_file_that_follows_from_the_metrics_is_up_to_date(name: str) -> None:
    committed = (monitoring.FOLDER / name).read_text("utf-8")
    assert committed == monitoring.FILES[name](), "run `python -m scripts.monitoring`"


def test_every_metric_has_a_panel() -> None:
    panels = json.loads(monitoring.dashboard())["panels"]
    shown = {name for panel in panels for target in panel["targets"] for name in _names(target["expr"])}
    assert shown == {one.name for one in CATALOGUE}
    assert len({panel["id"] for panel in panels}) == len(panels) == len(CATALOGUE)


def test_alerts_speak_of_metrics_labels_and_codes_that_there_are() -> None:
    known = {one.name: one for one in CATALOGUE}
    for alert in ALERTS:
        (name,) = _names(alert["expr"])
        for by in re.findall(r"by \(([\w, ]+)\)", alert["expr"]):
            assert set(by.split(", ")) <= {*known[name].labels, "instance"}
    assert set(monitoring.OURS) <= ERRORS.keys()
    assert {alert["alert"] for alert in ALERTS} == CASES.keys()


def test_each_alert_fires_when_it_should(tmp_path: Path) -> None:
    """By promtool, with what a collector would have seen; in the last test nothing was seen at all."""
    lasts = {alert["alert"]: alert["for"] for alert in ALERTS}
    tests = [
        {
            "interval": "1m",
            "input_series": [{"series": one, "values": values} for one, values in seen.items()],
            "promql_expr_test": [
                {
                    "expr": f'count by (alertname) (ALERTS{{alertname="{name}",alertstate="firing"}})',
                    "eval_time": "55m" if lasts[name] == "30m" else "12m",
                    "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": max(1, len(fires))}],
                }
            ],
        }
        for name, (seen, fires) in CASES.items()
    ]
    file = tmp_path / "test.yaml"
    rules = str(monitoring.FOLDER / "alerts.yaml")
    whole = {"rule_files": [rules], "evaluation_interval": "30s", "tests": tests}
    file.write_text(yaml.safe_dump(whole), "utf-8")
    done = subprocess.run(
        [program("promtool"), "test", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_a_gateway_tells_is_what_promtool_takes(service: Service) -> None:
    told = httpx.get(f"{service.url}/metrics").text
    assert LEDGER.name in told
    done = subprocess.run(
        [program("promtool"), "check", "metrics"], input=told, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _names(expression: str) -> set[str]:
    return {
        re.sub(r"_bucket$", "", name) for name in re.findall(r"modu_\w+", expression.replace('"modu_', '"'))
    }
