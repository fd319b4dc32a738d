"""API keys: listed, made, revoked. A key is shown once, when it is made."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from moduai.accounts import keys as repository
from moduai.accounts.keys import KeyInfo
from moduai.accounts.organisations import AccountError
from moduai.gateway import policy_file
from moduai.gateway.errors import ApiError
from moduai.web.api.caller import SCOPE
from moduai.web.api.operation import Call, Code, Name, Operation, Page, Request, Text, Time, Word, refused


class KeyShown(Struct, frozen=True, kw_only=True):
    """A key, of which only the beginning is known."""

    key: KeyInfo
    state: str
    """active, expired or revoked."""


class KeysPage(Struct, frozen=True):
    """Keys, oldest first."""

    items: list[KeyShown]
    next: str
    """To be given as ``after``; empty: these were the last."""


class KeysWanted(Page, frozen=True):
    """Which keys."""

    organisation: Annotated[Text, Meta(description="Only of this one, by name or id.")] = ""
    revoked: Annotated[bool, Meta(description="The revoked ones too.")] = False


class KeyMade(Request, frozen=True):
    """A new key."""

    name: Name
    organisation: Annotated[Text, Meta(description="Its name or id; empty: the default one.")] = ""
    expires_at: Annotated[Time, Meta(description="Unix time in seconds; 0: it does not expire.")] = 0
    service_class: Annotated[Code, Meta(description="Its share when many wait: a class of the policy.")] = (
        "standard"
    )
    region: Code = ""
    group: Code = ""
    manage: Annotated[bool, Meta(description="It may call these operations as you.")] = False


class KeyNew(Struct, frozen=True, kw_only=True):
    """A key that was made just now."""

    key: KeyInfo
    clear: str
    """The key itself: it is not shown again."""


class KeyNamed(Request, frozen=True):
    """One key, by id or by how it begins."""

    key: Word


async def list_some(call: Call, wanted: KeysWanted) -> KeysPage:
    """Keys of organisations and of people."""
    async with call.read() as connection:
        with refused("not_found", AccountError):
            found = await repository.list_keys(
                connection, organisation=wanted.organisation, revoked=wanted.revoked
            )
    ids = [one.id for one in found]
    if wanted.after and wanted.after not in ids:
        raise ApiError("invalid_parameter", "`after` is none of these keys: begin again.")
    start = ids.index(wanted.after) + 1 if wanted.after else 0
    shown = found[start : start + wanted.limit]
    following = shown[-1].id if start + wanted.limit < len(found) else ""
    return KeysPage([KeyShown(key=one, state=one.state(call.now)) for one in shown], following)


async def make(call: Call, wanted: KeyMade) -> KeyNew:
    """With ``manage`` it is a key of the caller, with the role that the caller has whenever it is used."""
    if 0 < wanted.expires_at <= call.now:
        raise ApiError("value_not_allowed", "A key cannot expire in the past.")
    async with call.write() as connection:
        await call.only_once(connection)
        with refused("value_not_allowed", AccountError):
            clear, made = await repository.create_key(
                connection,
                name=wanted.name,
                organisation=wanted.organisation,
                expires_at=wanted.expires_at,
                service_class=wanted.service_class,
                classes=policy_file.read(call.services.loaded).policy.classes,
                region=wanted.region,
                group=wanted.group,
                subject=call.caller.person if wanted.manage else "",
                scopes=("inference", SCOPE) if wanted.manage else ("inference",),
            )
        await call.record(connection, made.id, manage=wanted.manage)
    return KeyNew(key=made, clear=clear)


async def revoke(call: Call, wanted: KeyNamed) -> KeyShown:
    """Refuse a key from now on. This cannot be undone."""
    async with call.write() as connection:
        with refused("not_found", AccountError):
            gone = await repository.revoke_key(connection, wanted.key)
        await call.record(connection, gone.id)
    return KeyShown(key=gone, state=gone.state(call.now))


OPERATIONS = (
    Operation(
        "key.list", "GET", "/api/keys", "keys", "List keys.", KeysWanted, KeysPage, list_some, "key list"
    ),
    Operation(
        "key.create", "POST", "/api/keys", "keys", "Make a key.",
        KeyMade, KeyNew, make, "key create", status=201,
    ),
    Operation(
        "key.revoke", "DELETE", "/api/keys/{key}", "keys", "Revoke a key.",
        KeyNamed, KeyShown, revoke, "key revoke",
    ),
)  # fmt: skip
