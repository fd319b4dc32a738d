"""``modu pack``: which country the service is for, as data that anyone can check."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from moduai.cli.common import (
    HomeOption,
    JsonOption,
    count,
    done,
    examples,
    fail,
    new_app,
    open_loaded,
    safe,
    table,
    to_json,
)
from moduai.cli.settings import variable
from moduai.gateway.policy_text import parse
from moduai.packs import choose, new, where
from moduai.packs.pack import KINDS, Pack, in_language
from moduai.packs.read import Examined, PackError, examine, read, told
from moduai.packs.schema import Locale
from moduai.packs.typed import worded
from moduai.settings import Loaded

app = new_app("See, check, choose and begin country packs.")

SETTING = "pack.use"
COLUMNS = {
    "id": "id",
    "name": "name",
    "country": "country",
    "languages": "languages",
    "currency": "currency",
    "as_of": "looked until",
    "items": "items",
    "claims": "claims",
    "used": "in use",
}
PackArgument = Annotated[
    str, typer.Argument(help="Id of a pack that comes with Modu, or a folder [default: the one in use].")
]


@app.command("list", epilog=examples("modu pack list", "modu pack list --json"))
def list_packs(home: HomeOption = None, json: JsonOption = False) -> None:
    """List the packs that come with Modu, and the one in use."""
    loaded = open_loaded(home)
    used = where.folder(loaded.settings.pack.use, loaded.home)
    folders = dict.fromkeys([*where.shipped().values(), used])
    table([{**_summary(_load(folder)), "used": folder == used} for folder in folders], COLUMNS, json=json)


@app.command(
    epilog=examples(
        "modu pack show", "modu pack show kr --kind source", "modu pack show ./mine --kind region --json"
    )
)
def show(
    pack: PackArgument = "",
    kind: Annotated[str, typer.Option("--kind", help=f"Its rows of one kind: {', '.join(KINDS)}.")] = "",
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Show what a pack holds, or all its rows of one kind."""
    if kind and kind not in KINDS:
        fail(f"there is no kind {safe(kind)!r}; there are {', '.join(KINDS)}", 2)
    found = _load(_folder(open_loaded(home), pack))
    if kind:
        rows: list[dict[str, Any]] = [msgspec.to_builtins(row) for row in found.rows(kind)]
        for row in () if json else rows:
            row |= {name: in_language(row[name] or {}, "en") for name in worded(KINDS[kind].type)}
        table(rows, list(KINDS[kind].type.__struct_fields__), json=json)
        return
    counts = {one: len(found.rows(one)) for one in KINDS if not KINDS[one].one}
    if json:
        typer.echo(to_json({**_summary(found), "counts": counts, "pack": found.head, "locale": found.locale}))
        return
    typer.echo(
        f"{_named(found)}, version {found.head.version}, looked until {found.head.as_of}\n{found.folder}"
    )
    typer.echo(safe(in_language(found.head.about, "en")) + "\n")
    table([{"kind": one, "rows": number} for one, number in counts.items()], ("kind", "rows"))
    typer.echo(f"\nIts rows: modu pack show {shlex.quote(pack or found.head.id)} --kind claim")


@app.command(epilog=examples("modu pack check", "modu pack check ./mine", "modu pack check ./mine --json"))
def check(pack: PackArgument = "", home: HomeOption = None, json: JsonOption = False) -> None:
    """Look for all that is wrong with a pack, each with its file and line. Status 1 if there is anything.

    A mark "# GAP:" counts: it says that something is still to be filled in.
    """
    folder = _folder(open_loaded(home), pack)
    found = examine(folder, parse) if folder.is_dir() else Examined(None, [choose.absent(folder)], [])
    answer = {"valid": not found.faults, "faults": found.faults, "notes": found.notes}
    if json:
        typer.echo(to_json(answer))
    for fault in () if json else found.faults:
        typer.echo(safe(told(fault)), err=True)
    for note in () if json else found.notes:
        typer.echo(f"note: {safe(told(note))}", err=True)
    if found.faults or found.pack is None:
        raise typer.Exit(1)
    if not json:
        typer.echo(f"{_named(found.pack)} is valid: {count(len(found.pack.claims), 'claim')}.")


@app.command(epilog=examples("modu pack use kr", "modu pack use /srv/packs/mine"))
def use(
    pack: Annotated[str, typer.Argument(help="Id of a pack that comes with Modu, or a folder.")],
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Check a pack, and say how to put it in use. Nothing is changed."""
    loaded = open_loaded(home)
    found = _load(_folder(loaded, pack))
    value = pack if pack in where.shipped() else found.folder
    file = loaded.path("modu.toml")
    lines = f"[pack]\nuse = {msgspec.json.encode(value).decode()}"
    used = where.folder(loaded.settings.pack.use, loaded.home) == Path(found.folder)
    said = f"{_named(found)} is valid. Put this into {file} and start the service again:\n\n{lines}\n\n"
    answer = {"pack": found.head.id, "setting": SETTING, "value": value, "file": file, "used": used}
    message = f"{said}Or set {variable(SETTING)}={shlex.quote(value)}."
    done(f"{_named(found)} is in use." if used else message, answer, json=json)


@app.command(
    "new", epilog=examples("modu pack new xb ./xb --country XB --language ar --language en --currency XTS")
)
def new_pack(
    name: Annotated[str, typer.Argument(help="Id of the pack, such as the country's two letters.")],
    folder: Annotated[Path, typer.Argument(help="Where to write it: a new or an empty folder.")],
    country: Annotated[str, typer.Option("--country", help="ISO 3166-1, two capital letters.")],
    language: Annotated[
        list[str], typer.Option("--language", help="Once for each, the pages' default first.")
    ],
    currency: Annotated[str, typer.Option("--currency", help="ISO 4217, three capital letters.")],
    json: JsonOption = False,
) -> None:
    """Write the skeleton of a pack for another country, with every gap marked."""
    raw = {
        "country": country,
        "languages": language,
        "currency": currency,
        "time_zone": "UTC",
        "currency_words": {},
        "name_order": "given-family",
    }
    try:
        locale = msgspec.convert(raw, Locale)
        written = new.write(folder, name, locale, datetime.now(UTC).date())
    except msgspec.ValidationError as error:
        fail(str(error), 2)
    except OSError as error:
        fail(safe(str(error)))
    gaps = sum(file.read_text("utf-8").count("# GAP:") for file in written)
    said = f"{count(len(written), 'file')} in {folder}, {count(gaps, 'gap')}"
    done(
        f"{said}: modu pack check {shlex.quote(str(folder))}",
        {"folder": folder, "files": written, "gaps": gaps},
        json=json,
    )


def open_pack(loaded: Loaded, pack: str = "") -> Pack:
    """The pack that is named or in use; one with faults ends the command."""
    return _load(_folder(loaded, pack))


def _folder(loaded: Loaded, pack: str) -> Path:
    """Of the pack that is named, by the folder that one is in; else of the one in use."""
    if pack:
        return where.folder(pack, Path.cwd()).resolve()
    return where.folder(loaded.settings.pack.use, loaded.home)


def _load(folder: Path) -> Pack:
    try:
        if not folder.is_dir():
            raise PackError([choose.absent(folder)])
        return read(folder, parse)
    except PackError as error:
        many = count(len(error.faults), "fault")
        fail(safe(f"the pack cannot be used: {many}, first {told(error.faults[0])}; see `modu pack check`"))


def _named(pack: Pack) -> str:
    return safe(f"{in_language(pack.head.name, 'en')} ({pack.head.id})")


def _summary(pack: Pack) -> dict[str, Any]:
    return {
        "id": pack.head.id,
        "name": in_language(pack.head.name, "en"),
        "country": pack.locale.country,
        "languages": list(pack.languages),
        "currency": pack.locale.currency,
        "version": pack.head.version,
        "as_of": str(pack.head.as_of),
        "items": len(pack.items),
        "claims": len(pack.claims),
        "folder": pack.folder,
    }
