"""``modu look``: reading one person's text as staff, with a reason that the person is shown."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Annotated, TypeVar

import msgspec
import typer

from moduai.accounts.looks import (
    MOST_HOURS,
    Leave,
    Looked,
    LookError,
    end_leave,
    list_leave,
    looks_at,
    take_leave,
)
from moduai.cli.common import (
    HomeOption,
    JsonOption,
    done,
    examples,
    fail,
    new_app,
    open_loaded,
    run,
    safe,
    table,
)
from moduai.cli.data import read, subject_keys, utc, write
from moduai.history.record import Conversation, Turn
from moduai.history.staff import list_of, read_of
from moduai.settings import Loaded
from moduai.store import migrate
from moduai.store.database import Database, brief
from moduai.store.keyring import KeyringError
from moduai.store.subjects import SubjectKeys

app = new_app("Read one person's text as staff: with a reason, for a time, and the person is told.")

T = TypeVar("T")
STAFF = "cli"
"""Who may use this command line reads as "cli"; others use the console, under their own name."""

PersonArgument = Annotated[
    str, typer.Argument(metavar="PERSON", help="The person's id, as in modu person list.")
]
LEAVE = {
    "id": "id",
    "staff": "staff",
    "person": "person",
    "reason": "reason",
    "taken": "taken (UTC)",
    "ends": "ends (UTC)",
    "used": "last read (UTC)",
}
LOOKED = {
    "role": "role",
    "organisation": "organisation",
    "reason": "reason",
    "taken": "taken (UTC)",
    "ends": "ends (UTC)",
    "used": "last read (UTC)",
}
CONVERSATIONS = {"id": "id", "title": "title", "updated": "last turn (UTC)"}


@app.command(
    epilog=examples('modu look take sub_1f2e3d4c5b6a798800112233 --reason "asked us to find a lost answer"')
)
def take(
    person: PersonArgument,
    reason: Annotated[str, typer.Option(help="Why, in 10 to 500 characters: the person will read it.")],
    hours: Annotated[float, typer.Option(help=f"How long, at most {MOST_HOURS}.")] = 1.0,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Take leave to read a person's text until it ends."""
    made = write(
        open_loaded(home),
        lambda connection: take_leave(connection, STAFF, person, reason, hours),
        LookError,
    )
    done(f"You may read the text of {person} until {utc(made.expires_at)} UTC.", _leave(made), json=json)


@app.command("list", epilog=examples("modu look list", "modu look list --json"))
def list_all(home: HomeOption = None, json: JsonOption = False) -> None:
    """Show all leave that was taken, newest first."""
    table(map(_leave, read(open_loaded(home), list_leave)), LEAVE, json=json, empty="Nobody took leave yet.")


@app.command(epilog=examples("modu look show sub_1f2e3d4c5b6a798800112233"))
def show(person: PersonArgument, home: HomeOption = None, json: JsonOption = False) -> None:
    """Show who took leave for a person, as that person sees it."""
    found = read(open_loaded(home), lambda connection: looks_at(connection, person))
    rows = [{**msgspec.structs.asdict(one), **_times(one)} for one in found]
    table(rows, LOOKED, json=json, empty="Nobody took leave to read this person's text.")


@app.command(epilog=examples("modu look end sub_1f2e3d4c5b6a798800112233"))
def end(person: PersonArgument, home: HomeOption = None, json: JsonOption = False) -> None:
    """End your leave before its time."""
    ended = write(open_loaded(home), lambda connection: end_leave(connection, STAFF, person))
    done(f"The leave for {person} has ended." if ended else "There was none.", {"ended": ended}, json=json)


@app.command(
    "read",
    epilog=examples(
        "modu look read sub_1f2e3d4c5b6a798800112233",
        "modu look read sub_1f2e3d4c5b6a798800112233 cnv_0a1b2c --json",
    ),
)
def read_text(
    person: PersonArgument,
    conversation: Annotated[str, typer.Argument(help="Id of one conversation [default: list them].")] = "",
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most so many conversations.")] = 50,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Read a person's text, under leave that you took. Each reading stands in the audit log."""
    loaded = open_loaded(home)
    if not conversation:
        found = _reading(loaded, lambda db, subjects: list_of(db, subjects, STAFF, person, limit))
        table([_title(one) for one in found], CONVERSATIONS, json=json, empty="No conversations are kept.")
        return
    one = _reading(loaded, lambda db, subjects: read_of(db, subjects, STAFF, person, conversation))
    done("\n\n".join([safe(_title_of(one)), *map(_turn, one.turns)]), one, json=json)


def _reading(loaded: Loaded, work: Callable[[Database, SubjectKeys], Awaitable[T]]) -> T:
    """``looks.read`` makes its own transactions: the entry is committed before any text is read."""

    async def go() -> T:
        db = Database(loaded.database_url)
        try:
            await migrate.check(db)
            return await work(db, subjects)
        except (LookError, KeyringError, migrate.SchemaError) as error:
            fail(str(error))
        except db.errors as error:
            fail(f"the database {db.shown()} does not answer: {brief(error)}")
        finally:
            await db.dispose()

    with closing(subject_keys(loaded)) as subjects:
        return run(go())


def _turn(turn: Turn) -> str:
    head = f"{utc(turn.at // 1_000_000)} UTC, {turn.model}, {turn.outcome}"
    if turn.lost:
        return f"[{head}]\nIt cannot be read: its key is lost."
    return f"[{head}]\n> {safe(turn.question)}\n\n{safe(turn.answer)}"


def _title_of(conversation: Conversation) -> str:
    return "(its key is lost)" if conversation.lost else conversation.title


def _title(conversation: Conversation) -> dict[str, object]:
    return {
        "id": conversation.id,
        "title": safe(_title_of(conversation)),
        "created_at": conversation.created_at,
        "updated_at": conversation.updated_at,
        "updated": utc(conversation.updated_at),
    }


def _leave(leave: Leave) -> dict[str, object]:
    return {**msgspec.structs.asdict(leave), **_times(leave)}


def _times(one: Leave | Looked) -> dict[str, str]:
    return {"taken": utc(one.created_at), "ends": utc(one.expires_at), "used": utc(one.used_at)}
