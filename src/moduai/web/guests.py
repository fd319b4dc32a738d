"""Guests: people who ask without an account.

A guest is a signed random number in a cookie, so that guests share fairly with each other: first the
networks they come from, then those of one network. It says nothing about the person, lasts at most 30 days,
and the ledger sees only a digest of it, and nothing of the network. The form token is bound to it. Checks
here fail closed: a token that does not verify counts as none.
"""

from __future__ import annotations

import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import urlsplit

from starlette.requests import Request

from moduai.accounts.networks import network_of, opaque
from moduai.accounts.principal import Principal

COOKIE = "modu_guest"
DAYS = 30
_DAY_S = 86_400


@dataclass(frozen=True)
class Guest:
    """A guest's token and what follows from it."""

    id: bytes
    token: str
    form_token: str
    principal: Principal
    new: bool


def sign(secret: bytes, purpose: str, *parts: bytes) -> bytes:
    """HMAC-SHA-256 with a key for the purpose; parts are framed by their length."""
    key = hmac.digest(secret, b"moduai.web/" + purpose.encode(), sha256)
    return hmac.digest(key, b"".join(len(p).to_bytes(4) + p for p in parts), sha256)


def encode(raw: bytes) -> str:
    """URL-safe base64 without padding."""
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode(text: str) -> bytes | None:
    """The reverse of ``encode``; None for anything else."""
    try:
        return urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except (Base64Error, UnicodeEncodeError, ValueError):
        return None


def guest(secret: bytes, cookie: str, now: float, address: str = "") -> Guest:
    """The guest of a cookie, or a new one if it is missing, forged or too old. ``address``: the client's,
    of which only what stands for its network is handed on.
    """
    network = opaque(secret, network_of(address))
    today = int(now // _DAY_S)
    if known := _verify(secret, cookie, today):
        return _guest(secret, known, cookie, network, new=False)
    new = secrets.token_bytes(16)
    day = today.to_bytes(4)
    return _guest(secret, new, encode(new + day + sign(secret, "guest", new, day)), network, new=True)


def _verify(secret: bytes, token: str, today: int) -> bytes | None:
    raw = decode(token[:200])
    if raw is None or len(raw) != 16 + 4 + 32:
        return None
    number, day, signature = raw[:16], raw[16:20], raw[20:]
    if not hmac.compare_digest(signature, sign(secret, "guest", number, day)):
        return None
    return number if -1 <= today - int.from_bytes(day) < DAYS else None  # a clock may go back a little


def _guest(secret: bytes, number: bytes, token: str, network: str, *, new: bool) -> Guest:
    subject = "gst_" + sign(secret, "subject", number)[:12].hex()
    principal = Principal(subject=subject, network=network, service_class="guest")
    return Guest(number, token, encode(sign(secret, "form", number)), principal, new)


def posted_here(request: Request) -> bool:
    """Whether a request comes from our own page, as far as the browser says: by Sec-Fetch-Site, or by
    Origin where that is missing. Where both are, a POST is decided by its form token (fails open there,
    only there).
    """
    if (site := request.headers.get("sec-fetch-site")) is not None:
        return site in {"same-origin", "none"}
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host", "")


def form_token_fits(guest: Guest, token: str) -> bool:
    """Whether the page that posts was made for this guest. Fails closed."""
    return not guest.new and hmac.compare_digest(token.encode(), guest.form_token.encode())
