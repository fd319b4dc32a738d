"""``modu shares``: how the running service is shared between classes and organisations."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import typer

from moduai.accounts.organisations import names
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
)
from moduai.cli.data import read
from moduai.cli.now import get, running_at
from moduai.gateway.shares import Forecast, ModelShares, Part, Shares, named, organisations
from moduai.store.database import Connection

ABOUT = """Show who runs and waits now, and how much each class and organisation was served.

The figures are those of the worker that answers. "% served" counts from when somebody had to wait: while
there is room for everyone nobody owes anybody. "ahead s" is by how many accelerator-seconds at weight 1 a
class that waits was served more than whoever is next. Organisations of fewer than five people who run or
wait now are a number, and so are guests' networks.
"""
app = new_app(ABOUT, group=False)

COLUMNS = {
    "name": "",
    "weight": "weight",
    "guarantee": "guarantee %",
    "cap": "cap %",
    "running": "running",
    "waiting": "waiting",
    "part": "% served",
    "ahead": "ahead s",
    "at_cap": "at cap",
}
FORECASTS = {
    "model": "model",
    "kind": "people",
    "error": "median error %",
    "cover": "% in the interval",
    "seen": "waits",
}


@app.callback(invoke_without_command=True, epilog=examples("modu shares", "modu shares --json"))
def show(home: HomeOption = None, json: JsonOption = False) -> None:
    """What the worker that answers knows, with the names of organisations."""
    loaded = open_loaded(home)
    text = get(running_at(loaded), "/metrics/shares")
    try:
        found = msgspec.json.decode(text, type=Shares)
    except msgspec.DecodeError:
        fail("the service answers, but not as Modu does: modu doctor")
    wanted = organisations(found)

    async def look(connection: Connection) -> Shares:
        return named(found, await names(connection, wanted))

    found = read(loaded, look) if wanted else found
    if json:
        typer.echo(to_json(found))
    else:
        _print(found)


def _print(found: Shares) -> None:
    policy = found.policy
    typer.echo(f"{safe(policy.name)} ({policy.source}, {policy.digest}): modu policy show")
    for problem in policy.problems:
        typer.echo(f"modu: the policy file cannot be used: {safe(problem)}", err=True)
    for model in found.models:
        typer.echo(
            f"\n{model.id}: {model.running:,} of {model.places:,} places run, {model.waiting:,} wait\n"
        )
        table(_rows(model), COLUMNS)
    if not found.models:
        typer.echo("\nNo model yet: modu engine add URL")
    if found.steps:
        steps = ", ".join(f"{number:,} {step}" for step, number in sorted(found.steps.items()))
        typer.echo(f"\nRequests since the worker began: {steps}")
    forecasts = [_forecast(model, one) for model in found.models for one in model.forecasts]
    typer.echo("\nWaits as they were foretold; 80 % should be in the interval:\n")
    table(forecasts, FORECASTS, empty="Nobody has waited for a second yet.")


def _forecast(model: ModelShares, one: Forecast) -> dict[str, object]:
    return {"model": model.id, **msgspec.structs.asdict(one)}


def _rows(model: ModelShares) -> Iterator[dict[str, object]]:
    for each in model.classes:
        yield _row(each, each.id)
        for one in each.organisations:
            yield _row(one, f"  {safe(one.name or one.id or '(no organisation)')}")
        if each.networks:
            yield {"name": f"  {count(each.networks, 'network')} of guests"}
        if each.kept_back:
            yield {"name": f"  {count(each.kept_back, 'organisation')} of few people"}


def _row(part: Part, name: str) -> dict[str, object]:
    return {
        **msgspec.structs.asdict(part),
        "name": name,
        "ahead": part.ahead_s,
        "at_cap": part.at_cap or None,
    }
