"""An issuer that says whatever a test wants: honest by default, then wrong in one thing at a time."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

CLIENT = "modu"
KEY = ECKey.generate_key("P-256", {"kid": "one", "use": "sig", "alg": "ES256"})
RSA = RSAKey.generate_key(2048, {"kid": "two", "use": "sig", "alg": "RS256"})
STRANGER = ECKey.generate_key("P-256", {"kid": "one", "use": "sig", "alg": "ES256"})


@dataclass
class Issuer:
    """What it answers, and what it saw."""

    url: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    """Changes to the metadata; None takes one out."""
    claims: dict[str, Any] = field(default_factory=dict)
    header: dict[str, Any] = field(default_factory=dict)
    key: Any = field(default_factory=lambda: KEY)
    keys: list[Any] = field(default_factory=lambda: [KEY])
    sign: Callable[[bytes], bytes] | None = None
    """Signs instead of ``key``, whatever the head says."""
    token: dict[str, Any] | None = None
    """Instead of the whole answer of the token endpoint."""
    userinfo: dict[str, Any] | None = None
    raw: dict[str, bytes] = field(default_factory=dict)
    """Instead of the whole HTTP answer, by path."""
    slow: dict[str, float] = field(default_factory=dict)
    """Seconds of silence before an answer, by path."""
    nonce: str = ""
    """Of the attempt; a test sets it as the browser would carry it."""
    seen: list[tuple[str, dict[str, str], dict[str, list[str]]]] = field(default_factory=list)

    def answer(self, path: str) -> Any:
        """The honest answer, with what was changed."""
        if path == "/.well-known/openid-configuration":
            whole = {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/authorize?tenant=a b",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/keys",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256", "RS256", "HS256", "none"],
                "code_challenge_methods_supported": ["S256"],
                **({"userinfo_endpoint": f"{self.url}/userinfo"} if self.userinfo is not None else {}),
                **self.metadata,
            }
            return {name: value for name, value in whole.items() if value is not None}
        if path == "/keys":
            return {"keys": [each.as_dict(private=False) for each in self.keys]}
        if path == "/token":
            return self.token or {"access_token": "a", "token_type": "Bearer", "id_token": self.signed()}
        return self.userinfo

    def signed(self) -> str:
        """An ID token."""
        now = int(time.time())
        claims = {
            "iss": self.url,
            "sub": "person 7",
            "aud": CLIENT,
            "iat": now,
            "exp": now + 300,
            "nonce": self.nonce,
            **self.claims,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        header = {"alg": "ES256", "kid": "one", **self.header}
        if self.sign is None:
            return jwt.encode(header, claims, self.key, algorithms=["ES256", "RS256"])
        first = b".".join(_part(json.dumps(each).encode()) for each in (header, claims))
        return (first + b"." + _part(self.sign(first))).decode()


@asynccontextmanager
async def running() -> AsyncIterator[Issuer]:
    """An issuer on a free port."""
    issuer = Issuer()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method_path, *lines = head.split("\r\n")
            headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines if line)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            path = method_path.split(" ")[1]
            issuer.seen.append((path, headers, parse_qs(body.decode())))
            await asyncio.sleep(issuer.slow.get(path, 0))
            writer.write(issuer.raw.get(path) or http(json.dumps(issuer.answer(path)).encode()))
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    issuer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield issuer
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _part(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def http(body: bytes, status: str = "200 OK", *, kind: str = "application/json", length: int = -1) -> bytes:
    """An HTTP answer."""
    size = len(body) if length < 0 else length
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {size}\r\nconnection: close\r\n\r\n"
    return head.encode() + body
