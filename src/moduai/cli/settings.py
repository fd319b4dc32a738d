"""``modu settings``: every setting, its value, where the value came from and what it means."""

from __future__ import annotations

import msgspec
import typer

from moduai.cli.common import HomeOption, JsonOption, examples, fail, new_app, open_loaded, table, to_json
from moduai.settings import Setting

app = new_app("Show every setting, its value and where it came from.", group=False)

EXAMPLES = examples(
    "modu settings                              all of them",
    "modu settings show gateway.port            one of them, in full",
    "MODU_GATEWAY__PORT=9000 modu settings      a variable sets one for one run",
)


@app.callback(invoke_without_command=True, epilog=EXAMPLES)
def list_settings(context: typer.Context, home: HomeOption = None, json: JsonOption = False) -> None:
    """Show every setting, its value and where it came from.

    Set them in modu.toml in the home folder, or by a variable: MODU_GATEWAY__PORT is gateway.port.
    """
    if context.invoked_subcommand is None:
        rows = [_row(setting) for setting in open_loaded(home).rows()]
        if not json:
            rows = [{**row, "value": _written(row["value"])} for row in rows]
        table(rows, ("name", "value", "origin", "description"), json=json)


@app.command(epilog=examples("modu settings show gateway.port", "modu settings show line.hold_s --json"))
def show(name: str, home: HomeOption = None, json: JsonOption = False) -> None:
    """Show one setting in full."""
    loaded = open_loaded(home)
    for setting in loaded.rows():
        if setting.name == name:
            typer.echo(to_json(_row(setting)) if json else _described(setting))
            return
    fail(f"there is no setting {name}; `modu settings` lists them", 2)


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return "MODU_" + name.upper().replace(".", "__")


def _row(setting: Setting) -> dict[str, object]:
    return {**setting._asdict(), "variable": variable(setting.name)}


def _written(value: object) -> str:
    """The value as the file would have it, without quotes."""
    match value:
        case bool():
            return str(value).lower()
        case tuple():
            return ",".join(value)
        case dict():
            return msgspec.json.encode(value).decode()
        case _:
            return str(value)


def _described(setting: Setting) -> str:
    return (
        f"{setting.name} = {_written(setting.value)}\n{setting.description}\n"
        f"from {setting.origin}; set it by {variable(setting.name)} or in modu.toml"
    )
