"""Changes of the country's plan: proposed by one officer, accepted or rejected by another."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from moduai.gateway.errors import ApiError
from moduai.gateway.policy_text import parse
from moduai.packs.choose import chosen
from moduai.packs.pack import Pack
from moduai.packs.read import PackError
from moduai.packs.schema import Status
from moduai.proposals import repository
from moduai.proposals.repository import Proposal, State
from moduai.proposals.rows import Given, ProposalError
from moduai.web.api.operation import Call, Operation, Request, Text, Word, Words, refused

Line = Annotated[str, Meta(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$")]
Lines = Annotated[tuple[Line, ...], Meta(max_length=16)]
Day = Annotated[str, Meta(pattern=r"^(\d{4}-\d\d-\d\d)?$")]


class Proposals(Struct, frozen=True):
    """Proposals, the newest first."""

    items: list[Proposal]
    left_out: dict[str, str]
    """Accepted ones that no longer fit the pack, and why."""


class ProposalsWanted(Request, frozen=True):
    """Which proposals."""

    state: State | None = None


class Proposed(Request, frozen=True):
    """A claim, or with ``claim`` the change of its status, or with ``owner``, ``measure`` or ``needs`` what
    an item has since. Each with its source. Texts have one line for each language of the pack, in its order.
    """

    day: Annotated[Day, Meta(description="When it was said, or became so.")]
    status: Status = "announced"
    claim: Annotated[Text, Meta(description="A claim whose status changed; empty: a new claim.")] = ""
    item: Annotated[Text, Meta(description="Of all else: the item that it is of.")] = ""
    owner: Annotated[Text, Meta(description="Id of who came to be in charge of it; -: nobody any more.")] = ""
    measure: Annotated[Lines, Meta(description="What it is measured by since.")] = ()
    needs: Annotated[
        tuple[Word, ...], Meta(max_length=32, description="Ids of all items that it waits for since.")
    ] = ()
    who: Annotated[Text, Meta(description="Id of who said it: an actor or office.")] = ""
    what: Annotated[Lines, Meta(description="What was said.")] = ()
    number: float | None = None
    unit: Text = ""
    since: Day = ""
    until: Day = ""
    replaces: Annotated[Text, Meta(description="A claim whose place it takes.")] = ""
    source: Annotated[Text, Meta(description="Id of a source of the pack; empty: a new one.")] = ""
    source_title: Lines = ()
    source_publisher: Text = ""
    source_url: Annotated[str, Meta(max_length=400)] = ""
    source_kind: Annotated[Text, Meta(description="news, law, statistics, paper, report, release …")] = "news"
    note: Lines = ()
    reason: Annotated[Words, Meta(description="For whoever decides.")] = ""


class ProposalNamed(Request, frozen=True):
    """One proposal, by id."""

    proposal: Word


class ProposalDecided(ProposalNamed, frozen=True):
    """What to do with a proposal."""

    note: Annotated[Words, Meta(description="Why.")] = ""


async def list_some(call: Call, wanted: ProposalsWanted) -> Proposals:
    """What was proposed by whom, with the rows that it adds to the pack, and what became of it."""
    pack = _pack(call)
    async with call.read() as connection:
        found = await repository.list_proposals(connection, wanted.state or "")
        laid = repository.lay(pack, await repository.accepted(connection, pack))
    return Proposals(found, laid.left_out)


async def propose(call: Call, wanted: Proposed) -> Proposal:
    """It is checked as the pack itself is: what does not fit is refused. Another officer decides."""
    fields = msgspec.structs.asdict(wanted)
    reason = fields.pop("reason")
    async with call.write() as connection:
        await call.only_once(connection)
        with refused("value_not_allowed", ProposalError):
            made = await repository.propose(
                connection, _pack(call), Given(**fields), by=call.caller.person, reason=reason
            )
        await call.record(connection, made.id, kind=",".join(made.rows))
    return made


async def accept(call: Call, wanted: ProposalDecided) -> Proposal:
    """From then on it counts on the page, in the files and in the feed. Whoever proposed it cannot."""
    return await _decide(call, wanted, "accepted")


async def reject(call: Call, wanted: ProposalDecided) -> Proposal:
    """It stays in the list, with your note. Whoever proposed it cannot."""
    return await _decide(call, wanted, "rejected")


async def _decide(call: Call, wanted: ProposalDecided, state: Literal["accepted", "rejected"]) -> Proposal:
    async with call.write() as connection:
        with refused("conflict", ProposalError):
            decided = await repository.decide(
                connection, _pack(call), wanted.proposal, by=call.caller.person, state=state, note=wanted.note
            )
        await call.record(connection, decided.id, proposed_by=decided.made_by)
    return decided


def _pack(call: Call) -> Pack:
    try:
        return chosen(call.services.loaded, parse)
    except PackError as error:
        raise ApiError(
            "not_ready", f"The country pack has {len(error.faults)} faults: see modu pack check."
        ) from None


OPERATIONS = (
    Operation(
        "plan.list", "GET", "/api/plan/proposals", "plan", "List proposals to change the plan.",
        ProposalsWanted, Proposals, list_some, "strategy proposals",
    ),
    Operation(
        "plan.propose", "POST", "/api/plan/proposals", "plan", "Propose a change of the plan.",
        Proposed, Proposal, propose, "strategy propose", status=201,
    ),
    Operation(
        "plan.accept", "POST", "/api/plan/proposals/{proposal}/accept", "plan",
        "Accept a proposal of another officer.", ProposalDecided, Proposal, accept, "strategy accept",
    ),
    Operation(
        "plan.reject", "POST", "/api/plan/proposals/{proposal}/reject", "plan",
        "Reject a proposal of another officer.", ProposalDecided, Proposal, reject, "strategy reject",
    ),
)  # fmt: skip
