"""Proposals in the database: made, listed, decided. Each function runs in its caller's transaction."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

from msgspec import Struct
from sqlalchemy import func, select, update

from moduai.packs.pack import Pack
from moduai.proposals.rows import Given, ProposalError, laid_over, rows_of
from moduai.proposals.tables import proposals
from moduai.store.database import Connection

State = Literal["open", "accepted", "rejected"]
MOST_OPEN: Final = 500
"""More are not taken until some were decided."""
MOST_LISTED: Final = 1_000


class Proposal(Struct, frozen=True, kw_only=True):
    """One proposal. Times are Unix seconds; 0: never."""

    id: str
    pack: str
    rows: dict[str, dict[str, Any]]
    """Kind (claim, change, source) to the row as the files of a pack have it."""
    reason: str
    state: str
    made_by: str
    made_at: int
    decided_by: str
    decided_at: int
    note: str


class Laid(Struct, frozen=True):
    """A pack with what was accepted, and proposals that no longer fit it with why."""

    pack: Pack
    left_out: dict[str, str]


async def propose(connection: Connection, pack: Pack, given: Given, *, by: str, reason: str = "") -> Proposal:
    """Keep a proposal. Raises ProposalError where it does not fit the pack with all that was accepted."""
    made = f"p-{secrets.token_hex(6)}"
    rows = rows_of(pack, given, made)
    present = lay(pack, await accepted(connection, pack)).pack
    laid_over(present, [rows], datetime.now(ZoneInfo(pack.locale.time_zone)).date())
    waiting = select(func.count()).select_from(proposals).where(proposals.c.state == "open")
    if (await connection.scalar(waiting) or 0) >= MOST_OPEN:
        raise ProposalError(f"{MOST_OPEN} proposals are open: decide some first")
    values = {
        "id": made,
        "pack": pack.head.id,
        "rows": {kind: dict(row) for kind, row in rows.items()},
        "reason": reason,
        "state": "open",
        "made_by": by,
        "made_at": int(time.time()),
        "decided_by": "",
        "decided_at": 0,
        "note": "",
    }
    await connection.execute(proposals.insert().values(values))
    return Proposal(**values)  # type: ignore[arg-type]


async def list_proposals(connection: Connection, state: str = "") -> list[Proposal]:
    """The newest first; of one state if named."""
    query = select(proposals).order_by(proposals.c.made_at.desc(), proposals.c.id).limit(MOST_LISTED)
    rows = await connection.execute(query.where(proposals.c.state == state) if state else query)
    return [Proposal(**row._mapping) for row in rows]


async def accepted(connection: Connection, pack: Pack) -> list[Proposal]:
    """Those that are laid over a pack, in the order in which they were accepted."""
    mine = (proposals.c.pack == pack.head.id) & (proposals.c.state == "accepted")
    query = select(proposals).where(mine).order_by(proposals.c.decided_at, proposals.c.id)
    return [Proposal(**row._mapping) for row in await connection.execute(query)]


def lay(pack: Pack, found: Iterable[Proposal]) -> Laid:
    """The pack with proposals, in their order. One that does not fit is left out (fails closed)."""
    left_out: dict[str, str] = {}
    return Laid(_lay(pack, list(found), left_out), left_out)


def _lay(pack: Pack, found: list[Proposal], left_out: dict[str, str]) -> Pack:
    """All at once, for the whole pack is checked each time; where they do not fit, half and half."""
    if not found:
        return pack
    try:
        return laid_over(pack, [one.rows for one in found])
    except ProposalError as error:
        if len(found) == 1:
            left_out[found[0].id] = str(error)
            return pack
    half = len(found) // 2
    return _lay(_lay(pack, found[:half], left_out), found[half:], left_out)


async def decide(
    connection: Connection,
    pack: Pack,
    proposal: str,
    *,
    by: str,
    state: Literal["accepted", "rejected"],
    note: str = "",
) -> Proposal:
    """Accept or reject an open proposal of somebody else; an accepted one is checked again. Raises
    ProposalError. Fails closed.
    """
    row = (await connection.execute(select(proposals).where(proposals.c.id == proposal))).first()
    if row is None:
        raise ProposalError(f"there is no proposal {proposal[:64]!r}")
    found = Proposal(**row._mapping)
    if found.made_by == by:
        raise ProposalError("who proposed it does not decide it: another officer does")
    if found.state != "open":
        raise ProposalError(f"it was {found.state} before")
    if state == "accepted":
        if found.pack != pack.head.id:
            raise ProposalError(f"it is of the pack {found.pack}, and {pack.head.id} is in use")
        laid_over(lay(pack, await accepted(connection, pack)).pack, [found.rows])
    decided = {"state": state, "decided_by": by, "decided_at": int(time.time()), "note": note}
    still_open = (proposals.c.id == proposal) & (proposals.c.state == "open")
    if not (await connection.execute(update(proposals).where(still_open).values(decided))).rowcount:
        raise ProposalError("somebody else decided it just now")
    return Proposal(**{**row._mapping, **decided})
