"""Who makes a request of the API: the holder of a key, or a resident on our own page with its cookie.

A cookie is sent by a browser whoever made it ask, so it counts only where the browser says that our own
page asked. Everything here fails closed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from moduai.accounts.principal import Principal
from moduai.accounts.sessions import Session, SessionTable, cookie_name
from moduai.gateway.errors import ApiError
from moduai.store.database import Database


class Authors(Protocol):
    """Where authors are found by what they show: the keys, or the sessions."""

    @property
    def version(self) -> int:
        """Grows with every change: what was found before may no longer be true."""

    def find(self, token: bytes, now: float) -> Principal | None:
        """The author, from memory; None for one who is not there."""


class Sessions:
    """Sessions as the lane needs them: from memory at once, or looked up."""

    def __init__(self, table: SessionTable, database: Database) -> None:
        self.table = table
        self._database = database

    @property
    def version(self) -> int:
        """See ``Authors``."""
        return self.table.version

    def find(self, token: bytes, now: float) -> Principal | None:
        """The author of a session that is in memory; None where it must be looked up."""
        found = self.table.find(token, now)
        return found.principal if isinstance(found, Session) else None

    async def load(self, token: bytes) -> Principal:
        """The author of a session. Raises ApiError: there is none, or the database is away."""
        try:
            session = await self.table.load(self._database, token, time.time())
        except self._database.errors:
            raise ApiError("not_ready", retry_after_s=2, begun=False) from None
        if session is None:
            raise ApiError("session_ended")
        return session.principal


class Author(NamedTuple):
    """Who asks, and how that was shown."""

    principal: Principal | None
    """None: the session must be looked up."""
    token: bytes
    table: Authors


def session_token(fields: Mapping[bytes, bytes], *, secure: bool) -> bytes | None:
    """The session's token from the cookie; None if there is none, or more than one."""
    cookies = fields.get(b"cookie")
    if cookies is None:
        return None
    name = cookie_name(secure=secure).encode()
    found = [
        value.strip()
        for own, _, value in (part.partition(b"=") for part in cookies.split(b";"))
        if own.strip() == name
    ]
    return found[0] if len(found) == 1 and found[0] else None


def from_our_page(fields: Mapping[bytes, bytes]) -> bool:
    """Whether a page of ours asks: Sec-Fetch-Site or Origin must say so, and neither may deny it.

    Fails closed, also where neither is sent.
    """
    site, origin = fields.get(b"sec-fetch-site"), fields.get(b"origin")
    if site is None and origin is None:
        return False
    if site is not None and site != b"same-origin":
        return False
    return origin is None or origin.partition(b"://")[2].lower() == fields.get(b"host", b"").lower()
