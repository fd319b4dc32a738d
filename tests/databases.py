"""Real databases for tests: SQLite files, and one PostgreSQL server from a wheel for each test session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from benchmarks.harness.postgres import Postgres

from moduai.store import migrate
from moduai.store.database import Database


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    yield server
    server.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database that does not exist yet (SQLite) or is empty (PostgreSQL)."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'modu.db'}"
    server: Postgres = await asyncio.to_thread(request.getfixturevalue, "postgres")
    return await server.make()


@pytest.fixture
async def db(url: str) -> AsyncIterator[Database]:
    """A database at head, on either kind."""
    await migrate.upgrade(url)
    made = Database(url)
    yield made
    await made.dispose()


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[Database]:
    """A database at head, on SQLite."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'modu.db'}"
    await migrate.upgrade(url)
    made = Database(url)
    yield made
    await made.dispose()
