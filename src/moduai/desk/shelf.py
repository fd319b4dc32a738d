"""The shelf of the service: versions as the database has them now; what was removed is gone at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from moduai.knowledge import store
from moduai.knowledge.types import Passage, SearchAwayError, Stored
from moduai.store.database import Connection, Database


class StoredShelf:
    """Reads from the database each time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def text(self, document: str, version: int) -> tuple[Stored, str, tuple[Passage, ...]] | None:
        """A version's text and passages; None where it is not, or not any more. Raises SearchAwayError where
        the database is away. Fails closed.
        """
        async with self._open() as connection:
            return await store.text(connection, document, version)

    async def newest(self, document: str) -> int | None:
        """The number of its newest version; 0: it was removed; None: there never was one. Raises as above."""
        async with self._open() as connection:
            return await store.newest(connection, document)

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Connection]:
        try:
            async with self._database.connect() as connection:
                yield connection
        except self._database.errors as error:
            raise SearchAwayError(f"documents cannot be read: {type(error).__name__}") from None
