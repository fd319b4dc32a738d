"""``modu strategy propose|proposals|accept|reject``: changes of the plan, by officers.

On the machine's command line the officer is "cli": what it proposes an officer with an account decides, and
the other way round.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from moduai.accounts import audit
from moduai.cli.common import HomeOption, JsonOption, done, examples, new_app, open_loaded, safe, table
from moduai.cli.data import read, utc, write
from moduai.cli.pack import open_pack
from moduai.packs.pack import Pack
from moduai.packs.schema import Status
from moduai.proposals import repository
from moduai.proposals.repository import Proposal, State
from moduai.proposals.rows import Given, ProposalError
from moduai.settings import Loaded
from moduai.store.database import Connection

app = new_app("")

ACTOR = "cli"
COLUMNS = {
    "id": "proposal",
    "what": "what",
    "state": "state",
    "made_by": "proposed by",
    "made": "on (UTC)",
    "decided_by": "decided by",
    "note": "note",
}
ProposalArgument = Annotated[str, typer.Argument(help="Id of a proposal: `modu strategy proposals`.")]
NoteOption = Annotated[str, typer.Option("--note", help="Why.")]


@app.command(
    epilog=examples(
        "modu strategy propose --claim CLAIM --status done --day 2026-11-20 --source SOURCE",
        "modu strategy propose --item ITEM --owner OFFICE --day 2026-11-20 --source SOURCE",
        'modu strategy propose --item ITEM --who ACTOR --what "…" --what "…" --day 2026-11-20 '
        '--source-title "…" --source-title "…" --publisher NAME --url https://example.org/1',
    )
)
def propose(
    day: Annotated[str, typer.Option("--day", help="When it was said, or became so: 2026-11-20.")],
    *,
    claim: Annotated[str, typer.Option("--claim", help="A claim whose status changed.")] = "",
    status: Annotated[Status, typer.Option("--status", help="How far it is.")] = "announced",
    item: Annotated[str, typer.Option("--item", help="Instead: an item, for what follows.")] = "",
    owner: Annotated[
        str, typer.Option("--owner", help="Who came to be in charge of it; -: nobody any more.")
    ] = "",
    measure: Annotated[
        list[str] | None, typer.Option("--measure", help="What it is measured by since, in each language.")
    ] = None,
    needs: Annotated[
        list[str] | None, typer.Option("--needs", help="An item that it waits for since; all of them.")
    ] = None,
    who: Annotated[str, typer.Option("--who", help="Id of who said it.")] = "",
    what: Annotated[
        list[str] | None, typer.Option("--what", help="What was said, once for each language of the pack.")
    ] = None,
    number: Annotated[float | None, typer.Option("--number", help="The number in it.")] = None,
    unit: Annotated[str, typer.Option("--unit", help="Id of the number's unit.")] = "",
    until: Annotated[str, typer.Option("--until", help="By when.")] = "",
    replaces: Annotated[str, typer.Option("--replaces", help="A claim whose place it takes.")] = "",
    source: Annotated[str, typer.Option("--source", help="Id of a source of the pack.")] = "",
    source_title: Annotated[
        list[str] | None, typer.Option("--source-title", help="Instead: a new one, in each language.")
    ] = None,
    publisher: Annotated[str, typer.Option("--publisher", help="Of the new source.")] = "",
    url: Annotated[str, typer.Option("--url", help="Of the new source.")] = "",
    reason: Annotated[str, typer.Option("--reason", help="For whoever decides.")] = "",
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Propose a claim, a change of status or who is in charge, with its source. An officer decides."""
    loaded = open_loaded(home)
    pack = open_pack(loaded, "")
    given = Given(
        claim=claim,
        status=status,
        day=day,
        item=item,
        owner=owner,
        measure=tuple(measure or ()),
        needs=tuple(needs or ()),
        who=who,
        what=tuple(what or ()),
        number=number,
        unit=unit,
        until=until,
        replaces=replaces,
        source=source,
        source_title=tuple(source_title or ()),
        source_publisher=publisher,
        source_url=url,
    )

    made = _propose(loaded, pack, given, reason)
    done(f"Proposed as {made.id}. An officer decides: it is in the console.", _row(made), json=json)


def _propose(loaded: Loaded, pack: Pack, given: Given, reason: str) -> Proposal:
    async def work(connection: Connection) -> Proposal:
        made = await repository.propose(connection, pack, given, by=ACTOR, reason=reason)
        await audit.record(
            connection,
            actor=ACTOR,
            action="plan.propose",
            target=made.id,
            detail={"kind": ",".join(made.rows)},
        )
        return made

    return write(loaded, work, ProposalError)


@app.command(epilog=examples("modu strategy proposals", "modu strategy proposals --state accepted --json"))
def proposals(
    state: Annotated[State | None, typer.Option("--state", help="Only these.")] = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """List proposals to change the plan, the newest first."""
    found = read(open_loaded(home), lambda connection: repository.list_proposals(connection, state or ""))
    table(map(_row, found), COLUMNS, json=json, empty="Nothing is proposed.")


@app.command(epilog=examples("modu strategy accept PROPOSAL"))
def accept(
    proposal: ProposalArgument, note: NoteOption = "", home: HomeOption = None, json: JsonOption = False
) -> None:
    """Accept what an officer proposed: from then on the plan has it."""
    _decide(proposal, "accepted", note, home, json=json)


@app.command(epilog=examples('modu strategy reject PROPOSAL --note "no source for the number"'))
def reject(
    proposal: ProposalArgument, note: NoteOption = "", home: HomeOption = None, json: JsonOption = False
) -> None:
    """Reject what an officer proposed."""
    _decide(proposal, "rejected", note, home, json=json)


def present(loaded: Loaded, pack: Pack) -> Pack:
    """The pack in use with what was accepted; alone where there is no database yet."""
    if not loaded.settings.database.url and not loaded.path("modu.db").exists():
        return pack
    found = read(loaded, lambda connection: repository.accepted(connection, pack))
    return repository.lay(pack, found).pack


def _decide(
    proposal: str, state: Literal["accepted", "rejected"], note: str, home: Any, *, json: bool
) -> None:
    loaded = open_loaded(home)
    pack: Pack = open_pack(loaded, "")

    async def work(connection: Connection) -> Proposal:
        made = await repository.decide(connection, pack, proposal, by=ACTOR, state=state, note=note)
        await audit.record(
            connection,
            actor=ACTOR,
            action="plan.accept" if state == "accepted" else "plan.reject",
            target=made.id,
            detail={"proposed_by": made.made_by},
        )
        return made

    decided = write(loaded, work, ProposalError)
    done(f"{decided.id} is {state}.", _row(decided), json=json)


def _row(one: Proposal) -> dict[str, Any]:
    (row,) = (row for kind, row in one.rows.items() if kind != "source")
    words = row.get("what", {})
    what = next(iter(words.values()), "") if words else ": ".join(map(str, list(row.values())[:2]))
    return {
        "id": one.id,
        "what": safe(what),
        "state": one.state,
        "made_by": one.made_by,
        "made": utc(one.made_at),
        "decided_by": one.decided_by,
        "note": safe(one.note),
        "rows": one.rows,
        "reason": safe(one.reason),
    }
