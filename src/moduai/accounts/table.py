"""Keys in memory: who a bearer token is, in about a microsecond."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from moduai.accounts.principal import Principal


class KeyTable:
    """Every valid key by its digest. Fails closed: what is not in it is refused."""

    __slots__ = ("_principals", "version")

    def __init__(self) -> None:
        """Empty: every key is refused until ``replace``."""
        self._principals: dict[bytes, Principal] = {}
        self.version = 0
        """Grows with every change: what was found before may no longer be true."""

    def __len__(self) -> int:
        return len(self._principals)

    def replace(self, principals: Iterable[tuple[bytes, Principal]]) -> None:
        """Take a new set of (digest, principal), whole: a key that is not in it is revoked."""
        self._principals = dict(principals)
        self.version += 1

    def find(self, token: bytes, now: float) -> Principal | None:
        """The author of a request; None for a key that is unknown, revoked or expired at ``now``.

        The look-up is by SHA-256 of the token, so its time says nothing about any key.
        """
        principal = self._principals.get(sha256(token).digest())
        if principal is None or 0 < principal.expires_at <= now:
            return None
        return principal
