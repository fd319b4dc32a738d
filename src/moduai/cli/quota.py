"""``modu quota``: how many tokens an organisation, a key or a person may use in a day or a month."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from msgspec.structs import asdict

from moduai.accounts.organisations import AccountError, names
from moduai.accounts.quotas import Each, Limit, Quota, clear_quota, find_owner, list_quotas, set_quota
from moduai.cli.common import HomeOption, JsonOption, done, examples, new_app, open_loaded, table
from moduai.cli.data import read, utc, write
from moduai.gateway import policy_file
from moduai.gateway.quota_look import Look, look
from moduai.store.database import Connection

app = new_app("Limit the tokens of organisations, keys and people for a day or a month.")

COLUMNS = {
    "owner": "of",
    "name": "name",
    "tokens": "tokens",
    "each": "each",
    "set_by": "set by",
    "since": "since (UTC)",
}
LOOKED = {
    "owner": "of",
    "tokens": "tokens",
    "each": "each",
    "from": "from",
    "used": "used",
    "held": "held",
    "left": "left",
    "renews": "begins anew (UTC)",
}
OwnerArgument = Annotated[
    str,
    typer.Argument(
        help="An organisation (id or name), a key (id or how it begins) or a person (id).", show_default=False
    ),
]


@app.command("list", epilog=examples("modu quota list", "modu quota list --json"))
def list_all(home: HomeOption = None, json: JsonOption = False) -> None:
    """Show all limits: those of classes, for each person, and those that were set."""
    loaded = open_loaded(home)

    async def found(connection: Connection) -> list[dict[str, object]]:
        quotas = await list_quotas(connection)
        named = await names(connection, [one.owner for one in quotas])
        return [_row(one, named.get(one.owner, "")) for one in quotas]

    classes = policy_file.read(loaded).policy.classes.values()
    rows = [
        {
            "owner": f"class {rule.name}",
            "name": "each person",
            "tokens": rule.quota,
            "each": "day",
            "set_by": "policy",
        }
        for rule in classes
        if rule.quota
    ]
    table([*rows, *read(loaded, found)], COLUMNS, json=json, empty="No limits: modu quota set OWNER TOKENS.")


@app.command(
    epilog=examples("modu quota show harbour", "modu quota show sub_1f2e3d4c5b6a798800112233 --json")
)
def show(owner: OwnerArgument, home: HomeOption = None, json: JsonOption = False) -> None:
    """Show one limit, what was used of it, and when it begins anew."""
    loaded = open_loaded(home)

    async def found(connection: Connection) -> Look | None:
        return await look(connection, loaded, await find_owner(connection, owner), time.time())

    one = read(loaded, found, AccountError)
    table([_looked(one)] if one else [], LOOKED, json=json, empty="No limit, and nothing is counted.")


@app.command(
    "set",
    epilog=examples(
        "modu quota set key_1f2e3d4c5b6a7988 200000",
        'modu quota set "City Library" 50000000 --each month',
        "modu quota set sub_1f2e3d4c5b6a798800112233 1000000",
    ),
)
def set_one(
    owner: OwnerArgument,
    tokens: Annotated[int, typer.Argument(help="Tokens, read and written.", min=1, show_default=False)],
    each: Annotated[Each, typer.Option(help="Of each day or month.")] = "day",
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Set a limit, in place of the one before. What was used of the day or month counts."""

    async def put(connection: Connection) -> Quota:
        return await set_quota(connection, owner, Limit(tokens, each), "cli")

    made = write(open_loaded(home), put, AccountError)
    done(f"{made.owner} may use {made.tokens:,} tokens each {made.each}.", _row(made, ""), json=json)


@app.command(epilog=examples("modu quota clear key_1f2e3d4c5b6a7988"))
def clear(owner: OwnerArgument, home: HomeOption = None, json: JsonOption = False) -> None:
    """Take a limit away; then that of the class counts, if there is one."""
    loaded = open_loaded(home)
    gone = write(loaded, lambda connection: clear_quota(connection, owner, "cli"), AccountError)
    done("The limit is gone." if gone else "There was no limit.", {"cleared": gone}, json=json)


def _row(quota: Quota, name: str) -> dict[str, object]:
    return {**asdict(quota), "name": name, "since": utc(quota.set_at)}


def _looked(one: Look) -> dict[str, object]:
    where = f"class {one.class_name}" if one.class_name else "set"
    return {**asdict(one), "from": where, "renews": utc(one.renews_at)}
