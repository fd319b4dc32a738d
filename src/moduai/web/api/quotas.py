"""Limits for a day or a month, of organisations, keys and people. Those of classes stand in the policy."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from moduai.accounts import quotas as repository
from moduai.accounts.organisations import AccountError
from moduai.accounts.quotas import MOST, Each, Limit, Quota
from moduai.gateway.quota_look import Look, look
from moduai.web.api.operation import Call, Nothing, Operation, Request, Word, refused

Owner = Annotated[
    Word, Meta(description="An organisation by id or name, a key by id or how it begins, a person by id.")
]


class Quotas(Struct, frozen=True):
    """What was set, by owner."""

    items: list[Quota]


class QuotaNamed(Request, frozen=True):
    """One owner."""

    owner: Owner


class QuotaSet(QuotaNamed, frozen=True):
    """A limit, in place of the one before."""

    tokens: Annotated[int, Meta(ge=1, le=MOST, description="Tokens, read and written.")]
    each: Annotated[Each, Meta(description="Of each day or month.")] = "day"


class QuotaShown(Struct, frozen=True):
    """How an owner stands."""

    quota: Look | None
    """Null: no limit, and nothing is counted."""


class QuotaCleared(Struct, frozen=True):
    """Whether there was a limit to clear."""

    cleared: bool


async def list_all(call: Call, _: Nothing) -> Quotas:
    """All limits that were set; without what was used, which is one person's."""
    async with call.read() as connection:
        return Quotas(await repository.list_quotas(connection))


async def show(call: Call, wanted: QuotaNamed) -> QuotaShown:
    """Its limit, whether it was set or is the class's, what was used of it and when it begins anew."""
    async with call.read() as connection:
        with refused("not_found", AccountError):
            owner = await repository.find_owner(connection, wanted.owner)
        return QuotaShown(await look(connection, call.services.loaded, owner, call.now))


async def set_one(call: Call, wanted: QuotaSet) -> Quota:
    """Every gateway keeps to it within a second. What was used of the day or month counts."""
    async with call.write() as connection:
        with refused("not_found", AccountError):
            owner = await repository.find_owner(connection, wanted.owner)
        limit = Limit(wanted.tokens, wanted.each)
        return await repository.set_quota(connection, owner, limit, call.caller.person)


async def clear(call: Call, wanted: QuotaNamed) -> QuotaCleared:
    """Then the limit of the class counts, if there is one."""
    async with call.write() as connection:
        with refused("not_found", AccountError):
            gone = await repository.clear_quota(connection, wanted.owner, call.caller.person)
    return QuotaCleared(gone)


OPERATIONS = (
    Operation(
        "quota.list", "GET", "/api/quotas", "policy", "List limits for a day or a month.",
        Nothing, Quotas, list_all, "quota list",
    ),
    Operation(
        "quota.show", "GET", "/api/quotas/{owner}", "people", "Show one limit and what was used of it.",
        QuotaNamed, QuotaShown, show, "quota show",
    ),
    Operation(
        "quota.set", "PUT", "/api/quotas/{owner}", "policy", "Set a limit.",
        QuotaSet, Quota, set_one, "quota set",
    ),
    Operation(
        "quota.clear", "DELETE", "/api/quotas/{owner}", "policy", "Take a limit away.",
        QuotaNamed, QuotaCleared, clear, "quota clear",
    ),
)  # fmt: skip
