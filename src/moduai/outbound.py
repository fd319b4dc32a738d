"""The outbound guard: what the service fetches for others goes through here.

Rule: an address of a private network is never reached unless the operator lists it, so nobody can look
at the inner network through us. The name is resolved once, every address it has is checked, and the
connection goes to an address that was checked (a second answer of the name server changes nothing).
No proxy is taken from the environment (certificates are: SSL_CERT_FILE); redirects are not followed; the
answer is bounded in size and time. Fails closed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Iterable
from functools import cache
from typing import Any

import httpx2

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

ANSWER_BYTES = 262_144
WITHIN_S = 10.0
CONNECT_S = 5.0
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
"""IPv4 addresses in other clothes (RFC 6052)."""
_OWN_NAT64 = ipaddress.ip_network("64:ff9b:1::/48")
"""The same for one network's own use, which decides where in an address the other one stands (RFC 8215)."""


class OutboundError(RuntimeError):
    """The fetch was refused, or its answer was too long or too late; the text says which."""


def networks(listed: Iterable[str]) -> tuple[Network, ...]:
    """The networks that a setting lists. Raises OutboundError."""
    try:
        return tuple(ipaddress.ip_network(text, strict=False) for text in listed)
    except ValueError as error:
        raise OutboundError(f"outbound.private: {error}") from None


def may_reach(address: Address, private: Iterable[Network] = ()) -> bool:
    """Whether an address is public, or in a listed network. Fails closed for what is not clear."""
    if any(address in network for network in private if network.version == address.version):
        return True
    if isinstance(address, ipaddress.IPv6Address):
        if address in _OWN_NAT64:
            return False
        if address in _NAT64:
            return may_reach(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF), private)
        inner = address.ipv4_mapped or address.sixtofour
        if inner is not None:
            return may_reach(inner, private)
        if address.teredo is not None:
            return False
    return address.is_global and not address.is_multicast


@cache
def _tls() -> ssl.SSLContext:
    """Reading the certificates takes some 100 ms, so it is done once."""
    return httpx2.create_ssl_context()


class Guard(httpx2.AsyncBaseTransport):
    """A transport for one client that reaches only what it may."""

    def __init__(self, private: Iterable[Network] = (), limit: int = ANSWER_BYTES) -> None:
        self._inner = httpx2.AsyncHTTPTransport(verify=_tls(), trust_env=False)
        self._private = tuple(private)
        self._limit = limit

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send the request to the first checked address that takes it. Raises OutboundError."""
        host = request.url.host
        failure: httpx2.TransportError | None = None
        port = request.url.port or (443, 80)[request.url.scheme == "http"]
        for address in await addresses(host, port, self._private):
            aimed = httpx2.Request(
                request.method,
                request.url.copy_with(host=str(address)),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": host},
            )
            try:
                response = await self._inner.handle_async_request(aimed)
            except httpx2.ConnectError as error:
                failure = error
                continue
            if response.headers.get("content-encoding", "identity") != "identity":
                await response.aclose()
                raise OutboundError("the answer is compressed, which was not asked for")
            return httpx2.Response(
                response.status_code,
                headers=response.headers,
                stream=_Bounded(response, self._limit),
                extensions=response.extensions,
            )
        raise failure or OutboundError(f"{host} has no address")

    async def aclose(self) -> None:
        """Close every connection."""
        await self._inner.aclose()


async def addresses(host: str, port: int, private: Iterable[Network] = ()) -> list[Address]:
    """All addresses of a host, if every one may be reached. Raises OutboundError. Fails closed."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise OutboundError(f"{host} is not known to the name server") from None
    parsed = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    private = tuple(private)
    if not all(may_reach(address, private) for address in parsed):
        raise OutboundError(f"{host} is a private address that outbound.private does not list")
    return list(dict.fromkeys(parsed))


class _Bounded(httpx2.AsyncByteStream):
    """The body as it came from the wire, broken off where it becomes too long."""

    def __init__(self, response: httpx2.Response, limit: int) -> None:
        self._response = response
        self._left = limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._response.stream:  # type: ignore[union-attr]
            self._left -= len(piece)
            if self._left < 0:
                raise OutboundError("the answer is too long")
            yield piece

    async def aclose(self) -> None:
        await self._response.aclose()


def client_options(private: Iterable[Network]) -> dict[str, Any]:
    """What a client of httpx2 is made with, so that it is guarded. Compressed answers are not asked for."""
    return {
        "transport": Guard(private),
        "follow_redirects": False,
        "trust_env": False,
        "timeout": httpx2.Timeout(WITHIN_S, connect=CONNECT_S),
        "headers": {"accept": "application/json", "accept-encoding": "identity", "user-agent": "modu"},
    }
