"""Where documents come from: what is read of a folder, an address and a repository, and what never is."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from moduai.knowledge import git, sources
from moduai.knowledge.errors import SourceError
from moduai.knowledge.readers.limits import LIMITS
from moduai.knowledge.sources import Item, canonical, kind_of, opened
from moduai.outbound import networks

from .git_server import GitServer, commit, repository, serving
from .git_server import git as run_git

LOOPBACK = networks(["127.0.0.1"])


async def items(place: str | Path, home: Path, private: tuple[object, ...] = LOOPBACK) -> dict[str, Item]:
    """The items of a place, by key; their bytes are read while it is open."""
    kind = kind_of(str(place))
    async with opened(kind, canonical(kind, str(place)), home, private) as found:  # type: ignore[arg-type]
        return {one.key: one._replace(read=partial(_given, _data(one))) for one in found}


def _data(item: Item) -> bytes | Exception:
    try:
        return item.read()
    except (SourceError, OSError) as error:
        return error


def _given(data: bytes | Exception) -> bytes:
    if isinstance(data, Exception):
        raise data
    return data


async def refused(place: str | Path, home: Path, private: tuple[object, ...] = LOOPBACK) -> str:
    """The code with which a place is refused."""
    with pytest.raises(SourceError) as caught:
        await items(place, home, private)
    return caught.value.code


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "home"
    made.mkdir()
    (made / "keyring.md").write_text("a secret")
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "문서"
    (made / "가").mkdir(parents=True)
    (made / "가" / "민법.md").write_text("제1조", encoding="utf-8")
    (made / "b #1.TXT").write_text("one")
    (made / "picture.png").write_bytes(b"\x89PNG")
    (made / ".hidden.md").write_text("hidden")
    (made / ".git").mkdir()
    (made / ".git" / "config.md").write_text("hidden")
    return made


async def test_the_documents_of_a_folder(folder: Path, home: Path) -> None:
    found = await items(folder, home)
    assert list(found) == ["b %231.TXT", "가/민법.md"]
    assert found["가/민법.md"].read() == "제1조".encode()
    assert found["b %231.TXT"].name == "b #1.TXT"


async def test_links_and_what_is_no_file_are_not_followed(folder: Path, home: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.md").write_text("outside")
    (folder / "link.md").symlink_to(tmp_path / "outside.md")
    (folder / "linked").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(folder / "pipe.md")
    found = await items(folder, home)
    assert sorted(found) == ["b %231.TXT", "pipe.md", "가/민법.md"]
    with pytest.raises(SourceError, match="no regular file"):
        found["pipe.md"].read()


async def test_a_link_put_in_the_place_of_a_file_is_not_followed(folder: Path, home: Path) -> None:
    async with opened("folder", str(folder), home) as found:
        (folder / "가" / "민법.md").unlink()
        (folder / "가" / "민법.md").symlink_to(home / "keyring.md")
        with pytest.raises(OSError, match="symbolic links"):
            next(one for one in found if one.key == "가/민법.md").read()


async def test_the_services_own_data_is_no_document(home: Path, tmp_path: Path) -> None:
    assert await refused(home, home) == "own_data"
    assert await refused(home / "keyring.md", home) == "own_data"
    (tmp_path / "other.md").write_text("other")
    (tmp_path / "way").symlink_to(home, target_is_directory=True)
    assert await refused(tmp_path / "way", home) == "own_data"
    assert list(await items(tmp_path, home)) == ["other.md"]
    async with opened("folder", str(tmp_path), tmp_path / "way") as found:  # home named by a link
        assert [one.key for one in found] == ["other.md"]


async def test_names_that_are_not_utf_8(folder: Path, home: Path) -> None:
    (folder / "가" / "민법.md").rename(folder / os.fsdecode("보고서.txt".encode("cp949")))
    odd = next(one for key, one in (await items(folder, home)).items() if key.startswith("\\"))
    assert odd.key.encode() == odd.key.encode("ascii")
    assert (odd.name, odd.read()) == ("보고서.txt", "제1조".encode())


async def test_a_file_that_is_too_large(folder: Path, home: Path) -> None:
    with (folder / "large.txt").open("wb") as file:
        file.truncate(LIMITS.bytes + 1)
    with pytest.raises(SourceError, match="larger than 64 MB"):
        (await items(folder / "large.txt", home))["large.txt"].read()


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("https://example.org/a.pdf", "web"),
        ("https://example.org/laws.git", "git"),
        ("git+https://example.org/laws", "git"),
        ("https://github.com/legalize-kr/legalize-kr", "git"),
        ("https://github.com/legalize-kr/legalize-kr/blob/main/a.md", "web"),
    ],
)
def test_what_somebody_means(place: str, kind: str) -> None:
    assert kind_of(place) == kind


@pytest.mark.parametrize(
    ("place", "code"),
    [
        ("file:///etc/passwd", "scheme"),
        ("ssh://git@example.org/laws.git", "scheme"),
        ("ext::sh -c touch% /tmp/x", "not_there"),
        ("/no/such/folder", "not_there"),
        ("http://[", "address"),
        ("https:///nothing.git", "address"),
        ("https://somebody:secret@example.org/a.pdf", "secret"),
        ("https://www.law.go.kr/DRF/lawService.do?target=law&OC=somebody&MST=1", "secret"),
        ("https://api.odcloud.kr/api/gov24/v3/serviceList?serviceKey=x", "secret"),
    ],
)
def test_what_is_no_source(place: str, code: str) -> None:
    with pytest.raises(SourceError) as caught:
        canonical(kind_of(place), place)
    assert caught.value.code == code


@pytest.fixture
async def site() -> AsyncIterator[tuple[str, dict[str, bytes]]]:
    """A server on the loopback: its address, and its answers by path."""
    answers: dict[str, bytes] = {}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode()
        writer.write(answers.get(path, b"HTTP/1.1 404 -\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", answers


def page(body: bytes, media: str = "text/html; charset=utf-8") -> bytes:
    return (
        f"HTTP/1.1 200 -\r\ncontent-type: {media}\r\nconnection: close\r\n"
        f"content-length: {len(body)}\r\n\r\n".encode()
        + body
    )


def sent_to(address: str) -> bytes:
    return f"HTTP/1.1 302 -\r\nlocation: {address}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode()


async def test_a_page_at_an_address(site: tuple[str, dict[str, bytes]], home: Path) -> None:
    url, answers = site
    answers["/guide"] = sent_to("/ko/guide")
    answers["/ko/guide"] = page(b"<p>hello</p>")
    found = (await items(f"{url}/guide", home))[f"{url}/guide"]
    assert (found.name, found.read(), found.address) == ("guide.html", b"<p>hello</p>", f"{url}/guide")


async def test_addresses_that_are_refused(site: tuple[str, dict[str, bytes]], home: Path) -> None:
    url, answers = site
    answers["/loop"] = sent_to("/loop")
    answers["/file"] = sent_to("file:///etc/passwd")
    answers["/inner"] = sent_to("http://10.0.0.1/")
    assert await refused(f"{url}/none", home) == "fetch"
    assert await refused(f"{url}/loop", home) == "fetch"
    assert await refused(f"{url}/file", home) == "redirect"
    assert await refused(f"{url}/inner", home) == "fetch"
    answers["/page"] = page(b"x")
    assert await refused(f"{url}/page", home, ()) == "fetch"


async def test_a_page_without_end_is_broken_off(
    site: tuple[str, dict[str, bytes]], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, answers = site
    monkeypatch.setattr(sources, "LIMITS", type(LIMITS)(bytes=1000))
    answers["/long"] = page(b"x" * 1001)
    assert await refused(f"{url}/long", home) == "fetch"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[GitServer]:
    made = repository(
        tmp_path / "served" / "laws.git",
        {"kr/민법/법률.md": "제1조", "LICENSE.txt": "MIT", "logo.svg": "<svg/>", ".github/a.md": "hidden"},
    )
    (made / "link.md").symlink_to("/etc/passwd")
    (made / ".gitattributes").write_text("*.md filter=evil\n")
    (made / ".git" / "hooks" / "post-checkout").write_text("#!/bin/sh\ntouch /tmp/never\n")
    commit(made, {})
    async with serving(tmp_path / "served") as opened_server:
        yield opened_server


async def test_the_documents_of_a_repository(server: GitServer, home: Path) -> None:
    found = await items(f"{server.url}/laws.git", home)
    assert list(found) == ["LICENSE.txt", "kr/민법/법률.md"]
    assert found["kr/민법/법률.md"].read() == "제1조".encode()
    assert found["LICENSE.txt"].address == f"{server.url}/laws.git"


async def test_only_the_newest_commit_is_fetched(server: GitServer, tmp_path: Path) -> None:
    commit(tmp_path / "served" / "laws.git", {"kr/민법/법률.md": "제1조 (개정)"})
    async with git.cloned(f"{server.url}/laws.git", LOOPBACK) as clone:
        folder = clone.folder
        assert run_git(folder, "rev-list", "--count", "--all").strip() == "1"
        assert clone.reader("kr/민법/법률.md")() == "제1조 (개정)".encode()
    assert not folder.exists()


async def test_a_repository_that_is_refused(
    server: GitServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"{server.url}/laws.git"
    assert await refused(address, home, ()) == "fetch"
    assert not server.asked
    assert await refused(f"{server.url}/none.git", home) == "git"
    async with serving(server.folder) as other:
        server.redirect = other.url
        assert await refused(address, home) == "git"
        assert not other.asked
    server.redirect = ""
    monkeypatch.setattr(git, "CLONE_S", 0.001)
    assert await refused(address, home) == "too_slow"


async def test_git_connects_to_the_address_that_was_checked(
    server: GitServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that git could not resolve itself: it reaches the server by the checked address only."""
    asked = []

    async def resolved(host: str, port: int, private: object = ()) -> list[object]:
        asked.append((host, port))
        return [next(iter(LOOPBACK)).network_address]

    monkeypatch.setattr(git, "addresses", resolved)
    found = await items(f"http://no-such-host.invalid:{server.port}/laws.git", home)
    assert found["LICENSE.txt"].read() == b"MIT"
    assert asked == [("no-such-host.invalid", server.port)]


async def test_a_pack_that_is_too_large(
    server: GitServer, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = os.urandom(400_000).hex()
    commit(tmp_path / "served" / "laws.git", {"noise.md": noise})
    monkeypatch.setattr(git, "_BOUNDED", git._BOUNDED.replace(str(git.CLONE_BYTES), "100000"))
    assert await refused(f"{server.url}/laws.git", home) == "git"


async def test_a_file_of_a_repository_that_is_too_large(
    server: GitServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git, "LIMITS", type(LIMITS)(bytes=5))
    found = await items(f"{server.url}/laws.git", home)
    assert found["LICENSE.txt"].read() == b"MIT"
    with pytest.raises(SourceError, match="larger than"):
        found["kr/민법/법률.md"].read()


async def test_the_addresses_of_files_at_a_known_site(tmp_path: Path) -> None:
    repository(tmp_path / "r", {"a.md": "x"})
    clone = git.Clone(tmp_path / "r", "https://github.com/o/r.git", "abc", {})
    assert clone.address("가 나.md") == "https://github.com/o/r/blob/abc/%EA%B0%80%20%EB%82%98.md"
    clone.close()
