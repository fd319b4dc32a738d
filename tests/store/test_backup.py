"""Backups of real home folders, restored into empty ones, by the command line where it counts."""

from __future__ import annotations

import asyncio
import csv
import gzip
import hashlib
import io
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import threading
import time
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from click.testing import Result
from msgspec.structs import asdict
from sqlalchemy import select, text, update
from typer.testing import CliRunner

from moduai import service, settings
from moduai.accounts.invitations import find_invitation, invite, use_invitation
from moduai.accounts.keys import create_key, load_principals
from moduai.accounts.people import create_person, find_people
from moduai.accounts.sessions import digest as session_digest
from moduai.accounts.sessions import end_all, find_session, start_session
from moduai.cli.backup import backup_app, restore_app
from moduai.cli.prepare import prepare_home
from moduai.engines.tables import engines
from moduai.gateway.tables import switches
from moduai.history.forgetting import delete_account
from moduai.metering.loader import Loader, put_usage
from moduai.metering.row import UsageRow
from moduai.metering.segment import SegmentWriter
from moduai.metering.tables import usage
from moduai.metering.taken import Taken, recover
from moduai.settings import Ledger, Loaded
from moduai.store import migrate
from moduai.store.backup import BackupError, backup, restore
from moduai.store.database import Database, metadata
from moduai.store.feed import announce
from moduai.store.keyring import Keyring
from moduai.store.keyring_copy import copy_keyring
from moduai.store.subjects import SubjectKeys
from moduai.store.tables import changes
from moduai.store.versions import head
from tests.databases import Postgres

ROWS = 300


def loaded_of(home: Path) -> Loaded:
    return settings.load(home, {})


def sealed_engine(home: Path) -> dict[str, object]:
    sealed = Keyring.open(home).seal("engine", b"sk-secret")
    return {
        "id": "eng_1", "name": "big one", "url": "http://10.0.0.5", "kind": "vllm", "sealed_key": sealed,
        "state": "active", "concurrency": 8, "hardware": {}, "models": [], "follows": True,
        "created_at": 1, "updated_at": 1,
    }  # fmt: skip


def rows(writer: SegmentWriter, numbers: range) -> None:
    for number in numbers:
        writer.add(UsageRow(id=f"r{number:05}", at=number, subject="sub_1"))
    writer.flush()


@pytest.fixture
async def home(tmp_path: Path) -> Path:
    """A home folder with a key, an engine whose key is sealed, loaded usage, and usage that is not."""
    made = tmp_path / "home"
    url = loaded_of(made).database_url
    await migrate.upgrade(url)
    (made / "modu.toml").write_text("[web]\ntitle = '서울 AI'\n")
    db = Database(url)
    async with db.begin() as connection:
        await create_key(connection, name="first")
        await connection.execute(engines.insert().values(sealed_engine(made)))
    writer = SegmentWriter(made / "usage", Ledger(), "w0")
    rows(writer, range(ROWS - 100))
    await Loader(db, made / "usage").load_once()
    rows(writer, range(ROWS - 100, ROWS))
    writer.close()
    await db.dispose()
    return made


async def contents(home: Path) -> tuple[list[str], int, int]:
    """Ids of usage once all segments are loaded, how many keys are valid, how many engines there are."""
    db = Database(loaded_of(home).database_url)
    await Loader(db, home / "usage").load_once()
    async with db.connect() as connection:
        ids = list(await connection.scalars(select(usage.c.id).order_by(usage.c.id)))
        found = (
            ids,
            len(await load_principals(connection)),
            len((await connection.execute(select(engines))).all()),
        )
    await db.dispose()
    return found


EVERYTHING = ([f"r{number:05}" for number in range(ROWS)], 1, 1)


async def test_a_backup_comes_back_into_an_empty_home(home: Path, tmp_path: Path) -> None:
    told: list[str] = []
    backup(loaded_of(home), tmp_path / "b.tar.gz", lambda what, *_: told.append(what))
    assert os.stat(tmp_path / "b.tar.gz").st_mode & 0o777 == 0o600  # noqa: PTH116
    new = tmp_path / "new"
    done = restore(loaded_of(new), tmp_path / "b.tar.gz", progress=lambda what, *_: told.append(what))
    assert set(told) == {"copying the database", "packing", "unpacking"}
    assert done.replaced is None
    assert loaded_of(new).settings.web.title == "서울 AI"
    assert (new / "modu.db").stat().st_mode & 0o777 == 0o600
    assert new.stat().st_mode & 0o777 == 0o700
    assert await contents(new) == EVERYTHING
    assert sorted(os.listdir(tmp_path)) == ["b.tar.gz", "home", "new"]  # noqa: PTH208


def test_a_backup_to_a_disk_without_links(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    file = tmp_path / "b.tar.gz"
    manifest = backup(loaded_of(home), file)
    assert restore(loaded_of(tmp_path / "new"), file).manifest == manifest
    with pytest.raises(BackupError, match="there already"):
        backup(loaded_of(home), file)
    assert sorted(os.listdir(tmp_path)) == ["b.tar.gz", "home", "new"]  # noqa: PTH208


def test_the_keyring_and_its_secrets_are_not_in_it(home: Path, tmp_path: Path) -> None:
    backup(loaded_of(home), tmp_path / "b.tar.gz")
    with tarfile.open(tmp_path / "b.tar.gz") as archive:
        names = archive.getnames()
    assert names[-1] == "manifest.json"
    assert {name.split("/")[0] for name in names} == {"modu.toml", "usage", "modu.db", "manifest.json"}
    assert not [name for name in names if name.endswith(("-wal", "-shm"))]
    content = gzip.decompress((tmp_path / "b.tar.gz").read_bytes())
    assert (home / "keyring" / "master.key").read_bytes().strip() not in content
    assert b"sk-secret" not in content


async def test_a_backup_under_load_has_all_that_was_there_when_it_began(home: Path, tmp_path: Path) -> None:
    """A writer, a loader and the copy at once: no row from before is missing, none is there twice."""
    stop = threading.Event()
    begun = threading.Event()

    def write() -> None:
        writer = SegmentWriter(home / "usage", Ledger(segment_bytes=20_000), "w1")
        number = ROWS
        while not stop.is_set():
            rows(writer, range(number, number + 20))
            number += 20
            begun.set()
            time.sleep(0.002)
        writer.close()

    async def load() -> None:
        db = Database(loaded_of(home).database_url)
        while not stop.is_set():
            await Loader(db, home / "usage").load_once()
            await asyncio.sleep(0.02)
        await db.dispose()

    async def copy() -> None:
        await asyncio.to_thread(begun.wait, 10)
        for number in range(3):
            await asyncio.to_thread(backup, loaded_of(home), tmp_path / f"b{number}.tar.gz")
        stop.set()

    await asyncio.gather(asyncio.to_thread(write), load(), copy())
    for number in range(3):
        restore(loaded_of(tmp_path / f"new{number}"), tmp_path / f"b{number}.tar.gz")
        ids, _, _ = await contents(tmp_path / f"new{number}")
        assert len(ids) >= ROWS
        assert ids == [f"r{one:05}" for one in range(len(ids))]  # no gap, nothing twice


def run(app: object, *arguments: object) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments], env={"COLUMNS": "200"})  # type: ignore[arg-type]


def test_without_the_keyring_one_line_says_what_cannot_be_read(home: Path, tmp_path: Path) -> None:
    written = run(backup_app, tmp_path / "b.tar.gz", "--home", home)
    assert written.exit_code == 0, written.output
    assert "The keyring is not in it" in written.stdout
    result = run(restore_app, tmp_path / "b.tar.gz", "--home", tmp_path / "new")
    assert result.exit_code == 0, result.output
    (line,) = result.stderr.splitlines()
    assert "keys of these engines cannot be read: big one" in line
    assert "put back" in line


def test_with_another_keyring_the_same_line(home: Path, tmp_path: Path) -> None:
    run(backup_app, tmp_path / "b.tar.gz", "--home", home)
    Keyring.open(tmp_path / "new")
    result = run(restore_app, tmp_path / "b.tar.gz", "--home", tmp_path / "new")
    assert "not the one they were sealed with" in result.stderr


def test_with_the_keyring_nothing_is_amiss(home: Path, tmp_path: Path) -> None:
    run(backup_app, tmp_path / "b.tar.gz", "--home", home)
    shutil.copytree(home / "keyring", tmp_path / "new" / "keyring")
    result = run(restore_app, tmp_path / "b.tar.gz", "--home", tmp_path / "new", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert msgspec.json.decode(result.stdout)["unreadable"] == ""


async def add_people(home: Path, *names: str) -> SubjectKeys:
    keys = SubjectKeys.open(home, Keyring.open(home))
    db = Database(loaded_of(home).database_url)
    async with db.begin() as connection:
        for name in names:
            await create_person(connection, keys, name=name)
    await db.dispose()
    return keys


async def names_of(home: Path) -> list[str]:
    keys, db = SubjectKeys.open(home, Keyring.open(home)), Database(loaded_of(home).database_url)
    async with db.connect() as connection:
        found = await find_people(connection, keys)
    await db.dispose()
    keys.close()
    return sorted(person.name for person in found)


async def test_what_was_ended_since_the_backup_is_not_open_again(home: Path, tmp_path: Path) -> None:
    """Signed out everywhere is signed out, and a link that works once has worked."""
    keys = await add_people(home, "Kim")
    db, now = Database(loaded_of(home).database_url), time.time()
    async with db.begin() as connection:
        (kim,) = await find_people(connection, keys)
        token, _ = await start_session(connection, kim, "", now)
        link, _ = await invite(connection, role="admin")
    assert (await asyncio.to_thread(run, backup_app, tmp_path / "b.tar.gz", "--home", home)).exit_code == 0
    async with db.begin() as connection:
        await end_all(connection, kim.id)
        await use_invitation(connection, link, kim.id, now)
    await db.dispose()
    keys.close()
    result = await asyncio.to_thread(
        run, restore_app, tmp_path / "b.tar.gz", "--force", "--json", "--home", home
    )
    told = msgspec.json.decode(result.stdout)
    assert (told["signed_out"], told["invitations"]) == (1, 1), result.output
    db = Database(loaded_of(home).database_url)
    async with db.connect() as connection:
        assert await find_session(connection, session_digest(token.encode()), now) is None
        assert await find_invitation(connection, link, now) is None
    await db.dispose()
    assert await names_of(home) == ["Kim"]


def test_a_copy_of_the_keyring_brings_back_what_is_sealed(home: Path, tmp_path: Path) -> None:
    """Each person has a key in it, so a copy that is older than the backup lacks some."""
    vault, new = tmp_path / "vault", tmp_path / "new"
    keys = asyncio.run(add_people(home, "Kim"))
    older = run(backup_app, "--keyring", tmp_path / "older", "--home", home)
    asyncio.run(add_people(home, "Lee")).close()
    assert run(backup_app, tmp_path / "b.tar.gz", "--home", home).exit_code == 0
    copied = run(backup_app, "--keyring", vault, "--home", home, "--json")
    assert (older.exit_code, copied.exit_code) == (0, 0), copied.output
    keys.close()
    assert {"master.key", "subjects.db"} <= set(msgspec.json.decode(copied.stdout)["files"])
    assert [path.stat().st_mode & 0o077 for path in (vault, *vault.iterdir())].count(0) == 1 + len(
        list(vault.iterdir())
    )
    assert run(restore_app, tmp_path / "b.tar.gz", "--home", new).stderr.count("2 of 2 people looked at") == 1
    shutil.copytree(tmp_path / "older", new / "keyring")
    again = run(restore_app, tmp_path / "b.tar.gz", "--home", new, "--force")
    assert "1 of 2 people looked at cannot be read" in again.stderr
    assert len([name for name in asyncio.run(names_of(new)) if name]) == 1
    shutil.rmtree(new / "keyring")
    shutil.copytree(vault, new / "keyring")
    assert run(restore_app, tmp_path / "b.tar.gz", "--home", new, "--force").stderr == ""
    assert asyncio.run(names_of(new)) == ["Kim", "Lee"]


def test_a_copy_of_the_keyring_under_writes_is_whole(home: Path, tmp_path: Path) -> None:
    keys, stop = SubjectKeys.open(home, Keyring.open(home)), threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            keys.create(f"sub_{number}")
            number += 1

    writing = threading.Thread(target=write)
    writing.start()
    try:
        for number in range(5):
            copy_keyring(home, tmp_path / f"copy-{number}")
    finally:
        stop.set()
        writing.join()
    keys.close()
    for number in range(5):
        with closing(sqlite3.connect(tmp_path / f"copy-{number}" / "subjects.db")) as copy:
            assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert sorted(path.name for path in (tmp_path / f"copy-{number}").iterdir()) == [
            "master.key",
            "subjects.db",
        ]


def test_a_copy_of_the_keyring_that_cannot_be_made_is_one_line(home: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for arguments, words in (
        (["--keyring", tmp_path / "there"], "is there already"),
        (["--keyring", tmp_path / "no" / "folder"], "could not be copied"),
        (["--keyring", tmp_path / "x", "--home", tmp_path / "none"], "there is no keyring"),
        ([tmp_path / "b.tar.gz", "--keyring", tmp_path / "x"], "two places"),
    ):
        result = run(backup_app, "--home", home, *arguments)
        (line,) = result.stderr.splitlines()
        assert (result.exit_code > 0, words in line) == (True, True), line
    assert list((tmp_path / "there").iterdir()) == []
    assert not list(tmp_path.glob(".*"))


async def test_a_home_with_data_is_replaced_only_by_force_and_kept(home: Path, tmp_path: Path) -> None:
    backup(loaded_of(home), tmp_path / "b.tar.gz")
    with pytest.raises(BackupError, match="has data"):
        restore(loaded_of(home), tmp_path / "b.tar.gz")
    assert await contents(home) == EVERYTHING
    with closing(sqlite3.connect(home / "modu.db")) as connection, connection:
        connection.execute("DELETE FROM usage")
    done = restore(loaded_of(home), tmp_path / "b.tar.gz", force=True)
    assert await contents(home) == EVERYTHING
    assert done.replaced is not None
    with closing(sqlite3.connect(done.replaced / "modu.db")) as connection:
        assert connection.execute("SELECT count(*) FROM usage").fetchone() == (0,)
    assert (done.replaced / "modu.toml").exists()


def test_a_restored_database_has_its_index_built_anew(home: Path, tmp_path: Path) -> None:
    backup(loaded_of(home), tmp_path / "b.tar.gz")
    source = loaded_of(home).index_source
    source.parent.mkdir(exist_ok=True)
    source.write_text("of the database that was there")
    restore(loaded_of(home), tmp_path / "b.tar.gz", force=True)
    assert not source.exists()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_a_restore_that_was_killed_lets_nothing_start_until_it_is_done_again(
    home: Path, tmp_path: Path, postgres: Postgres, kind: str
) -> None:
    """Killed when the database of PostgreSQL is filled and the files are still those of before."""
    if kind == "postgresql":
        await serve(home, postgres)
    loaded, file = loaded_of(home), tmp_path / "b.tar.gz"
    await asyncio.to_thread(backup, loaded, file)
    kill = (
        "import os, sys\nfrom pathlib import Path\nfrom moduai import settings\n"
        "from moduai.store import backup\nbackup._move_in = lambda *_: os.kill(os.getpid(), 9)\n"
        "backup.restore(settings.load(Path(sys.argv[1]), {}), Path(sys.argv[2]), force=True)"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", kill, home, file]
    killed = await asyncio.to_thread(subprocess.run, command, env=environ, check=False)
    assert killed.returncode == -9
    with pytest.raises(service.NotStartedError, match="restore --force"):
        prepare_home(home)
    (tmp_path / "bad.tar.gz").write_bytes(file.read_bytes()[:1000])
    with pytest.raises(BackupError):
        await asyncio.to_thread(restore, loaded_of(home), tmp_path / "bad.tar.gz", force=True)
    with pytest.raises(service.NotStartedError):
        prepare_home(home)
    await asyncio.to_thread(restore, loaded_of(home), file, force=True)
    prepare_home(home)
    assert {".restore", "restoring"}.isdisjoint(one.partition("-")[0] for one in await names(home))
    assert set(EVERYTHING[0]) <= set((await contents(home))[0])


async def names(folder: Path) -> list[str]:
    return await asyncio.to_thread(lambda: [one.name for one in folder.iterdir()])


async def test_requests_under_way_come_back_too(home: Path, tmp_path: Path) -> None:
    """Of a gateway that lives and of one that died: rows, those that had only begun with their error."""
    fields = ("sub_1", "org_1", "key_1", "resident", "", "", "", "chat", "m")
    dead, alive = Taken(home / "usage", "w"), Taken(home / "usage", "w")
    dead.begin(("begun", 1, *fields))
    ended = dead.begin(("ended", 2, *fields))
    dead.end(ended, UsageRow("ended", 2, *fields, tokens_out=7))
    alive.begin(("running", 3, *fields))
    dead._map.close()
    os.close(dead._handle)
    backup(loaded_of(home), tmp_path / "b.tar.gz")
    new = tmp_path / "new"
    restore(loaded_of(new), tmp_path / "b.tar.gz")
    alive.close()
    await contents(new)
    db = Database(loaded_of(new).database_url)
    assert await recover(db, new / "usage") == 3
    async with db.connect() as connection:
        found = await connection.execute(select(usage.c.id, usage.c.error, usage.c.tokens_out))
        there = {tuple(row) for row in found if not row.id.startswith("r0")}
    await db.dispose()
    assert there == {("begun", "gateway_died", 0), ("ended", "", 7), ("running", "gateway_died", 0)}
    restore(loaded_of(home), tmp_path / "b.tar.gz", force=True)
    assert len(list((home / "usage").glob("*.taken"))) == 2, "those that were there are set aside"


def test_a_running_service_is_not_restored_over(home: Path, tmp_path: Path) -> None:
    run(backup_app, tmp_path / "b.tar.gz", "--home", home)
    lock = service.hold(home)
    result = run(restore_app, tmp_path / "b.tar.gz", "--home", home, "--force")
    os.close(lock)
    assert result.exit_code == 1
    assert "already runs" in result.stderr


def test_an_existing_file_is_not_written_over(home: Path, tmp_path: Path) -> None:
    (tmp_path / "b.tar.gz").write_text("precious")
    result = run(backup_app, tmp_path / "b.tar.gz", "--home", home)
    assert result.exit_code == 1
    assert "name another file" in result.stderr
    assert (tmp_path / "b.tar.gz").read_text() == "precious"


def test_a_folder_that_is_not_there_is_one_line(home: Path, tmp_path: Path) -> None:
    result = run(backup_app, tmp_path / "none" / "b.tar.gz", "--home", home)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1


def test_nothing_to_back_up_is_said(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="no data"):
        backup(loaded_of(tmp_path / "empty"), tmp_path / "b.tar.gz")


def rewritten(
    source: Path, target: Path, change: dict[str, bytes | None], extra: tarfile.TarInfo | None = None
) -> None:
    """A copy of an archive with members changed (None: left out) and one added in front."""
    with tarfile.open(source) as old, tarfile.open(target, "w:gz") as new:
        if extra:
            new.addfile(extra, io.BytesIO(bytes(extra.size)))
        for member in old.getmembers():
            content = old.extractfile(member)
            assert content is not None
            data = change.get(member.name, content.read())
            if data is not None:
                member.size = len(data)
                new.addfile(member, io.BytesIO(data))


def link(name: str) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return made


@pytest.mark.parametrize(
    ("change", "extra", "words"),
    [
        ({"modu.toml": b"[web]\n"}, None, "modu.toml is not what was backed up"),
        ({"modu.toml": None}, None, "modu.toml is not what was backed up"),
        ({"manifest.json": None}, None, "cut off"),
        ({"manifest.json": b"{}"}, None, "no backup of Modu"),
        ({}, tarfile.TarInfo("../evil"), "which no backup has"),
        ({}, tarfile.TarInfo("/etc/evil"), "which no backup has"),
        ({}, tarfile.TarInfo("usage/../../evil.jsonl"), "which no backup has"),
        ({}, tarfile.TarInfo("keyring/master.key"), "which no backup has"),
        ({}, tarfile.TarInfo("usage/extra.jsonl"), "usage/extra.jsonl is not what was backed up"),
        ({}, link("modu.toml"), "which no backup has"),
    ],
)
def test_what_was_tampered_with_is_refused_and_changes_nothing(
    home: Path, tmp_path: Path, change: dict[str, bytes | None], extra: tarfile.TarInfo | None, words: str
) -> None:
    backup(loaded_of(home), tmp_path / "b.tar.gz")
    rewritten(tmp_path / "b.tar.gz", tmp_path / "evil.tar.gz", change, extra)
    before = sorted(str(file) for file in tmp_path.rglob("*"))
    with pytest.raises(BackupError, match=words):
        restore(loaded_of(home), tmp_path / "evil.tar.gz", force=True)
    assert sorted(str(file) for file in tmp_path.rglob("*")) == before


@pytest.mark.parametrize("cut", [0, 10, 1000, 3000])
def test_a_cut_off_file_is_refused(home: Path, tmp_path: Path, cut: int) -> None:
    backup(loaded_of(home), tmp_path / "b.tar.gz")
    (tmp_path / "cut.tar.gz").write_bytes((tmp_path / "b.tar.gz").read_bytes()[:cut])
    with pytest.raises(BackupError):
        restore(loaded_of(tmp_path / "new"), tmp_path / "cut.tar.gz")
    assert list((tmp_path / "new").iterdir()) == []


def test_a_backup_of_a_newer_modu_is_refused(home: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(home / "modu.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    backup(loaded_of(home), tmp_path / "b.tar.gz")
    with pytest.raises(BackupError, match="schema 9999"):
        restore(loaded_of(tmp_path / "new"), tmp_path / "b.tar.gz")


def test_settings_that_do_not_fit_are_refused(home: Path, tmp_path: Path) -> None:
    (home / "modu.toml").write_text("[web]\n")
    backup(loaded_of(home), tmp_path / "b.tar.gz")
    manifest = msgspec.json.decode(_member(tmp_path / "b.tar.gz", "manifest.json"))
    bad = b"[web]\nno_such = 1\n"
    manifest["files"]["modu.toml"] = {"size": len(bad), "sha256": hashlib.sha256(bad).hexdigest()}
    change: dict[str, bytes | None] = {"modu.toml": bad, "manifest.json": msgspec.json.encode(manifest)}
    rewritten(tmp_path / "b.tar.gz", tmp_path / "bad.tar.gz", change)
    with pytest.raises(BackupError, match="there is no setting web"):
        restore(loaded_of(tmp_path / "new"), tmp_path / "bad.tar.gz")


def _member(file: Path, name: str) -> bytes:
    with tarfile.open(file) as archive:
        content = archive.extractfile(name)
        assert content is not None
        return content.read()


# PostgreSQL


@pytest.fixture
async def served(home: Path, postgres: Postgres) -> Path:
    return await serve(home, postgres)


async def serve(home: Path, postgres: Postgres) -> Path:
    """The home folder with its database on PostgreSQL, where every kind of column has something odd."""
    (home / "modu.db").unlink()
    url = await postgres.make()
    (home / "modu.toml").write_text(f"[database]\nurl = '{url}'\n")
    await migrate.upgrade(url)
    db = Database(url)
    async with db.begin() as connection:
        await create_key(connection, name='a "quoted", \\N name')
        await connection.execute(engines.insert().values(sealed_engine(home)))
        odd = {"name": "model:m", "value": {"a": None, "ㄱ": ["\n"]}, "set_by": "", "set_at": 0}
        await connection.execute(switches.insert().values(odd))
        await put_usage(connection, [asdict(UsageRow(id=f"r{n}", at=n, subject="s")) for n in range(300)])
    await db.dispose()
    return home


async def moved(home: Path, postgres: Postgres) -> tuple[Path, str]:
    """Another home folder beside it, whose settings name another, empty database."""
    new, url = home.parent / "new", await postgres.make()
    new.mkdir()
    (new / "modu.toml").write_text(f"[database]\nurl = '{url}'\n")
    return new, url


async def all_rows(url: str) -> dict[str, list[tuple[object, ...]]]:
    db = Database(url)
    async with db.connect() as connection:
        found = {
            name: sorted((tuple(row) for row in await connection.execute(select(table))), key=repr)
            for name, table in metadata.tables.items()
        }
    await db.dispose()
    return found


async def test_postgresql_comes_back_table_by_table(
    served: Path, postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = loaded_of(served).database_url
    manifest = await asyncio.to_thread(backup, loaded_of(served), tmp_path / "b.tar.gz")
    assert (manifest.database, manifest.schema) == ("postgresql", head())
    assert {f"tables/{name}.csv" for name in metadata.tables} <= manifest.files.keys()
    new, other = await moved(served, postgres)
    monkeypatch.setenv("MODU_DATABASE__URL", other)
    there = settings.load(new)
    (new / "modu.toml").unlink()
    done = await asyncio.to_thread(restore, there, tmp_path / "b.tar.gz")
    assert (done.url, done.schema) == (other, "")
    assert await all_rows(other) == await all_rows(url)
    assert not (new / "tables").exists()
    with pytest.raises(BackupError, match="has tables"):
        await asyncio.to_thread(restore, settings.load(tmp_path / "third"), tmp_path / "b.tar.gz")
    kept = await asyncio.to_thread(restore, there, tmp_path / "b.tar.gz", force=True)
    db = Database(other)
    async with db.connect() as connection:
        count = text(f"SELECT count(*) FROM {kept.schema}.usage")
        assert await connection.scalar(count) == 300
    await db.dispose()
    assert await all_rows(other) == await all_rows(url)


async def test_a_table_that_does_not_fit_changes_nothing(served: Path, tmp_path: Path) -> None:
    await asyncio.to_thread(backup, loaded_of(served), tmp_path / "b.tar.gz")
    manifest = msgspec.json.decode(_member(tmp_path / "b.tar.gz", "manifest.json"))
    bad = b"topic,version\nkeys,many\n"
    manifest["files"]["tables/changes.csv"] = {"size": len(bad), "sha256": hashlib.sha256(bad).hexdigest()}
    change: dict[str, bytes | None] = {
        "tables/changes.csv": bad,
        "manifest.json": msgspec.json.encode(manifest),
    }
    rewritten(tmp_path / "b.tar.gz", tmp_path / "bad.tar.gz", change)
    before = await all_rows(loaded_of(served).database_url)
    with pytest.raises(BackupError, match="invalid input syntax"):
        await asyncio.to_thread(restore, loaded_of(served), tmp_path / "bad.tar.gz", force=True)
    assert await all_rows(loaded_of(served).database_url) == before
    assert (served / "modu.toml").exists()


async def test_tables_of_a_backup_are_of_one_state(served: Path, tmp_path: Path) -> None:
    """Two counters that each transaction raises together are equal in it."""
    db, stop = Database(loaded_of(served).database_url), asyncio.Event()

    async def write() -> None:
        while not stop.is_set():
            async with db.begin() as connection:
                await announce(connection, "keys")
                await connection.execute(update(switches).values(set_at=switches.c.set_at + 1))

    async with db.begin() as connection:
        await connection.execute(update(changes).values(version=0))
    writing = asyncio.create_task(write())
    for number in range(3):
        await asyncio.to_thread(backup, loaded_of(served), tmp_path / f"b{number}.tar.gz")
    stop.set()
    await writing
    await db.dispose()
    for number in range(3):
        file = tmp_path / f"b{number}.tar.gz"
        of_changes = dict(csv.reader(_member(file, "tables/changes.csv").decode().splitlines()[1:]))
        (of_switches,) = list(csv.reader(io.StringIO(_member(file, "tables/switches.csv").decode())))[1:]
        assert of_changes["keys"] == of_switches[-1]


async def test_an_empty_postgresql_is_said(tmp_path: Path, postgres: Postgres) -> None:
    loaded = settings.load(tmp_path / "home", {"MODU_DATABASE__URL": await postgres.make()})
    with pytest.raises(BackupError, match="no data"):
        await asyncio.to_thread(backup, loaded, tmp_path / "b.tar.gz")
    assert os.listdir(tmp_path) == []  # noqa: PTH208


async def test_a_backup_goes_into_the_same_kind_of_database(served: Path, tmp_path: Path) -> None:
    await asyncio.to_thread(backup, loaded_of(served), tmp_path / "b.tar.gz")
    manifest = msgspec.json.decode(_member(tmp_path / "b.tar.gz", "manifest.json"))
    del manifest["files"]["modu.toml"]
    change: dict[str, bytes | None] = {"modu.toml": None, "manifest.json": msgspec.json.encode(manifest)}
    rewritten(tmp_path / "b.tar.gz", tmp_path / "rest.tar.gz", change)
    with pytest.raises(BackupError, match="that of the settings is not"):
        await asyncio.to_thread(restore, loaded_of(tmp_path / "other"), tmp_path / "rest.tar.gz")


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_what_was_deleted_since_is_deleted_again(
    kind: str, home: Path, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Back up, delete an account, put back the older backup: the deletion is replayed."""
    served = home
    if kind == "postgresql":
        await serve(home, await asyncio.to_thread(request.getfixturevalue, "postgres"))
    keys = await add_people(served, "Kim", "Lee")
    written = await asyncio.to_thread(run, backup_app, tmp_path / "b.tar.gz", "--home", served)
    assert written.exit_code == 0, written.output
    db = Database(loaded_of(served).database_url)
    async with db.begin() as connection:
        kim = next(one for one in await find_people(connection, keys) if one.name == "Kim")
        await delete_account(connection, keys, kim.id, time.time())
    await db.dispose()
    keys.close()
    assert await names_of(served) == ["Lee"]
    result = await asyncio.to_thread(
        run, restore_app, tmp_path / "b.tar.gz", "--force", "--json", "--home", served
    )
    assert (result.exit_code, msgspec.json.decode(result.stdout)["forgotten"]) == (0, 1), result.output
    assert await names_of(served) == ["Lee"]
    assert len(await all_rows(loaded_of(served).database_url)) > 20
