"""Asking the search process: for the pages, the API and the command line.

Rule: an answer comes within ``within_s`` or not at all. No process, a busy one, a late one: each is a
``SearchAwayError`` that says so, never an empty list, for "nothing was found" is an answer too. Fails
closed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import msgspec

from moduai.child import socket_path
from moduai.engines.address import Address
from moduai.engines.http import FetchError, fetch
from moduai.knowledge.types import Found, Query, SearchAwayError
from moduai.knowledge.wire import SOCKET, Asked, Refusal, Status
from moduai.settings import Loaded

T = TypeVar("T")

MOST_ANSWER = 33_554_432
CHANGED_S = 10.0
"""How long one may wait until a change is in the index, in seconds."""
STATUS_S = 5.0


class Search:
    """The search process of a home folder. Cheap to make: it connects for each question."""

    def __init__(
        self, loaded: Loaded, told: Callable[[str, float], None] = lambda _outcome, _seconds: None
    ) -> None:
        """``told`` hears how each search ended (found, nothing, away) and the seconds it took."""
        self._address = Address("", 0, str(socket_path(loaded.home, SOCKET)), tls=False, prefix="")
        self._within_s = loaded.settings.knowledge.search_s
        self._told = told

    async def search(self, query: Query, allowed: frozenset[str] | None = None) -> list[Found]:
        """The passages that answer best, of the collections in ``allowed`` (None: of all).

        Raises SearchAwayError, or ValueError for a query that is out of bounds.
        """
        asked = msgspec.json.encode(Asked(query, allowed))
        began, outcome = time.monotonic(), "away"
        try:
            found = await self._ask("POST", "/search", list[Found], asked, self._within_s)
            outcome = "found" if found else "nothing"
        finally:
            self._told(outcome, time.monotonic() - began)
        return found

    async def changed(self, within_s: float = CHANGED_S) -> Status:
        """Return when all that was written before can be found, and what was removed cannot. Raises
        SearchAwayError.
        """
        return await self._ask("POST", "/changed", Status, b"{}", within_s)

    async def status(self) -> Status:
        """How the search process is. Raises SearchAwayError."""
        return await self._ask("GET", "/status", Status, b"", STATUS_S)

    async def _ask(self, method: str, path: str, answer: type[T], body: bytes, within_s: float) -> T:
        try:
            reply = await fetch(self._address, method, path, body=body, timeout_s=within_s, limit=MOST_ANSWER)
        except FetchError as error:
            raise SearchAwayError(str(error)) from None
        try:
            if reply.status == 200:
                return msgspec.json.decode(reply.body, type=answer)
            why = msgspec.json.decode(reply.body, type=Refusal).error
        except msgspec.DecodeError:
            raise SearchAwayError("its process is of another version") from None
        raise SearchAwayError(why)
