"""``modu now``: load, line, engines and errors of the running service, and its last hour."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec
import typer
from msgspec import Struct
from prometheus_client.parser import text_string_to_metric_families

from moduai import service
from moduai.cli.common import HomeOption, JsonOption, examples, fail, new_app, open_loaded, table, to_json
from moduai.cli.data import read
from moduai.engines.tables import engines
from moduai.gateway.metrics import CATALOGUE, JOINED
from moduai.metering.report import Usage, total
from moduai.settings import Loaded
from moduai.store.database import Connection

app = new_app("Show how the running service is right now.", group=False)

WITHIN_S = 5.0
MOST_BYTES = 4_194_304
Metrics = dict[str, dict[tuple[str, ...], float]]
"""Metric to its values by labels."""


Rows = list[dict[str, object]]


class _Ready(NamedTuple):
    status: str
    degraded: list[str]


class _Told(Struct, frozen=True, kw_only=True):
    """What ``--json`` answers."""

    url: str
    status: str
    degraded: list[str]
    engines: Rows
    models: Rows
    errors: Rows
    last_hour: Usage


@app.callback(invoke_without_command=True, epilog=examples("modu now", "modu now --json"))
def show(home: HomeOption = None, json: JsonOption = False) -> None:
    """Show how the running service is right now.

    Load, line and errors are those of this machine's workers, each since it began; the last hour is of
    all machines, from the ledger.
    """
    loaded = open_loaded(home)
    url = running_at(loaded)
    ready, metrics = _ready(get(url, "/health/ready")), _metrics(get(url, "/metrics"))
    now = int(time.time())

    async def look(connection: Connection) -> tuple[Usage, dict[str, str]]:
        rows = await connection.execute(engines.select().with_only_columns(engines.c.id, engines.c.name))
        hour = await total(connection, (now - 3600) * 1_000_000, (now + 1) * 1_000_000)
        return hour, {row.id: row.name for row in rows}

    hour, names = read(loaded, look)
    told = _Told(
        url=url,
        status=ready.status,
        degraded=ready.degraded,
        engines=_engines(metrics, names),
        models=_pairs(metrics, "modu_waiting", "model", "waiting"),
        errors=_pairs(metrics, "modu_errors", "code", "count"),
        last_hour=hour,
    )
    if json:
        typer.echo(to_json(told))
    else:
        _print(told)


def _print(told: _Told) -> None:
    typer.echo(f"{told.url} is {': '.join(filter(None, (told.status, ', '.join(told.degraded))))}\n")
    columns = ["name", "open", "running", "failures"]
    table(told.engines, columns, empty="No engine yet: modu engine add URL")
    typer.echo("")
    table(told.models, ["model", "waiting"], empty="Nobody waits.")
    typer.echo("")
    table(told.errors, ["code", "count"], empty="No errors since the workers began.")
    hour = told.last_hour
    typer.echo(
        f"\nLast hour: {hour.requests:,} requests, {hour.failed:,} not ok, mean wait "
        f"{hour.queue_us / 1e3:,.1f} ms, first token {hour.first_token_us / 1e3:,.1f} ms"
    )


def _engines(metrics: Metrics, names: dict[str, str]) -> Rows:
    running, failures = metrics.get("modu_running", {}), metrics.get("modu_engine_failures", {})
    return [
        {
            "id": id_,
            "name": names.get(id_, id_),
            "open": bool(is_open),
            "running": int(running.get((id_,), 0)),
            "failures": int(failures.get((id_,), 0)),
        }
        for (id_,), is_open in sorted(metrics.get("modu_engine_open", {}).items())
    ]


def _pairs(metrics: Metrics, metric: str, label: str, value: str) -> Rows:
    return [{label: one, value: int(count)} for (one,), count in sorted(metrics.get(metric, {}).items())]


def _ready(text: str) -> _Ready:
    try:
        told = msgspec.json.decode(text, type=dict[str, str | list[str]])
        return _Ready(str(told["status"]), list(told["degraded"]))
    except (msgspec.DecodeError, KeyError):
        fail("the service answers, but not as Modu does: modu doctor")


def _metrics(text: str) -> Metrics:
    families: Iterable[object] = text_string_to_metric_families(text)
    found: dict[str, dict[tuple[str, ...], list[float]]] = {}
    for family in families:
        name: str = family.name  # type: ignore[attr-defined]
        for sample in family.samples:  # type: ignore[attr-defined]
            labels = tuple(value for label, value in sample.labels.items() if label != "worker")
            found.setdefault(name, {}).setdefault(labels, []).append(sample.value)
    return {name: _joined(name, values) for name, values in found.items()}


def _joined(name: str, values: dict[tuple[str, ...], list[float]]) -> dict[tuple[str, ...], float]:
    """Of several workers one, as the metric's definition says."""
    over = next((one.over for one in CATALOGUE if one.name.removesuffix("_total") == name), "max")
    return {labels: JOINED[over](each) for labels, each in values.items()}


def running_at(loaded: Loaded) -> str:
    """The address of the service that runs on a home folder; ends the command where there is none."""
    found = service.running(loaded.home)
    if found is None or not found.url:
        fail(f"no service runs on {loaded.home}: modu up starts it")
    return found.url


def get(url: str, path: str) -> str:
    """What the service answers on this machine."""
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 0
    if parts.scheme == "https":
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # the peer is our own service
        connection: HTTPConnection = HTTPSConnection(host, port, timeout=WITHIN_S, context=context)
    else:
        connection = HTTPConnection(host, port, timeout=WITHIN_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().read(MOST_BYTES).decode("utf-8", "replace")
    except (OSError, HTTPException) as error:
        fail(f"the service does not answer at {url}: {error}; modu doctor looks for the reason")
    finally:
        connection.close()
