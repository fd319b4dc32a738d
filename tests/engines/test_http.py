"""HTTP to engines: framing in any split, and every way in which an answer can break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moduai.engines.address import AddressError, parse_url
from moduai.engines.chunked import Decoder, FramingError
from moduai.engines.http import FetchError, Head, fetch, parse_head


def frame(parts: list[bytes], *, last: bool = True) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + (b"0\r\n\r\n" if last else b"")


parts_of = st.lists(st.binary(min_size=1, max_size=3000), min_size=1, max_size=6)


@given(parts_of, st.lists(st.integers(0, 20_000), max_size=8))
def test_any_split_gives_the_payload(parts: list[bytes], cuts: list[int]) -> None:
    data, decoder, got = frame(parts), Decoder(), b""
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, end in pairwise(edges):
        if start < end:
            got += decoder.feed(data[start:end])
    assert got == b"".join(parts)
    assert decoder.done


@pytest.mark.parametrize(
    "data",
    [
        b"0x5\r\nhello\r\n", b"+5\r\nhello\r\n", b" 5\r\nhello\r\n", b"5\r\nhelloX\r\n", b"5_0\r\n", b"\r\n",
        b"z" * 400, b"0\r\n\r\nmore", b"fffffffff\r\n",
    ],
)  # fmt: skip
def test_unclear_framing_is_refused(data: bytes) -> None:
    with pytest.raises(FramingError):
        Decoder().feed(data)


def test_extensions_and_trailers_are_read_over() -> None:
    decoder = Decoder()
    assert decoder.feed(b"3;name=x\r\nabc\r\n0\r\nTrailer: y\r\n\r\n") == b"abc"
    assert decoder.done
    with pytest.raises(FramingError):
        decoder.feed(b"more")


def test_heads() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream; charset=utf-8\r\ntransfer-encoding: Chunked"
    assert parse_head(head) == Head(200, b"text/event-stream; charset=utf-8", -1, True, True)
    assert parse_head(b"HTTP/1.0 404\r\nContent-Length:7") == Head(404, b"", 7, False, False)
    assert not parse_head(b"HTTP/1.1 200 OK\r\nConnection: close").keep


@pytest.mark.parametrize(
    "head",
    [
        b"", b"SSH-2.0", b"HTTP/2 200", b"HTTP/1.1 2x0 OK", b"HTTP/1.1 2000",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip", b"HTTP/1.1 200 OK\nx: y",
    ],
)  # fmt: skip
def test_unclear_heads_are_refused(head: bytes) -> None:
    with pytest.raises(FramingError):
        parse_head(head)


@asynccontextmanager
async def saying(*parts: bytes, wait_s: float = 0.0, close: bool = True) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(wait_s)
            if not close:
                await reader.read()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    ("parts", "body"),
    [
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe", b"llo"], b"hello"),
        (
            [b"HTTP/1.1 200 OK\r\nTransfer-", b"Encoding: chunked\r\n\r\n5\r\nhel", b"lo\r\n0\r\n\r\n"],
            b"hello",
        ),
        ([b"HTTP/1.1 200 OK\r\n\r\nhel", b"lo"], b"hello"),
        ([b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"], b""),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], b""),
    ],
)
async def test_fetch(parts: list[bytes], body: bytes) -> None:
    async with saying(*parts, wait_s=0.01) as url:
        assert (await fetch(parse_url(url), "GET", "/x")).body == body


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe"], "closed"),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe"], "closed"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhello"], "more than"),
        ([b"nonsense\r\n\r\n"], "not HTTP"),
        ([b"x" * 70_000], "no end of its head"),
        ([b""], "closed"),
        ([b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 2000], "larger than"),
    ],
)
async def test_fetch_says_what_went_wrong(parts: list[bytes], reason: str) -> None:
    async with saying(*parts) as url:
        with pytest.raises(FetchError, match=reason):
            await fetch(parse_url(url), "GET", "/", limit=1000)


async def test_fetch_gives_up() -> None:
    async with saying(b"HTTP/1.1 200 OK\r\n", close=False) as url:
        with pytest.raises(FetchError, match=r"no answer within 0\.2 s"):
            await fetch(parse_url(url), "GET", "/", timeout_s=0.2)


@pytest.mark.parametrize(
    ("url", "authority", "prefix", "tls"),
    [
        ("http://gpu1:8000", "gpu1:8000", "", False),
        ("http://gpu1:8000/v1/", "gpu1:8000", "", False),
        ("https://cloud.example/openai/v1", "cloud.example", "/openai", True),
        ("http://[::1]:9000", "[::1]:9000", "", False),
        ("unix:///run/e.sock", "engine", "", False),
    ],
)
def test_addresses(url: str, authority: str, prefix: str, tls: bool) -> None:
    address = parse_url(url)
    assert (address.authority, address.prefix, address.tls) == (authority, prefix, tls)


@pytest.mark.parametrize(
    "url",
    [
        "gpu1:8000", "ftp://x", "http://", "http://a b", "http://u:p@x", "http://x?q", "http://x:99999", "unix://x",
        "unix:x", "http://x/\r\nHost: y",
    ],
)  # fmt: skip
def test_unclear_addresses_are_refused(url: str) -> None:
    with pytest.raises(AddressError):
        parse_url(url)
