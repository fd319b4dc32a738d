"""``modu knowledge`` as operators type it, on a real folder and database."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from click.testing import Result
from typer.testing import CliRunner

from moduai.accounts.audit import list_entries
from moduai.cli import knowledge
from moduai.knowledge import store
from moduai.knowledge.connectors import law
from moduai.knowledge.parsing import Parsers
from moduai.store.database import Connection, Database
from tests.knowledge import open_api, plain

T = TypeVar("T")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader of plain text, in one process."""
    monkeypatch.setattr(knowledge, "Parsers", partial(Parsers, plain.read, 1))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "문서"
    made.mkdir()
    (made / "a.md").write_text("제1조 목적\n제2조 정의", encoding="utf-8")
    (made / "b.md").write_text("REFUSE", encoding="utf-8")
    return made


def run(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(knowledge.app, [*arguments, "--home", str(home)])


def said(home: Path, *arguments: str) -> Any:
    """The JSON answer of a command that must succeed."""
    result = run(home, *arguments, "--json")
    assert result.exit_code == 0, result.output
    return msgspec.json.decode(result.stdout)


def failed(home: Path, *arguments: str) -> str:
    """What a command says that must fail."""
    result = run(home, *arguments)
    assert result.exit_code in {1, 2}, result.output
    assert "Traceback" not in result.output
    return result.stderr


def read(home: Path, do: Callable[[Connection], Awaitable[T]]) -> T:
    """What the home folder's database says."""

    async def go() -> T:
        db = Database(f"sqlite+aiosqlite:///{home / 'modu.db'}")
        async with db.connect() as connection:
            found = await do(connection)
        await db.dispose()
        return found

    return asyncio.run(go())


def test_a_folder_is_added_listed_updated_and_removed(home: Path, folder: Path) -> None:
    (report,) = said(home, "add", str(folder), "--name", "법", "--licence", "KOGL-1")
    assert (report["added"], report["refused"], report["problems"][0]["code"]) == (1, 1, "encrypted")
    status = said(home, "status")
    (one,) = status["collections"]
    assert (one["name"], one["kind"], one["state"], one["documents"], one["passages"]) == (
        "법", "folder", "ready", 1, 2,
    )  # fmt: skip
    assert (status["search"], "search is away" in status["search_away"]) == (None, True)
    (document,) = said(home, "list", "법")
    assert (document["key"], document["licence"], document["version"]) == ("a.md", "KOGL-1", 1)
    (folder / "a.md").write_text("제1조 목적", encoding="utf-8")
    (folder / "c.md").write_text("새 문서", encoding="utf-8")
    (report,) = said(home, "update")
    assert (report["added"], report["changed"], report["same"], report["refused"]) == (1, 1, 0, 1)
    assert said(home, "list", "법", "--after", document["id"])[0]["key"] == "c.md"
    assert "without a question" in failed(home, "remove", "법")
    assert said(home, "remove", "법", "--yes") == {"id": one["id"], "name": "법", "documents": 2}
    assert said(home, "status")["collections"] == []
    assert read(home, lambda c: store.text(c, document["id"], 1)) is None
    entries = read(home, list_entries)
    assert [(entry.action, entry.actor, entry.target) for entry in entries] == [
        (f"knowledge.{what}", "cli", one["id"]) for what in ("remove", "update", "add")
    ]


def test_what_people_see(home: Path, folder: Path) -> None:
    assert run(home, "status").exit_code == 1  # no database yet
    told = run(home, "add", str(folder / "a.md")).output
    assert told == "a.md: 1 added\n"
    assert run(home, "add", str(folder), "--name", "x").output == (
        "x: 1 added, 1 refused\n  b.md: it is encrypted\n"
    )
    assert run(home, "update", "a.md", "--again").output == "a.md: 1 as before\n"
    shown = run(home, "status", "x").output
    assert "b.md" in shown
    assert "it is encrypted" in shown
    assert "제1조 목적" in run(home, "list", "x").output


def test_what_cannot_be_done_says_why(home: Path, folder: Path) -> None:
    assert "there is no file or folder" in failed(home, "add", "/no/such/place")
    assert "is not read" in failed(home, "add", "ftp://example.org/a")
    said(home, "add", str(folder))
    assert "is there already" in failed(home, "add", str(folder), "--name", "other")
    assert "there is no collection" in failed(home, "update", "none")
    assert "there is no collection" in failed(home, "list", "none")
    assert "there is no collection" in failed(home, "remove", "none", "--yes")
    assert "cannot be sought" in failed(home, "search", "q", "--in-force", "yesterday")
    assert "cannot be sought" in failed(home, "search", "q", "--kind", "novel")
    assert "search is away" in failed(home, "search", "q")
    assert "the service's own data" in failed(home, "add", str(home))


def test_one_source_that_is_away_keeps_no_other_from_being_read(home: Path, folder: Path) -> None:
    other = folder.parent / "other"
    other.mkdir()
    (other / "o.md").write_text("하나", encoding="utf-8")
    said(home, "add", str(folder), "--name", "a")
    said(home, "add", str(other), "--name", "b")
    for path in folder.iterdir():
        path.unlink()
    (other / "o.md").write_text("둘", encoding="utf-8")
    result = run(home, "update", "--json")
    assert result.exit_code == 1
    assert "a: the source is empty now" in result.stderr
    assert [one["changed"] for one in msgspec.json.decode(result.stdout)] == [1]


@pytest.fixture
def law_site(monkeypatch: pytest.MonkeyPatch) -> Iterator[open_api.Site]:
    """law.go.kr on the loopback, in a thread: the command has a loop of its own."""
    site = open_api.Site(answer=open_api.statutes([open_api.Law("000001", "모두살림법", "101")]))
    serves, ends = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with open_api.serving(site):
            serves.set()
            await ends.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert serves.wait(30)
    monkeypatch.setattr(law, "API", site.url)
    monkeypatch.setenv("MODU_OUTBOUND__PRIVATE", "127.0.0.1")
    yield site
    loop.call_soon_threadsafe(ends.set)
    thread.join()
    loop.close()


def test_an_open_api_is_added_and_updated_as_other_sources_are(
    home: Path, law_site: open_api.Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "wants a key: set knowledge.law_go_kr_key" in failed(
        home, "add", "law.go.kr:law", "--name", "법령"
    )
    monkeypatch.setenv("MODU_KNOWLEDGE__LAW_GO_KR_KEY", open_api.KEY)
    (report,) = said(home, "update", "법령")
    assert (report["added"], report["refused"]) == (1, 0)
    (one,) = said(home, "status", "law.go.kr:law")["collections"]
    assert (one["kind"], one["state"], one["documents"]) == ("api", "ready", 1)
    assert one["due_at"] > one["tried_at"] > 0
    assert open_api.KEY not in run(home, "status", "법령", "--json").output
    (document,) = said(home, "list", "법령")
    assert (document["key"], document["address"][:29]) == ("000001", "https://www.law.go.kr/%EB%B2%")
    assert said(home, "update")[0]["same"] == 1
    assert said(home, "remove", "법령", "--yes")["documents"] == 1
