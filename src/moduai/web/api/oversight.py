"""What oversees the service: settings with their origin, the audit log, leave to look."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from moduai.accounts import audit, looks
from moduai.accounts.audit import Entry
from moduai.accounts.audit_roots import Published, published
from moduai.accounts.audit_verify import verify
from moduai.accounts.looks import Leave
from moduai.gateway.errors import ApiError
from moduai.store.keyring import KeyringError
from moduai.store.signing import SigningKeys
from moduai.web.api.operation import Call, Nothing, Operation, Page, Text

MOST_LEAVE = 200


class SettingInfo(Struct, frozen=True, kw_only=True):
    """One setting. What is secret is never shown."""

    name: str
    value: Any
    origin: str
    description: str


class SettingsInfo(Struct, frozen=True):
    """Every setting of the running service."""

    items: list[SettingInfo]


class EntryInfo(Struct, frozen=True, kw_only=True):
    """One entry of the audit log."""

    writer: str
    number: int
    at: int
    """Unix time in microseconds."""
    actor: str
    action: str
    target: str
    detail: dict[str, Any]
    hash: str


class EntriesPage(Struct, frozen=True):
    """Entries, newest first."""

    items: list[EntryInfo]
    next: str
    """To be given as ``after``; empty: these were the last."""


class EntriesWanted(Page, frozen=True):
    """Which entries."""

    actor: Text = ""
    action: Annotated[Text, Meta(description="An action, or its first part: key finds key.revoke.")] = ""
    target: Text = ""
    since: Annotated[int, Meta(ge=0, le=1 << 40, description="Unix time in seconds.")] = 0


class VerdictInfo(Struct, frozen=True, kw_only=True):
    """What was checked of the audit log, and what is wrong with it."""

    ok: bool
    entries: int
    chains: dict[str, int]
    roots: int
    sealed_until: str
    problems: list[str]
    notes: list[str]


class Leaves(Struct, frozen=True):
    """Leave that staff took to read people's text, newest first."""

    items: list[Leave]


async def settings(call: Call, _: Nothing) -> SettingsInfo:
    """As they were when this worker began, with where each came from."""
    rows = call.services.loaded.rows()
    return SettingsInfo(
        [
            SettingInfo(
                name=row.name, value=_plain(row.value), origin=row.origin, description=row.description
            )
            for row in rows
        ]
    )


def _plain(value: object) -> Any:
    return msgspec.to_builtins(value, enc_hook=str)


async def entries(call: Call, wanted: EntriesWanted) -> EntriesPage:
    """Who did what to what: ids, codes and numbers, never a person's text."""
    async with call.read() as connection:
        found = await audit.list_entries(
            connection,
            actor=wanted.actor,
            action=wanted.action,
            target=wanted.target,
            since=wanted.since * 1_000_000,
            before=_place(wanted.after),
            limit=wanted.limit,
        )
    last = "{}.{}.{}".format(*found[-1].place) if len(found) == wanted.limit else ""
    return EntriesPage([_entry(one) for one in found], last)


def _entry(entry: Entry) -> EntryInfo:
    return EntryInfo(
        writer=entry.writer,
        number=entry.number,
        at=entry.at,
        actor=entry.actor,
        action=entry.action,
        target=entry.target,
        detail=_detail(entry.detail),
        hash=entry.hash.hex(),
    )


def _detail(text: str) -> dict[str, Any]:
    """One that was tampered with is shown as it is: checking the log says so."""
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError:
        return {"unreadable": text[:200]}


def _place(after: str) -> tuple[int, str, int] | None:
    at, _, rest = after.partition(".")
    writer, _, number = rest.rpartition(".")
    if not after:
        return None
    if not (writer and all(one.isascii() and one.isdigit() and len(one) < 18 for one in (at, number))):
        raise ApiError("invalid_parameter", "`after` is not from an answer of this operation.")
    return int(at), writer, int(number)


async def check(call: Call, _: Nothing) -> VerdictInfo:
    """Reads the whole log: every entry, every chain and every signed root."""
    try:
        signing = SigningKeys.open(call.services.loaded.home, create=False)
    except KeyringError:
        signing = None
    async with call.read() as connection:
        found = await verify(connection, signing)
    return VerdictInfo(
        ok=found.ok,
        entries=found.entries,
        chains=found.chains,
        roots=found.roots,
        sealed_until=found.sealed_until,
        problems=found.problems,
        notes=found.notes,
    )


async def roots(call: Call, _: Nothing) -> Published:
    """The signed roots and the public keys to check them: keep a copy elsewhere."""
    async with call.read() as connection:
        return await published(connection, call.services.loaded.home)


async def leaves(call: Call, _: Nothing) -> Leaves:
    """Who may read or has read whose text, why, and until when."""
    async with call.read() as connection:
        return Leaves(await looks.list_leave(connection, limit=MOST_LEAVE))


OPERATIONS = (
    Operation(
        "setting.list", "GET", "/api/settings", "settings", "List the settings.",
        Nothing, SettingsInfo, settings, "settings",
    ),
    Operation(
        "audit.list", "GET", "/api/audit", "audit", "List the audit log.",
        EntriesWanted, EntriesPage, entries, "audit list",
    ),
    Operation(
        "audit.verify", "GET", "/api/audit/verify", "audit", "Check the audit log.",
        Nothing, VerdictInfo, check, "audit verify",
    ),
    Operation(
        "audit.roots", "GET", "/api/audit/roots", "audit", "Show the signed roots.",
        Nothing, Published, roots, "audit roots",
    ),
    Operation(
        "look.list", "GET", "/api/looks", "audit", "List leave that was taken.",
        Nothing, Leaves, leaves, "look list",
    ),
)  # fmt: skip
