"""The shelf of the service: versions as the database has them now; what was removed is gone at once."""

from __future__ import annotations

from moduai.knowledge import store
from moduai.knowledge.types import Passage, SearchAwayError, Stored
from moduai.store.database import Database


class StoredShelf:
    """Reads from the database each time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def text(self, document: str, version: int) -> tuple[Stored, str, tuple[Passage, ...]] | None:
        """A version's text and passages; None where it is not, or not any more. Raises SearchAwayError where
        the database is away. Fails closed.
        """
        try:
            async with self._database.connect() as connection:
                return await store.text(connection, document, version)
        except self._database.errors as error:
            raise SearchAwayError(f"documents cannot be read: {type(error).__name__}") from None
