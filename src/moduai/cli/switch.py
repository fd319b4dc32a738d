"""``modu switch``: the banner on the pages, and the stop of a model or of the whole service."""

from __future__ import annotations

import time
from typing import Annotated, Literal

import msgspec
import typer
from sqlalchemy import select

from moduai.cli.common import HomeOption, JsonOption, done, examples, fail, new_app, open_loaded, table
from moduai.cli.data import duration, moment, read, utc, write
from moduai.engines.tables import engines
from moduai.gateway.switches import (
    MODEL,
    Banner,
    Stop,
    Switch,
    SwitchError,
    clear_switch,
    list_switches,
    set_switch,
)
from moduai.settings import Loaded
from moduai.store.database import Connection

app = new_app("Set the banner on the pages; stop and start a model or the whole service.")

COLUMNS = {
    "name": "switch",
    "text": "words",
    "level": "level",
    "until": "until (UTC)",
    "by": "set by",
    "since": "since (UTC)",
}
WordsOption = Annotated[
    list[str] | None,
    typer.Option("--words", help="What people are told: LANGUAGE=TEXT, once for each language of the pages."),
]
ModelArgument = Annotated[str, typer.Argument(help="Name of the model.", show_default=False)]
ServiceOption = Annotated[bool, typer.Option("--service", help="The whole service.")]


@app.command(epilog=examples("modu switch show", "modu switch show --json"))
def show(home: HomeOption = None, json: JsonOption = False) -> None:
    """Show what is set."""
    found = read(open_loaded(home), list_switches)
    table(map(_row, found), COLUMNS, json=json, empty="Nothing is set: no banner, nothing is stopped.")


@app.command(
    epilog=examples(
        'modu switch banner --words en="Maintenance tonight at 10" --until 6h',
        'modu switch banner --words en="Answers about the election are wrong" --level warning',
        "modu switch banner --clear",
    )
)
def banner(
    words: WordsOption = None,
    level: Annotated[Literal["info", "warning"], typer.Option(help="How it looks.")] = "info",
    until: Annotated[str, typer.Option(help="How long it shows (6h) or until when (2026-12-01).")] = "",
    clear: Annotated[bool, typer.Option("--clear", help="Show none.")] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Show a line above every page, or none."""
    loaded = open_loaded(home)
    if clear:
        _clear(loaded, "banner", "The banner is gone.", "There was no banner.", json=json)
    else:
        value = Banner(words=_words(words), level=level, until=_end(until))
        done("The banner shows now.", _row(_set(loaded, "banner", value)), json=json)


@app.command(
    epilog=examples(
        'modu switch stop gemma-3-270m --words en="This model is being looked at"',
        "modu switch stop --service",
    )
)
def stop(
    model: ModelArgument = "",
    service: ServiceOption = False,
    words: WordsOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Refuse requests for a model or all, also those in line. Those that run end as they would."""
    loaded = open_loaded(home)
    name = _name(model, service=service)
    made = _set(loaded, name, Stop(words=_words(words)))
    if model and model not in read(loaded, _models):
        typer.echo(f"modu: no engine has a model {model!r} now: see modu engine list", err=True)
    again = "--service" if service else model
    done(f"{_thing(name)} is stopped. To start it again: modu switch start {again}", _row(made), json=json)


@app.command(epilog=examples("modu switch start gemma-3-270m", "modu switch start --service"))
def start(
    model: ModelArgument = "",
    service: ServiceOption = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Take requests again."""
    name = _name(model, service=service)
    thing = _thing(name)
    _clear(open_loaded(home), name, f"{thing} takes requests again.", f"{thing} was not stopped.", json=json)


async def _models(connection: Connection) -> set[str]:
    """Names of the models that engines have."""
    rows = await connection.execute(select(engines.c.models).where(engines.c.state != "removed"))
    return {model["name"] for (models,) in rows for model in models}


def _set(loaded: Loaded, name: str, value: Banner | Stop) -> Switch:
    return write(loaded, lambda connection: set_switch(connection, name, value, "cli"), SwitchError)


def _clear(loaded: Loaded, name: str, gone: str, was_not: str, *, json: bool) -> None:
    cleared = write(loaded, lambda connection: clear_switch(connection, name, "cli"), SwitchError)
    done(gone if cleared else was_not, {"name": name, "cleared": cleared}, json=json)


def _name(model: str, *, service: bool) -> str:
    if service == bool(model):
        fail("name a model, or say --service for all of them", 2)
    return "service" if service else MODEL + model


def _thing(name: str) -> str:
    return "The service" if name == "service" else name.removeprefix(MODEL)


def _words(given: list[str] | None) -> dict[str, str]:
    pairs = [one.partition("=") for one in given or ()]
    if not all(language and equals for language, equals, _ in pairs):
        fail('write --words LANGUAGE=TEXT, such as --words en="Back at nine"', 2)
    return {language: text for language, _, text in pairs}


def _end(text: str) -> int:
    """Unix seconds of "6h" from now or of a date; 0 for nothing."""
    if not text:
        return 0
    return int(time.time()) + duration(text) if text[-1:] in "smhdw" and text[:-1].isdigit() else moment(text)


def _row(switch: Switch) -> dict[str, object]:
    value = msgspec.structs.asdict(switch.value)
    until = value.pop("until", 0)
    return {
        "name": switch.name,
        **value,
        "text": " / ".join(switch.value.words.values()),
        "until": utc(until),
        "until_s": until,
        "by": switch.set_by,
        "set_at": switch.set_at,
        "since": utc(switch.set_at),
    }
