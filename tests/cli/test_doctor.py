from __future__ import annotations

import asyncio
import os
import shutil
import socket
import time
from collections import namedtuple
from pathlib import Path

import pytest

from moduai import settings
from moduai.accounts.people import create_person
from moduai.cli import doctor, prepare
from moduai.engines.embedded import terms, weights
from moduai.engines.record import Engine
from moduai.engines.repository import add_engine
from moduai.store.database import Database
from moduai.store.keyring import Keyring
from moduai.store.migrate import upgrade
from moduai.store.subjects import SubjectKeys


@pytest.fixture
async def loaded(tmp_path):
    home = tmp_path / "home"
    prepare.prepare_home(home)
    Keyring.open(home)
    found = settings.load(home, {}, {"gateway.port": 0})
    await upgrade(found.database_url)
    return found


def states(findings):
    return {finding.check: finding.state for finding in findings}


async def test_a_prepared_home_has_no_problem(loaded):
    findings = await doctor.examine(loaded)
    assert [finding for finding in findings if finding.state != "ok" and finding.check != "weights"] == []
    assert {"python", "folders", "disk", "database", "keyring", "service"} <= states(findings).keys()


async def test_an_empty_home_is_a_warning_with_what_to_do(tmp_path):
    findings = await doctor.examine(settings.load(tmp_path / "none", {}, {"gateway.port": 0}))
    assert "problem" not in states(findings).values()
    assert all(finding.todo for finding in findings if finding.state == "warning")
    assert not (tmp_path / "none").exists(), "it only looks"


async def test_a_folder_that_others_may_read(loaded):
    loaded.path("usage").chmod(0o755)
    (finding,) = await doctor.folders(loaded)
    assert finding.state == "problem"
    assert "home/usage" in finding.told


@pytest.mark.parametrize(("free", "state"), [(1e8, "problem"), (1e9, "warning"), (1e11, "ok")])
async def test_disk(loaded, monkeypatch, free, state):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(free))
    assert states(await doctor.disk(loaded)) == {"disk": state}


async def test_a_lost_keyring(loaded):
    loaded.path("keyring", "master.key").unlink()
    assert states(await doctor.keyring(loaded)) == {"keyring": "problem"}


async def test_people_whose_keys_are_lost(loaded, tmp_path):
    """What a lost keyring loses is told, whichever part of it is gone; put back, all is well."""
    assert states(await doctor.people(loaded)) == {"people": "ok"}
    subjects = SubjectKeys.open(loaded.home, Keyring.open(loaded.home))
    db = Database(loaded.database_url)
    async with db.begin() as connection:
        for _ in range(2):
            await create_person(connection, subjects, name="Kim")
    await db.dispose()
    subjects.close()
    (finding,) = await doctor.people(loaded)
    assert (finding.state, finding.told) == ("ok", "2 people with an account")
    folder = loaded.path("keyring")
    for name, lose, words in (
        ("subjects.db", Path.unlink, "No such file"),
        ("subjects.db", lambda file: file.write_bytes(b"damaged" * 1000), "is damaged"),
        ("master.key", Path.unlink, "missing: put back"),
        ("master.key", lambda file: file.write_text("00" * 32), "master.key is another"),
    ):
        shutil.copy(folder / name, tmp_path / "copy")
        lose(folder / name)
        (finding,) = await doctor.people(loaded)
        assert finding.state == "problem"
        assert finding.told.startswith("2 of 2 people looked at cannot be read (names, conversations")
        assert words in finding.told
        assert "modu invite create --role admin" in finding.todo
        shutil.copy(tmp_path / "copy", folder / name)
        assert states(await doctor.people(loaded)) == {"people": "ok"}


async def test_a_damaged_database(loaded):
    file = loaded.path("modu.db")
    for extra in ("modu.db-wal", "modu.db-shm"):
        loaded.path(extra).unlink(missing_ok=True)
    size = file.stat().st_size
    with file.open("r+b") as opened:
        opened.seek(4096)
        opened.write(b"\xff" * (size - 4096))
    assert "problem" in {finding.state for finding in await doctor.database(loaded)}


async def test_a_clock_that_went_back(loaded):
    later = time.time() + 3600
    os.utime(loaded.path("modu.db"), (later, later))
    assert states(await doctor.clock(loaded)) == {"clock": "problem"}


async def test_a_taken_port_is_a_problem(loaded):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (finding,) = await doctor.address(settings.load(loaded.home, {}, {"gateway.port": port}))
    assert finding.state == "problem"
    assert str(port) in finding.told


async def test_usage_that_waits_and_usage_that_was_put_aside(loaded):
    old = loaded.path("usage", "w1.jsonl")
    old.write_text("{}\n")
    os.utime(old, (time.time() - 600,) * 2)
    loaded.path("usage", "w0.rejected").write_text("x\n")
    told = [finding.told for finding in await doctor.ledger(loaded)]
    assert len(told) == 2
    assert "1 segment (" in told[1]


async def test_files_that_vanish_while_it_looks_are_no_matter(loaded, monkeypatch):
    """A running service renames and removes files all the time; here each is gone once it was listed."""
    listed = loaded.path("usage", "w1.jsonl"), loaded.path("gone.new")
    names = {"glob": Path.glob, "iterdir": Path.iterdir}

    def vanishing(name):
        def call(self, *arguments):
            found = [*names[name](self, *arguments)]
            for file in listed:
                file.unlink(missing_ok=True)
            return iter(found)

        return call

    for name in names:
        monkeypatch.setattr(Path, name, vanishing(name))
    for check in (doctor.folders, doctor.clock, doctor.ledger):
        for file in listed:
            file.write_text("{}")
            file.chmod(0o644)
        (finding,) = await check(loaded)
        assert finding.state == "ok"


async def test_weights_are_looked_at_byte_for_byte(loaded):
    assert states(await doctor.weights(loaded)) == {"weights": "warning"}, "their terms come first"
    terms.accept(loaded.home, "asked")
    assert states(await doctor.weights(loaded)) == {"weights": "warning"}, "then they are put together"
    loaded.path("weights", weights.BUNDLED_FILE).write_bytes(b"GGUF" + bytes(100))
    assert states(await doctor.weights(loaded)) == {"weights": "problem"}
    missing = settings.load(loaded.home, {}, {"embedded.model": "/none.gguf"})
    assert states(await doctor.weights(missing)) == {"weights": "problem"}
    unwanted = settings.load(loaded.home, {}, {"embedded.enabled": False})
    assert states(await doctor.weights(unwanted)) == {"weights": "ok"}


@pytest.mark.parametrize(
    ("status", "state"), [(200, "ok"), (401, "problem"), (503, "warning"), (0, "problem")]
)
async def test_engines_are_asked(loaded, status, state):
    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\n{}" % status)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    if not status:
        server.close()
    db = Database(loaded.database_url)
    async with db.begin() as connection:
        await add_engine(connection, Keyring.open(loaded.home), Engine(id="eng_1", name="one", url=url))
    await db.dispose()
    assert states(await doctor.engines(loaded)) == {"engines": state}
    server.close()


async def test_postgresql_is_looked_at_and_its_absence_is_told(tmp_path, postgres):
    found = settings.load(tmp_path, {}, {"database.url": await postgres.make()})
    assert states(await doctor.database(found)) == {"database": "warning"}, "it is empty"
    await upgrade(found.database_url)
    assert states(await doctor.database(found)) == {"database": "ok", "postgresql": "ok"}
    away = settings.load(tmp_path, {}, {"database.url": "postgresql+asyncpg://modu:secret@127.0.0.1:9/modu"})
    (finding,) = await doctor.database(away)
    assert finding.state == "problem"
    assert "secret" not in finding.told
