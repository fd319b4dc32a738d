"""``modu doctor``: look at everything the service needs and say what is wrong and what to do.

Each check is a function that returns findings and mends nothing. A check that cannot look says so as a
problem (fails closed): no line is "ok" because nothing was seen.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from stat import S_ISLNK, S_ISSOCK
from typing import TYPE_CHECKING, Literal, NamedTuple

import typer

from moduai import compiled, service
from moduai.cli.common import (
    HomeOption,
    JsonOption,
    count,
    examples,
    new_app,
    open_loaded,
    run,
    size_text,
    to_json,
)
from moduai.settings import Loaded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from moduai.engines.record import Engine
    from moduai.store.database import Database

app = new_app("Look for what is wrong and say what to do.", group=False)

State = Literal["ok", "warning", "problem"]
LITTLE_ROOM, NO_ROOM = 2_000_000_000, 200_000_000
"""Free bytes below which the disk is a warning, and a problem."""
SEGMENTS_LATE_S = 60
CLOCK_OFF_S = 2.0
AUDIT_LOOKED_AT = 20_000
"""Entries of the audit log up to which all of it is checked here, not only its roots."""


class Finding(NamedTuple):
    """One line of the answer."""

    check: str
    state: State
    told: str
    todo: str = ""


Check = Callable[[Loaded], Awaitable[list[Finding]]]


@app.command(epilog=examples("modu doctor", "modu doctor --json"))
def doctor(home: HomeOption = None, json: JsonOption = False) -> None:
    """Look for what is wrong and say what to do.

    Ends with status 1 when there is a problem; warnings alone leave it 0.
    """
    findings = run(examine(open_loaded(home)))
    if json:
        typer.echo(to_json([finding._asdict() for finding in findings]))
    else:
        _print(findings)
    raise typer.Exit(1 if any(finding.state == "problem" for finding in findings) else 0)


async def examine(loaded: Loaded) -> list[Finding]:
    """Every check's findings, in the order of ``CHECKS``."""
    return [finding for check in CHECKS for finding in await check(loaded)]


async def python(_: Loaded) -> list[Finding]:
    """Python's version is one that is tested."""
    version = ".".join(map(str, sys.version_info[:3]))
    if (3, 11) <= sys.version_info[:2] < (3, 14):
        lane = "machine code" if compiled.in_use() else "source (`make compiled` makes it faster)"
        return [Finding("python", "ok", f"{version}; the hot lane is {lane}")]
    return [Finding("python", "problem", version, "install Python 3.11, 3.12 or 3.13, then `make install`")]


async def folders(loaded: Loaded) -> list[Finding]:
    """The home folder is there, ours, and closed to others, down to its files."""
    home = loaded.home
    if not home.is_dir():
        return [Finding("folders", "warning", f"{home} is not there yet", "`modu up` makes it")]
    if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        return [Finding("folders", "problem", f"{home} cannot be written", f"chown it to user {os.getuid()}")]
    if exposed := sorted(_open_to_others(home)):
        told = f"others may read {', '.join(str(path.relative_to(home.parent)) for path in exposed[:3])}"
        return [Finding("folders", "problem", told, f"chmod -R go= {home}")]
    return [Finding("folders", "ok", str(home))]


def _open_to_others(home: Path) -> Iterator[Path]:
    for path in (home, *home.iterdir(), *(home / "keyring").glob("*")):
        found = _stat(path)
        if found and not (S_ISLNK(found.st_mode) or S_ISSOCK(found.st_mode)) and found.st_mode & 0o077:
            yield path


def _stat(path: Path) -> os.stat_result | None:
    """What a file is; None if it has gone meanwhile: a running service makes and removes files."""
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


async def disk(loaded: Loaded) -> list[Finding]:
    """There is room for the ledger and a backup."""
    place = next(path for path in (loaded.home, *loaded.home.parents) if path.exists())
    free = shutil.disk_usage(place).free
    told = f"{size_text(free)} free"
    if free < NO_ROOM:
        return [Finding("disk", "problem", told, "make room: without it usage cannot be written")]
    if free < LITTLE_ROOM:
        return [Finding("disk", "warning", told, "make room soon, or move the home folder")]
    return [Finding("disk", "ok", told)]


async def keyring(loaded: Loaded) -> list[Finding]:
    """The keyring can be opened."""
    from moduai.store.keyring import Keyring, KeyringError  # noqa: PLC0415

    if not loaded.path("modu.db").exists() and not loaded.path("keyring", "master.key").exists():
        return [Finding("keyring", "warning", "not made yet", "`modu up` makes it")]
    try:
        Keyring.open(loaded.home, create=False)
    except KeyringError as error:
        return [Finding("keyring", "problem", str(error), "without it nothing that is sealed can be read")]
    return [Finding("keyring", "ok", "opens; keep a copy of it apart from backups")]


async def database(loaded: Loaded) -> list[Finding]:
    """The database answers and its schema is this version's; on SQLite it is also whole."""
    from moduai.store.database import brief  # noqa: PLC0415
    from moduai.store.migrate import SchemaError, check, current  # noqa: PLC0415

    async with _database(loaded) as db:
        try:
            if await current(db) is None:
                return [
                    Finding("database", "warning", f"{db.shown()} is empty", "`modu up` makes the schema")
                ]
            await check(db)
            told = [Finding("database", "ok", f"{db.shown()}, schema {await current(db)}")]
            return [*told, *(await _whole(db) if db.file else await _server(db))]
        except SchemaError as error:
            return [Finding("database", "problem", str(error), "back up first: `modu backup FILE`")]
        except db.errors as error:
            todo = (
                "check database.url and that the server runs" if db.file is None else "is it locked or moved?"
            )
            return [Finding("database", "problem", f"{db.shown()}: {brief(error)}", todo)]


async def _whole(db: Database) -> list[Finding]:
    from sqlalchemy import text  # noqa: PLC0415

    async with db.connect() as connection:
        verdict = await connection.scalar(text("PRAGMA quick_check(1)"))
    if verdict == "ok":
        return []
    return [
        Finding("database", "problem", f"damaged: {verdict}", "stop, keep a copy, then `modu restore FILE`")
    ]


async def _server(db: Database) -> list[Finding]:
    """PostgreSQL: its version, and its clock against ours."""
    from sqlalchemy import text  # noqa: PLC0415

    async with db.connect() as connection:
        version = await connection.scalar(text("SHOW server_version"))
        theirs = float(await connection.scalar(text("SELECT extract(epoch FROM clock_timestamp())")) or 0)
    off = abs(theirs - time.time())
    state: State = "ok" if off < CLOCK_OFF_S else "warning"
    todo = "" if state == "ok" else "set both machines' clocks by NTP: usage is filed by time"
    return [Finding("postgresql", state, f"version {version}, clocks {off:.1f} s apart", todo)]


async def clock(loaded: Loaded) -> list[Finding]:
    """The clock has not gone back behind what was written already."""
    found = [_stat(path) for path in loaded.home.glob("*")]
    newest = max((each.st_mtime for each in found if each), default=0.0)
    if newest > time.time() + CLOCK_OFF_S:
        told = f"the clock is {newest - time.time():.0f} s behind files of the home folder"
        return [
            Finding("clock", "problem", told, "set the clock (NTP): keys expire and usage is filed by it")
        ]
    return [Finding("clock", "ok", time.strftime("%Y-%m-%d %H:%M:%S %Z"))]


async def address(loaded: Loaded) -> list[Finding]:
    """The service answers, or its port is free for it."""
    if found := await asyncio.to_thread(service.running, loaded.home):
        return await _service(found)
    gateway = loaded.settings.gateway
    try:
        opened = await asyncio.to_thread(service.listen, gateway.host, gateway.port)
    except service.NotStartedError as error:
        return [Finding("service", "problem", f"not running; {error}", "or set gateway.port")]
    opened.close()
    return [Finding("service", "ok", f"not running; port {gateway.port} is free", "`modu up` starts it")]


async def _service(found: service.Service) -> list[Finding]:
    if not found.url:
        return [Finding("service", "warning", "starting", "wait a moment, then look again")]
    ready = await service.probe(found.url, "/health/ready", within_s=5.0)
    if ready is None:
        todo = f"the supervisor restarts it; if it stays so: kill {found.pid}, then `modu up`"
        return [Finding("service", "problem", f"runs at {found.url} but does not answer", todo)]
    if ready.status != 200:
        told = f"runs at {found.url} but is not ready"
        return [Finding("service", "warning", told, f"see {found.url}/health/ready")]
    return [Finding("service", "ok", f"ready at {found.url}")]


async def ledger(loaded: Loaded) -> list[Finding]:
    """Usage segments do not pile up, and none was put aside as unreadable."""
    folder = loaded.path("usage")
    rejected = sorted(folder.glob("*.rejected"))
    files = [found for found in map(_stat, folder.glob("[!.]*.jsonl")) if found and found.st_size]
    findings = []
    if rejected:
        told = f"{count(len(rejected), 'file')} with lines that could not be loaded"
        findings.append(Finding("ledger", "warning", told, f"look at {rejected[0]}"))
    old = [found for found in files if found.st_mtime < time.time() - SEGMENTS_LATE_S]
    size = sum(found.st_size for found in old)
    if old and not await asyncio.to_thread(service.running, loaded.home):
        told = f"{count(len(old), 'segment')} ({size_text(size)}) waiting to be loaded"
        findings.append(Finding("ledger", "warning", told, "nothing is lost: `modu up` loads them"))
    return findings or [Finding("ledger", "ok", f"{count(len(files), 'segment')} on disk")]


async def people(loaded: Loaded) -> list[Finding]:
    """What is kept of people can be read: their keys are there, and the keyring opens them."""
    from moduai.accounts.lost import find_lost  # noqa: PLC0415
    from moduai.store.migrate import SchemaError, check  # noqa: PLC0415

    async with _database(loaded) as db:
        told_above: tuple[type[Exception], ...] = (SchemaError, *db.errors)
        try:
            await check(db)
            async with db.connect() as connection:
                found = await find_lost(connection, loaded.home)
        except told_above:
            return [Finding("people", "warning", "not known", "first mend the database")]
    if told := found.told():
        todo = (
            "put back your copy of the folder keyring; if there is none it is lost, and with master.key "
            "also how people sign in: modu invite create --role admin"
        )
        return [Finding("people", "problem", told, todo)]
    whom = "1 person" if found.people == 1 else f"{found.people:,} people"
    return [Finding("people", "ok", f"{whom} with an account")]


async def audit(loaded: Loaded) -> list[Finding]:
    """The audit log is whole, and past days are under a signed root."""
    from sqlalchemy import func, select  # noqa: PLC0415

    from moduai.accounts.audit_verify import verify  # noqa: PLC0415
    from moduai.accounts.tables import audit as table  # noqa: PLC0415
    from moduai.store.keyring import KeyringError  # noqa: PLC0415
    from moduai.store.migrate import SchemaError, check  # noqa: PLC0415
    from moduai.store.signing import SigningKeys  # noqa: PLC0415

    try:
        signing = SigningKeys.open(loaded.home, create=False)
    except KeyringError:
        signing = None  # the verdict says so, if anything was signed
    async with _database(loaded) as db:
        told_above: tuple[type[Exception], ...] = (SchemaError, *db.errors)
        try:
            await check(db)
            async with db.connect() as connection:
                entries = await connection.scalar(select(func.count()).select_from(table)) or 0
                few = entries <= AUDIT_LOOKED_AT
                verdict = await verify(connection, signing, entries=few)
        except told_above:
            return [Finding("audit", "warning", "not known", "first mend the database")]
    todo = "`modu audit verify` says more; see docs/audit.md"
    if verdict.problems:
        return [Finding("audit", "problem", verdict.problems[0], todo)]
    if verdict.notes:
        return [Finding("audit", "warning", verdict.notes[0], todo)]
    told = f"whole: {entries:,} {'entry' if entries == 1 else 'entries'}"
    many = f"{count(verdict.roots, 'root')} in order; `modu audit verify` checks the {entries:,} entries"
    return [Finding("audit", "ok", told if few else many)]


async def engines(loaded: Loaded) -> list[Finding]:
    """Every engine that takes requests answers and accepts its key."""
    from moduai.engines.repository import list_engines  # noqa: PLC0415
    from moduai.store.keyring import Keyring, KeyringError  # noqa: PLC0415
    from moduai.store.migrate import SchemaError, check  # noqa: PLC0415

    async with _database(loaded) as db:
        told_above: tuple[type[Exception], ...] = (SchemaError, KeyringError, *db.errors)
        try:
            await check(db)
            async with db.connect() as connection:
                known = await list_engines(connection, Keyring.open(loaded.home, create=False))
        except told_above:
            return [Finding("engines", "warning", "not known", "first mend the database and the keyring")]
    runs = await asyncio.to_thread(service.running, loaded.home)
    looked_at = [one for one in known if one.state == "active" and (runs or one.kind != "embedded")]
    if not looked_at:
        told = "no engine yet" if runs else "none but the embedded one, which starts with the service"
        return [Finding("engines", "warning" if runs else "ok", told, "modu engine add URL" if runs else "")]
    return await asyncio.gather(*(_engine(one) for one in looked_at))


async def _engine(engine: Engine) -> Finding:
    from moduai.engines.address import AddressError, parse_url  # noqa: PLC0415
    from moduai.engines.http import FetchError, fetch  # noqa: PLC0415

    try:
        reply = await fetch(parse_url(engine.url), "GET", "/v1/models", key=engine.key)
    except (AddressError, FetchError) as error:
        told = f"{engine.name} ({engine.url}): {error}"
        return Finding("engines", "problem", told, f"start it, or: modu engine remove {engine.name}")
    if reply.status in (401, 403):
        told = f"{engine.name} ({engine.url}) refuses its key"
        return Finding("engines", "problem", told, f"modu engine add {engine.url} --key KEY")
    if reply.status != 200:
        told = f"{engine.name} ({engine.url}) answers {reply.status}"
        return Finding("engines", "warning", told, "is it still loading?")
    names = ", ".join(model.name for model in engine.models) or "no models"
    return Finding("engines", "ok", f"{engine.name}: {names}")


async def weights(loaded: Loaded) -> list[Finding]:
    """The embedded engine's weights are there and are what they should be, byte for byte."""
    from moduai.engines.embedded import terms, weights  # noqa: PLC0415

    embedded = loaded.settings.embedded
    if not embedded.enabled:
        return [Finding("weights", "ok", "not wanted (embedded.enabled is false)")]
    if embedded.model:
        return await asyncio.to_thread(_own_weights, loaded)
    if not terms.acceptance(loaded.home):
        todo = "`modu up` shows them and asks; MODU_ACCEPT_TERMS=1 accepts them"
        return [Finding("weights", "warning", "their terms are not accepted yet", todo)]
    file = loaded.path("weights", weights.BUNDLED_FILE)
    if not file.exists():
        return [Finding("weights", "warning", "not put together yet", "`modu up` does it")]
    if await asyncio.to_thread(weights.sha256, file) != weights.BUNDLED_DIGEST:
        return [Finding("weights", "problem", f"{file} is damaged", f"rm {file}; `modu up` makes it anew")]
    return [Finding("weights", "ok", f"{file.name}, digest as pinned")]


def _own_weights(loaded: Loaded) -> list[Finding]:
    from moduai.engines.embedded import weights  # noqa: PLC0415

    model = loaded.settings.embedded.model
    known = weights.remembered(loaded.home)
    downloaded = known.downloads.get(model)
    if not weights.is_path(model) and not downloaded:
        return [Finding("weights", "warning", f"{model} is not downloaded yet", "`modu up` does it")]
    file = Path(downloaded or model).expanduser()
    seen = known.files.get(str(file))
    if seen and file.is_file() and weights.sha256(file) != seen.sha256:
        return [
            Finding("weights", "problem", f"{file} has changed since it came", f"rm {file}, then `modu up`")
        ]
    try:
        found = weights.from_file(file, source=model)
    except weights.WeightsError as error:
        return [Finding("weights", "problem", str(error), "see embedded.model")]
    return [Finding("weights", "ok", found.description)]


async def search(loaded: Loaded) -> list[Finding]:
    """Public documents can be found."""
    from moduai.knowledge.client import Search  # noqa: PLC0415
    from moduai.knowledge.types import SearchAwayError  # noqa: PLC0415

    if not loaded.settings.knowledge.enabled:
        return [Finding("search", "ok", "not wanted (knowledge.enabled is false)")]
    if not await asyncio.to_thread(service.running, loaded.home):
        return [Finding("search", "ok", "starts with the service")]
    try:
        found = await Search(loaded).status()
    except SearchAwayError as error:
        todo = "the supervisor restarts it; the service's log says why it ended"
        return [Finding("search", "problem", f"away: {error.why}", todo)]
    if found.error:
        return [
            Finding("search", "warning", f"does not follow the database: {found.error}", "mend that first")
        ]
    told = f"{count(found.documents, 'document')}, {count(found.passages, 'passage')}"
    if found.behind:
        told += f"; {count(found.behind, 'change')} still to be indexed"
    return [Finding("search", "ok", told)]


async def policy(loaded: Loaded) -> list[Finding]:
    """The policy file is valid; without one the country pack's counts, or Modu's."""
    from moduai.gateway.policy_file import read  # noqa: PLC0415
    from moduai.gateway.policy_text import told  # noqa: PLC0415

    found = read(loaded)
    if not found.problems:
        return [Finding("policy", "ok", f"{found.policy.name} ({found.source})")]
    why = f"the policy cannot be used: {told(found.problems[0])}"
    return [Finding("policy", "problem", why, "`modu policy check` says all; `modu policy undo` goes back")]


async def pack(loaded: Loaded) -> list[Finding]:
    """The country pack that the settings choose can be used."""
    from moduai.gateway.policy_text import parse  # noqa: PLC0415
    from moduai.packs.choose import chosen  # noqa: PLC0415
    from moduai.packs.read import PackError, told  # noqa: PLC0415

    try:
        found = chosen(loaded, parse)
    except PackError as error:
        why = f"the country pack cannot be used: {told(error.faults[0])}"
        return [Finding("pack", "problem", why, "`modu pack check` says all; setting pack.use names another")]
    return [Finding("pack", "ok", f"{found.head.id}, version {found.head.version}")]


CHECKS: tuple[Check, ...] = (
    python,
    folders,
    disk,
    clock,
    keyring,
    database,
    ledger,
    people,
    audit,
    policy,
    pack,
    address,
    weights,
    engines,
    search,
)


@asynccontextmanager
async def _database(loaded: Loaded) -> AsyncIterator[Database]:
    from moduai.store.database import Database  # noqa: PLC0415

    db = Database(loaded.database_url)
    try:
        yield db
    finally:
        await db.dispose()


def _print(findings: list[Finding]) -> None:
    colours = {"ok": "green", "warning": "yellow", "problem": "red"}
    for check, state, told, todo in findings:
        typer.echo(f"{typer.style(f'{state:<8}', fg=colours[state])} {check:<11} {told}")
        if todo:
            typer.echo(f"{'':21}{todo}")
