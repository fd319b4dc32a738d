"""From what an officer writes to rows of the pack, and a pack with accepted rows laid over it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date
from typing import Any, Final

import msgspec
from msgspec import Struct

from moduai.packs import check, typed
from moduai.packs.pack import KINDS, Pack, Problem
from moduai.packs.schema import Data

KIND_OF_ROW: Final = ("source", "claim", "change", "revision")
"""Kinds of rows in a proposal: a source that the pack lacks, and a claim, a change or a revision."""
NOBODY: Final = "-"
"""Written for an owner: nobody is in charge any more."""


DAY_OF: Final = {"claim": "said", "change": "day", "revision": "day"}


class ProposalError(ValueError):
    """A proposal is not valid or cannot be decided so; the text says why."""


class Given(Struct, frozen=True, kw_only=True):
    """What an officer writes. Texts have a line for each language of the pack, in its order."""

    claim: str = ""
    """Of a change of status: the claim that it is of. Empty: a new claim."""
    status: str = "announced"
    day: str = ""
    """When it was said, or became so: 2026-11-22."""
    item: str = ""
    owner: str = ""
    """Of a revision, as the next two: who came to be in charge of the item; ``NOBODY``."""
    measure: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    who: str = ""
    what: tuple[str, ...] = ()
    number: float | None = None
    unit: str = ""
    since: str = ""
    until: str = ""
    replaces: str = ""
    source: str = ""
    """Id of a source of the pack; empty: the new one that the next four describe."""
    source_title: tuple[str, ...] = ()
    source_publisher: str = ""
    source_url: str = ""
    source_kind: str = "news"
    note: tuple[str, ...] = ()


Rows = Mapping[str, Mapping[str, Any]]
"""Kind to the row as the files of a pack have it, days as texts."""


def rows_of(pack: Pack, given: Given, name: str) -> Rows:
    """The rows that a proposal of this name adds. Raises ProposalError. Fails closed."""
    revises = bool(given.owner or given.measure or given.needs)
    says = bool(given.what or given.number is not None)
    if bool(given.claim) + revises + says > 1 or (given.claim and given.item):
        raise ProposalError(
            "propose one thing: the status of a claim (leave the item empty), or what was said of an item, "
            "or who is in charge of it, its measure and what it waits for"
        )
    found: dict[str, Mapping[str, Any]] = {}
    source = given.source
    if not source:
        source = f"{name}-source"
        found["source"] = _filled(
            id=source,
            title=_words(pack, "source_title", given.source_title),
            publisher=given.source_publisher,
            url=given.source_url,
            kind=given.source_kind,
            published=given.day,
        )
    note = _words(pack, "note", given.note) if given.note else {}
    if given.claim:
        found["change"] = _filled(
            claim=given.claim, status=given.status, day=given.day, source=source, note=note
        )
    elif revises:
        found["revision"] = _revision(pack, given, source, note)
    else:
        found["claim"] = _filled(
            id=name,
            item=given.item,
            who=given.who,
            what=_words(pack, "what", given.what),
            number=given.number,
            unit=given.unit,
            since=given.since,
            until=given.until,
            replaces=given.replaces,
            source=source,
            said=given.day,
            status=given.status,
            note=note,
        )
    return found


def _revision(pack: Pack, given: Given, source: str, note: dict[str, str]) -> dict[str, Any]:
    row = _filled(
        item=given.item,
        owner=given.owner,
        measure=_words(pack, "measure", given.measure) if given.measure else {},
        needs=list(given.needs),
        day=given.day,
        source=source,
        note=note,
    )
    return row | ({"owner": ""} if given.owner == NOBODY else {})


def laid_over(pack: Pack, added: Iterable[Rows], today: date | None = None) -> Pack:
    """The pack with these rows. Raises ProposalError with the first thing that is wrong with them; ``today``:
    nothing may be said after it.
    """
    fields: dict[str, tuple[Data, ...]] = {KINDS[kind].field: pack.rows(kind) for kind in KIND_OF_ROW}
    last = pack.head.as_of
    for rows in added:
        for kind, raw in rows.items():
            row = _row(kind, raw)
            fields[KINDS[kind].field] += (row,)
            day = getattr(row, DAY_OF.get(kind, ""), None) or last
            if today and day > today:
                raise ProposalError(f"{day} has not come yet")
            last = max(last, day)
    made = replace(pack, head=msgspec.structs.replace(pack.head, as_of=last), **fields)  # type: ignore[arg-type]
    if problems := check.problems(made):
        raise ProposalError(_told(made, problems[0]))
    return made


def _row(kind: str, raw: Mapping[str, Any]) -> Data:
    if kind not in KIND_OF_ROW:
        raise ProposalError(f"a proposal has no {kind[:64]!r}")
    days = {"said", "day", "since", "until", "published"}
    row, wrong = typed.row(
        KINDS[kind].type, {name: _day(v) if name in days else v for name, v in raw.items()}
    )
    if wrong or row is None:
        raise ProposalError("; ".join(one.text for one in wrong))
    return row


def _day(value: object) -> object:
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        return value  # its type is then told as wrong


def _words(pack: Pack, name: str, lines: tuple[str, ...]) -> dict[str, str]:
    """A text in each language of the pack."""
    if len(lines) != len(pack.languages):
        wanted = ", ".join(pack.languages)
        raise ProposalError(f"{name} needs one line for each language of the pack, in this order: {wanted}")
    return dict(zip(pack.languages, lines, strict=True))


def _filled(**fields: Any) -> dict[str, Any]:
    """A row without what was left empty."""
    return {name: value for name, value in fields.items() if value is not None and value not in ("", {}, [])}


def _told(pack: Pack, problem: Problem) -> str:
    row = pack.rows(problem.kind)[problem.number]
    name = getattr(row, "id", "") or getattr(row, "claim", "") or getattr(row, "item", "")
    return f"{problem.kind} {name}: {problem.text}"
