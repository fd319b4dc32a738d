"""Limits that staff set: whose they are, what is recorded, and what becomes of them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from moduai.accounts.audit import list_entries
from moduai.accounts.keys import create_key
from moduai.accounts.organisations import AccountError, create_organisation
from moduai.accounts.quotas import (
    KEPT_DAYS,
    MOST,
    Limit,
    Standing,
    clear_quota,
    find_owner,
    limit_of,
    list_quotas,
    load_limits,
    purge_books,
    set_quota,
    standing,
)
from moduai.store.database import Database
from tests.databases import db, postgres, sqlite, url

__all__ = ["db", "postgres", "sqlite", "url"]


async def test_a_limit_is_set_changed_and_cleared(db: Database) -> None:
    async with db.begin() as connection:
        office = await create_organisation(connection, "시청")
        clear, key = await create_key(connection, name="app", organisation="시청")
        await set_quota(connection, "시청", Limit(5), "sub_1")
        made = await set_quota(connection, office.id, Limit(9_000_000, "month"), "sub_1")
        await set_quota(connection, clear[:12], Limit(100), "cli")
        await set_quota(connection, key.subject, Limit(MOST), "cli")
    async with db.begin() as connection:
        assert made in await list_quotas(connection)
        assert await load_limits(connection) == {
            office.id: Limit(9_000_000, "month"),
            key.id: Limit(100, "day"),
            key.subject: Limit(MOST, "day"),
        }
        assert await clear_quota(connection, key.id, "cli")
        assert not await clear_quota(connection, key.id, "cli")
        assert await limit_of(connection, key.id) is None
        assert await limit_of(connection, office.id) == Limit(9_000_000, "month")
        assert await connection.scalar(text("SELECT version FROM changes WHERE topic = 'quotas'")) == 5
        entries = await list_entries(connection, action="quota")
    assert [entry.action for entry in entries] == ["quota.clear", *["quota.set"] * 4]
    assert (entries[3].target, entries[3].detail) == (office.id, '{"each":"month","tokens":9000000}')


@pytest.mark.parametrize("owner", ["nobody", "key_none", "modu-nothing", "sub_none", "sub_\0", "", "org_x"])
async def test_nobody_has_a_limit_who_is_not_there(sqlite: Database, owner: str) -> None:
    async with sqlite.begin() as connection:
        with pytest.raises(AccountError):
            await find_owner(connection, owner)
        with pytest.raises(AccountError):
            await set_quota(connection, owner, Limit(5), "cli")
        assert await list_quotas(connection) == []


@pytest.mark.parametrize("tokens", [0, -1, MOST + 1])
async def test_a_limit_is_some_tokens(sqlite: Database, tokens: int) -> None:
    async with sqlite.begin() as connection:
        _, key = await create_key(connection, name="app")
        with pytest.raises(AccountError, match="tokens"):
            await set_quota(connection, key.id, Limit(tokens), "cli")


async def test_what_was_used_is_deleted_when_its_time_has_passed(db: Database) -> None:
    now = datetime(2026, 11, 10, 12, tzinfo=UTC).timestamp()
    async with db.begin() as connection:
        for since in ("2026-09-30", "2026-10", "2026-10-01", "2026-10-02", "2026-11-10", "2026-11"):
            leases = f'{{"g": [7, {now + 5}], "h": [9, {now - 5}]}}'
            await connection.execute(
                text("INSERT INTO quota_books VALUES (:s, 'org_1', 40, :l)"), {"s": since, "l": leases}
            )
        assert await purge_books(connection, now) == 2
        assert await purge_books(connection, now) == 0
        left = await connection.scalars(text("SELECT since FROM quota_books ORDER BY since"))
        assert list(left) == ["2026-10-01", "2026-10-02", "2026-11", "2026-11-10"]
        assert await standing(connection, "org_1", "2026-11", now) == Standing(40, 7)
        assert await standing(connection, "org_2", "2026-11", now) == Standing(0, 0)
    assert KEPT_DAYS == 40
