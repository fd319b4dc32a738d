"""Addresses of engines: parsed once, refused when anything is unclear (fails closed)."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit


class AddressError(ValueError):
    """An engine's address that cannot be used; the text says why."""


class Address(NamedTuple):
    """Where an engine listens: a Unix socket (``path``) or ``host`` and ``port``."""

    host: str
    port: int
    path: str
    tls: bool
    prefix: str
    """Path in front of ``/v1``, without a slash at its end."""

    @property
    def authority(self) -> str:
        """The Host header's value."""
        if self.path:
            return "engine"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


def parse_url(url: str) -> Address:
    """Read http://host:port, https://host[/prefix] or unix:///path. A final ``/v1`` is dropped."""
    if any(ord(letter) <= 32 or ord(letter) == 127 for letter in url):
        raise AddressError(f"{url!r}: an engine's address has no spaces or control characters")
    parts = urlsplit(url)
    if parts.scheme == "unix":
        if not parts.path.startswith("/") or parts.netloc:
            raise AddressError(f"{url}: write unix:///full/path/of/the.sock")
        return Address("", 0, parts.path, tls=False, prefix="")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise AddressError(f"{url}: write http://host:port, https://host or unix:///path")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise AddressError(f"{url}: give the key with --key, and no query or fragment")
    try:
        port = parts.port
    except ValueError:
        raise AddressError(f"{url}: the port is not a number from 1 to 65535") from None
    tls = parts.scheme == "https"
    prefix = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    return Address(parts.hostname, port or (443 if tls else 80), "", tls, prefix)
