"""The outbound guard: which addresses are reached, and that nobody talks it into others."""

import asyncio
import ipaddress
import socket

import httpx2
import pytest

from moduai import outbound
from moduai.outbound import OutboundError, client_options, may_reach, networks


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1", "127.8.8.8", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "0.0.0.0", "255.255.255.255", "224.0.0.1", "192.0.2.1", "198.18.0.1", "240.0.0.1",
        "::1", "::", "fe80::1", "fc00::1", "fd12::1", "ff02::1", "2001:db8::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1", "64:ff9b::a00:1",
        "64:ff9b:1:a00:0:100:808:808",
        "2001:0:7f00:1::1",
    ],
)  # fmt: skip
def test_private_addresses(text):
    assert not may_reach(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    "text", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"]
)
def test_public_addresses(text):
    assert may_reach(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("10.1.2.3", True),
        ("10.2.0.1", False),
        ("::ffff:10.1.2.3", True),
        ("64:ff9b::a01:203", True),
        ("fd00::9", True),
    ],
)
def test_listed_networks(text, good):
    assert may_reach(ipaddress.ip_address(text), networks(["10.1.0.0/16", "fd00::9"])) is good


def test_a_list_that_is_none():
    with pytest.raises(OutboundError, match=r"outbound\.private"):
        networks(["10.1.0.0/16", "intranet"])


@pytest.fixture
async def server():
    """A server on the loopback that says to whom it was addressed."""

    async def serve(reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split(" ")[1]
        host = next(line for line in head.split("\r\n") if line.lower().startswith("host:")).encode()
        status = b"302 Found\r\nlocation: /" if path == "/away" else b"200 OK"
        writer.write(
            b"HTTP/1.1 %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (status, len(host), host)
        )
        await writer.drain()
        writer.close()

    one = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield one.sockets[0].getsockname()[1]
    one.close()
    await one.wait_closed()


def names(monkeypatch, *answers):
    """A name server that gives these answers, one after the other; returns how often it was asked."""
    asked = []

    async def getaddrinfo(host, port, **_):
        asked.append(host)
        found = answers[min(len(asked), len(answers)) - 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    return asked


async def fetch(url, *private):
    async with httpx2.AsyncClient(**client_options(networks(private))) as client:
        return await client.get(url)


async def test_a_listed_address_is_reached_by_its_name(server, monkeypatch):
    names(monkeypatch, ["127.0.0.1"])
    answer = await fetch(f"http://login.example:{server}/", "127.0.0.1")
    assert answer.text.lower() == f"host: login.example:{server}"


async def test_a_name_of_a_private_address(server, monkeypatch):
    names(monkeypatch, ["127.0.0.1"])
    with pytest.raises(OutboundError, match="private"):
        await fetch(f"http://login.example:{server}/")


async def test_one_private_address_among_others_is_enough(server, monkeypatch):
    names(monkeypatch, ["8.8.8.8", "127.0.0.1"])
    with pytest.raises(OutboundError, match="private"):
        await fetch(f"http://login.example:{server}/")


async def test_a_second_answer_of_the_name_server_changes_nothing(server, monkeypatch):
    asked = names(monkeypatch, ["127.0.0.1"], ["169.254.169.254"])
    assert (await fetch(f"http://login.example:{server}/", "127.0.0.1")).status_code == 200
    assert asked == ["login.example"]


async def test_the_next_address_is_tried_where_one_does_not_answer(server, monkeypatch):
    names(monkeypatch, ["127.0.0.9", "127.0.0.1"])
    assert (await fetch(f"http://login.example:{server}/", "127.0.0.0/8")).status_code == 200


async def test_redirects_are_not_followed(server):
    assert (await fetch(f"http://127.0.0.1:{server}/away", "127.0.0.1")).status_code == 302


async def test_numbers_in_other_clothes(server):
    for host in ("2130706433", "0x7f.1", "127.1", "[::ffff:127.0.0.1]", "localhost"):
        with pytest.raises((OutboundError, httpx2.InvalidURL)):
            await fetch(f"http://{host}:{server}/")


async def test_a_name_that_nobody_knows():
    with pytest.raises(OutboundError, match="name server"):
        await fetch("https://" + "a" * 64 + ".example/")


async def test_long_answers_are_broken_off(server, monkeypatch):
    guard = outbound.Guard(networks(["127.0.0.1"]), limit=10)
    async with httpx2.AsyncClient(transport=guard) as client:
        with pytest.raises(OutboundError, match="too long"):
            await client.get(f"http://127.0.0.1:{server}/")
