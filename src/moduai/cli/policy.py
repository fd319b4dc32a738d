"""``modu policy``: how the service is shared while more is wanted than there is."""

from __future__ import annotations

import fileinput
import shlex
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from moduai.cli.common import (
    HomeOption,
    JsonOption,
    confirm,
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
from moduai.cli.data import read as read_database
from moduai.cli.data import write
from moduai.gateway import policy_change as change
from moduai.gateway import policy_file as files
from moduai.gateway.decision_log import segments
from moduai.gateway.policy_change import Effect, Known
from moduai.gateway.policy_file import InForce
from moduai.gateway.policy_text import PolicyError, told
from moduai.packs.pack import in_language
from moduai.scheduling import journal
from moduai.settings import Loaded
from moduai.store.database import Connection

app = new_app("See and change how the service is shared.")

COLUMNS = {
    "name": "class",
    "title": "title",
    "weight": "weight",
    "part": "% when full",
    "guarantee": "guarantee %",
    "cap": "cap %",
    "person_cap": "person cap %",
    "people": "people",
    "keys": "keys",
}
SOURCES = {
    "shipped": "the one that comes with Modu",
    "pack": "the country pack's",
    "file": files.FILE,
    "last good": f"the last good one, for {files.FILE} has problems",
}
WITHOUT_FILE = ("shipped", "pack")
FileArgument = Annotated[
    Path | None, typer.Argument(help=f"A policy file [default: {files.FILE} in the home folder].")
]
DefaultOption = Annotated[
    bool,
    typer.Option("--default", help="The one that counts without a file: the country pack's, else Modu's."),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@app.command(
    epilog=examples("modu policy show", "modu policy show --text > mine.toml", "modu policy show mine.toml")
)
def show(
    file: Annotated[Path | None, typer.Argument(help="A policy file [default: what is in force].")] = None,
    default: DefaultOption = False,
    text: Annotated[bool, typer.Option("--text", help="As the file has it, to change a copy.")] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Show the classes of the policy in force, or of another one, and whom they have."""
    loaded = open_loaded(home)
    found = _wanted(loaded, file, default=default) if file or default else files.read(loaded)
    _tell_problems(found)
    if text:
        typer.echo(found.text, nl=not found.text.endswith("\n"))
        return
    classes = change.shown(found.policy, _known(loaded).crowds)
    if json:
        problems = [told(problem) for problem in found.problems]
        answer = {"digest": found.digest, "source": found.source, "problems": problems, "classes": classes}
        typer.echo(to_json({**answer, "policy": found.policy}))
        return
    rows = [{**msgspec.structs.asdict(one), "title": in_language(one.title, "en")} for one in classes]
    table(rows, COLUMNS)
    where = str(file) if file else SOURCES[found.source]
    which = f"{shlex.quote(str(file))} " if file else "--default " if default else ""
    typer.echo(
        f"\n{found.policy.name} ({where}, {found.digest}). Everything it says: modu policy show {which}--text"
    )


@app.command(epilog=examples("modu policy check mine.toml", "modu policy check && echo fine"))
def check(file: FileArgument = None, home: HomeOption = None, json: JsonOption = False) -> None:
    """Look for what is wrong with a policy file, each with its line. Status 1 if there is anything."""
    loaded = open_loaded(home)
    try:
        found = _load(loaded, file)
    except PolicyError as error:
        if json:
            typer.echo(to_json({"valid": False, "problems": error.problems, "remarks": []}))
        else:
            typer.echo("\n".join(safe(told(problem)) for problem in error.problems), err=True)
        raise typer.Exit(1) from None
    remarks = change.remarks(found.policy, loaded, _known(loaded).names)
    for remark in () if json else remarks:
        typer.echo(f"remark: {safe(remark)}", err=True)
    said = f"{_place(loaded, file)} is valid: {len(found.policy.classes)} classes."
    if found.source in WITHOUT_FILE:
        said = f"{_no_file(found)}. It is valid: {len(found.policy.classes)} classes."
    done(said, {"valid": True, "problems": [], "remarks": remarks}, json=json)


@app.command("diff", epilog=examples("modu policy diff mine.toml", "modu policy diff --default --json"))
def differ(
    file: FileArgument = None,
    default: DefaultOption = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Say what a policy file would change, and for how many. Nothing is changed."""
    loaded = open_loaded(home)
    found, effects = _compare(loaded, _wanted(loaded, file, default=default))
    nothing = "It would change nothing."
    if found.source in WITHOUT_FILE and not default:
        nothing = f"{_no_file(found)}, and there is nothing to compare: name a file."
    done(_words(effects) or nothing, {"digest": found.digest, "effects": effects}, json=json)


@app.command(epilog=examples("modu policy apply mine.toml", "modu policy apply --default --yes"))
def apply(
    file: Annotated[Path | None, typer.Argument(help="A policy file.", show_default=False)] = None,
    default: DefaultOption = False,
    yes: YesOption = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Put a policy in force, after saying what it changes and asking. Workers take it within a second."""
    if bool(file) == default:
        fail("name a policy file, or say --default for the one that counts without a file", 2)
    loaded = open_loaded(home)
    _put(loaded, _wanted(loaded, file, default=default), "policy.apply", yes=yes, json=json)


@app.command(epilog=examples("modu policy undo", "modu policy undo --yes"))
def undo(yes: YesOption = False, home: HomeOption = None, json: JsonOption = False) -> None:
    """Put the policy before this one in force again; where the file has problems, the one that counts now.

    A second undo takes the first one back.
    """
    loaded = open_loaded(home)
    try:
        found = files.previous(loaded)
    except PolicyError as error:
        fail(str(error))
    _put(loaded, found, "policy.undo", yes=yes, json=json)


@app.command(epilog=examples("modu policy replay decisions/0f3c-worker-1a2b3c4d-000000.decisions.jsonl"))
def replay(
    file: Annotated[Path, typer.Argument(help="A file of a decision log (setting line.journal).")],
    json: JsonOption = False,
) -> None:
    """Decide again all that a decision log tells, and compare. Status 1 if a decision differs.

    The segments of the same log that lie beside the file are read in order.
    """
    found = segments(file)
    try:
        with fileinput.input(found, mode="rb") as lines:
            came = journal.replay(lines)
    except (OSError, journal.LogError) as error:
        fail(f"{safe(file.name)}: {safe(str(error))}")
    what = f"{count(came.calls, 'decision')}, recorded {came.recorded}, replayed {came.replayed}"
    answer = {**msgspec.structs.asdict(came), "agrees": came.agrees, "segments": len(found)}
    if came.agrees:
        done(f"All agree: {what}", answer, json=json)
        return
    if json:
        typer.echo(to_json(answer))
        raise typer.Exit(1)
    fail(f"they differ after the first {came.differs:,}: {what}" if came.recorded else "it holds no hash")


def _put(loaded: Loaded, new: InForce, action: str, *, yes: bool, json: bool) -> None:
    before = files.read(loaded)
    _, effects = _compare(loaded, new)
    answer = {"digest": new.digest, "before": before.digest, "effects": effects}
    if new.text == before.text and not before.problems:
        done("This policy is in force already.", answer, json=json)
        return
    if not json:
        typer.echo(_words(effects) or "It changes nothing but the text.")
    if not yes:
        confirm("Put this policy in force?", "nothing was changed; --yes does it without asking", final=False)

    async def note(connection: Connection) -> None:
        await change.record(connection, "cli", action, before, new)

    try:
        with files.replaced(loaded, new.text):
            write(loaded, note)
    except OSError as error:
        fail(f"the policy cannot be written: {error}")
    done("In force: workers take it within a second. To take it back: modu policy undo", answer, json=json)


def _compare(loaded: Loaded, new: InForce) -> tuple[InForce, list[Effect]]:
    """The new policy, and what it changes of the one in force."""
    found = _known(loaded)
    for remark in change.remarks(new.policy, loaded, found.names):
        typer.echo(f"modu: {safe(remark)}", err=True)
    return new, change.effects(files.read(loaded).policy, new.policy, loaded, found)


def _known(loaded: Loaded) -> Known:
    """Whom the database knows; nobody, before there is one."""
    url = loaded.settings.database.url
    if not url and not loaded.path("modu.db").exists():
        return Known()
    return read_database(loaded, change.known)


def _wanted(loaded: Loaded, file: Path | None, *, default: bool) -> InForce:
    try:
        return files.without_file(loaded) if default else _load(loaded, file)
    except PolicyError as error:
        fail(safe(f"{'the default' if default else _place(loaded, file)} has problems:\n{error}"))


def _load(loaded: Loaded, file: Path | None) -> InForce:
    """A policy file; where none is named or in the home folder, the one that counts without. Raises
    PolicyError.
    """
    place = _place(loaded, file)
    found = files.load(place)
    if found is None and file:
        fail(f"there is no file {place}")
    return found or files.without_file(loaded)


def _no_file(found: InForce) -> str:
    return f"There is no {files.FILE}: {SOURCES[found.source]} is in force"


def _place(loaded: Loaded, file: Path | None) -> Path:
    return file or loaded.path(files.FILE)


def _tell_problems(found: InForce) -> None:
    for problem in found.problems:
        typer.echo(f"modu: {files.FILE} cannot be used: {safe(told(problem))}", err=True)


def _words(effects: list[Effect]) -> str:
    """A paragraph for each effect."""
    return "\n\n".join(
        "\n".join([f"{safe(one.who)}: {_many(one)}", *(f"  {safe(what)}" for what in one.what)])
        for one in effects
    )


def _many(effect: Effect) -> str:
    persons = "1 person" if effect.people == 1 else f"{effect.people:,} people"
    return f"{persons}, {count(effect.keys, 'key')}, {count(effect.organisations, 'organisation')}"
