"""What happened to the plan, day by day: a claim was said, its status changed, an item was revised. Pure."""

from __future__ import annotations

from datetime import date
from typing import Literal

from msgspec import Struct

from moduai.packs.pack import Pack
from moduai.packs.schema import Revision, Status, Words
from moduai.packs.strategy import Gap


class Event(Struct, frozen=True, kw_only=True):
    """One event."""

    id: str
    """The same in every version of the pack."""
    day: date
    kind: Literal["said", "status", "revised"]
    item: str
    source: str
    text: Words
    """What was said; else the note, if there is one."""
    claim: str = ""
    """Of which it is; empty: of the item as a whole."""
    status: Status | None = None
    """Of a claim."""
    revision: Revision | None = None
    """What became of the item."""


def became(pack: Pack, revision: Revision) -> list[tuple[Gap, tuple[Words, ...]]]:
    """What a revision gives, in texts of the pack; an empty tuple: no longer anything."""
    found: list[tuple[Gap, tuple[Words, ...]]] = []
    if revision.owner is not None:
        found.append(("owner", (pack.who(revision.owner).name,) if revision.owner else ()))
    if revision.measure is not None:
        found.append(("measure", (revision.measure,) if revision.measure else ()))
    if revision.needs is not None:
        found.append(("prerequisite", tuple(pack.item[name].title for name in revision.needs)))
    return found


def events(pack: Pack, *, after: date | None = None, until: date | None = None) -> tuple[Event, ...]:
    """Those after one day and until another, the newest first."""
    said = [
        Event(
            id=f"said:{one.id}",
            day=one.said,
            kind="said",
            item=one.item,
            claim=one.id,
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
            status=one.status,
            source=one.source,
            text=one.note or pack.claim[one.claim].what,
        )
        for one in pack.changes
    ]
    revised = [
        Event(
            id=f"revised:{one.item}:{one.day}",
            day=one.day,
            kind="revised",
            item=one.item,
            source=one.source,
            text=one.note,
            revision=one,
        )
        for one in pack.revisions
    ]
    found = [
        one
        for one in (*said, *turned, *revised)
        if (after is None or one.day > after) and (until is None or one.day <= until)
    ]
    return tuple(sorted(found, key=lambda one: (one.day, one.id), reverse=True))
