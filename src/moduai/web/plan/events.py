"""What happened to the plan, day by day: something was said, or a status became another. Pure."""

from __future__ import annotations

from datetime import date
from typing import Literal

from msgspec import Struct

from moduai.packs.pack import Pack
from moduai.packs.schema import Status, Words


class Event(Struct, frozen=True, kw_only=True):
    """One event."""

    id: str
    """The same in every version of the pack."""
    day: date
    kind: Literal["said", "status"]
    item: str
    claim: str
    who: str
    status: Status
    source: str
    text: Words
    """What was said; of a status, the note if there is one."""


def events(pack: Pack, *, after: date | None = None, until: date | None = None) -> tuple[Event, ...]:
    """Those after one day and until another, the newest first."""
    said = [
        Event(
            id=f"said:{one.id}",
            day=one.said,
            kind="said",
            item=one.item,
            claim=one.id,
            who=one.who,
            status=one.status,
            source=one.source,
            text=one.what,
        )
        for one in pack.claims
    ]
    turned = [
        Event(
            id=f"status:{one.claim}:{one.day}:{one.status}",
            day=one.day,
            kind="status",
            item=pack.claim[one.claim].item,
            claim=one.claim,
            who=pack.claim[one.claim].who,
            status=one.status,
            source=one.source,
            text=one.note or pack.claim[one.claim].what,
        )
        for one in pack.changes
    ]
    found = [
        one
        for one in (*said, *turned)
        if (after is None or one.day > after) and (until is None or one.day <= until)
    ]
    return tuple(sorted(found, key=lambda one: (one.day, one.id), reverse=True))
