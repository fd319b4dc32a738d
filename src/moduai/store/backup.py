"""Backup and restore of a home folder, in one file.

In it: the database, copied while the service runs (SQLite as its file, PostgreSQL as a file for each
table), segments that are not loaded yet, modu.toml and policy.toml, each with its digest. Never in it: the
keyring, so that a backup that is lost gives away no secret that was sealed; keep a copy of the keyring
apart. Restoring replaces all or nothing, and keeps what it replaced; where it is cut off in between, nothing
starts on the home folder until it is done again.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import os
import re
import secrets
import shutil
import sqlite3
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO, cast

import msgspec
from msgspec import Struct

from moduai import __version__, settings
from moduai.settings import Loaded, SettingsError
from moduai.store import postgresql
from moduai.store.database import Database, brief
from moduai.store.files import RESTORING, file_address, place
from moduai.store.versions import head, version_of, versions

Progress = Callable[[str, int, int], None]
"""Called with what is worked on, how much is done and how much there is."""

FORMAT = 1
MANIFEST = "manifest.json"
DATABASE = "modu.db"
TABLES = "tables"
"""Folder of the tables of PostgreSQL."""
SETTINGS = "modu.toml"
WRITTEN = (SETTINGS, "policy.toml")
"""What operators write."""
LINES = ".jsonl"
SEGMENTS = {"usage": (".taken", LINES), "turns": (".seg",)}
"""Folders of what is not loaded yet, and what its files' names hold. Requests under way (``.taken``) come
first: what ends meanwhile is in a segment then, and has its row from there.
"""
PAGES = 4096
"""Database pages copied between two reports of progress."""
MOST_MANIFEST = 10_000_000


class BackupError(RuntimeError):
    """It cannot be done; the text says why. Nothing was changed."""


class Entry(Struct, frozen=True):
    """One file of a backup."""

    size: int
    sha256: str


class Manifest(Struct, frozen=True, kw_only=True):
    """What a backup holds; the last member of the file, so a cut-off backup has none."""

    format: int
    modu: str
    """Version that wrote it."""
    created: int
    """Unix time in seconds."""
    database: str
    """sqlite or postgresql."""
    schema: str
    """Version of the database's schema; empty where the database is not in it (PostgreSQL, until 0.1.0)."""
    files: dict[str, Entry]


class Restored(Struct, frozen=True, kw_only=True):
    """What a restore did."""

    manifest: Manifest
    url: str
    """Of the database that was brought back; empty if none was in the backup."""
    replaced: Path | None
    """Folder with what was there before; None if nothing was."""
    schema: str = ""
    """Schema with the tables that were there before, on PostgreSQL; empty if none were."""


def backup(loaded: Loaded, file: Path, progress: Progress = lambda *_: None) -> Manifest:
    """Write a backup to ``file``, which must not exist yet. The service may run. Raises BackupError."""
    if file.exists():
        raise BackupError(f"{file} is there already: name another file")
    db = Database(loaded.database_url)
    if db.file and not db.file.exists():
        raise BackupError(f"there is no data in {db.file} yet")
    draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}.new")
    failures: tuple[type[Exception], ...] = (*db.errors, sqlite3.Error)
    try:
        with tempfile.TemporaryDirectory(prefix=".modu-backup-", dir=file.parent) as folder:
            manifest = _write(loaded, db, draft, Path(folder), progress)
        place(draft, file)
    except FileExistsError:
        raise BackupError(f"{file} is there already: name another file") from None
    except failures as error:
        raise BackupError(f"the backup could not be written: {brief(error)}") from None
    finally:
        draft.unlink(missing_ok=True)
    return manifest


def _write(loaded: Loaded, db: Database, draft: Path, folder: Path, progress: Progress) -> Manifest:
    files: dict[str, Entry] = {}
    with _new_archive(draft) as archive:
        for name in WRITTEN:
            if loaded.path(name).exists():
                files[name] = _add_bytes(archive, name, loaded.path(name).read_bytes())
        # Segments before the database: what the loader moves meanwhile is in both, and counts once.
        for segment in _segments(loaded.home):
            name = segment.relative_to(loaded.home).as_posix()
            if (content := _whole_content(segment)) is not None:
                files[name] = _add_bytes(archive, name, content)
        if db.file:
            _copy(db.file, folder / DATABASE, progress)
            schema = version_of(folder / DATABASE)
        else:
            schema = _dump(loaded, db, folder / TABLES, progress)
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            name = file.relative_to(folder).as_posix()
            files[name] = _add_file(archive, name, file, progress)
            file.unlink()
        manifest = Manifest(
            format=FORMAT,
            modu=__version__,
            created=int(time.time()),
            database="sqlite" if db.file else "postgresql",
            schema=schema,
            files=files,
        )
        _add_bytes(archive, MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))
    return manifest


@contextmanager
def _new_archive(draft: Path) -> Iterator[tarfile.TarFile]:
    """A compressed archive that only we can read; on disk when the block ends."""
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as raw:
        with (
            gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=1, filename="") as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            yield archive
        raw.flush()
        os.fsync(handle)


def _segments(home: Path) -> list[Path]:
    return [
        file
        for folder, marks in SEGMENTS.items()
        for mark in marks
        for file in sorted(home.glob(f"{folder}/[!.]*{mark}*"))
    ]


def _whole_content(segment: Path) -> bytes | None:
    """A segment, of lines as far as the last whole one (its writer may be in the next; of batches and slots
    their reader sees it itself); None if it has gone.
    """
    try:
        content = segment.read_bytes()
    except FileNotFoundError:
        return None  # loaded meanwhile: it is in the database
    return content[: content.rfind(b"\n") + 1] if LINES in segment.name else content


def _copy(source: Path, target: Path, progress: Progress) -> None:
    """A copy of one state. The open read transaction keeps writers from making it begin again."""
    with (
        closing(sqlite3.connect(file_address(source), uri=True, timeout=10, isolation_level=None)) as reading,
        closing(sqlite3.connect(target)) as writing,
    ):
        reading.execute("BEGIN")
        reading.execute("PRAGMA schema_version").fetchone()
        reading.backup(
            writing,
            pages=PAGES,
            progress=lambda _, left, total: progress("copying the database", total - left, total),
        )
        reading.execute("COMMIT")


def _dump(loaded: Loaded, db: Database, folder: Path, progress: Progress) -> str:
    folder.mkdir(mode=0o700)
    if not (schema := asyncio.run(postgresql.dump(loaded.database_url, folder, progress))):
        raise BackupError(f"there is no data in {db.shown()} yet")
    return schema


def _add_file(archive: tarfile.TarFile, name: str, file: Path, progress: Progress) -> Entry:
    size = file.stat().st_size
    with file.open("rb") as content:
        hashed = _Hashed(content, lambda done: progress("packing", done, size))
        archive.addfile(_member(name, size), cast("IO[bytes]", hashed))
    return Entry(size, hashed.digest.hexdigest())


def _add_bytes(archive: tarfile.TarFile, name: str, content: bytes) -> Entry:
    archive.addfile(_member(name, len(content)), BytesIO(content))
    return Entry(len(content), hashlib.sha256(content).hexdigest())


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o600, int(time.time())
    return member


class _Hashed:
    """A file that is read, its digest, and how far it is."""

    def __init__(self, content: IO[bytes], told: Callable[[int], None]) -> None:
        self._content = content
        self._told = told
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        piece = self._content.read(size)
        self.digest.update(piece)
        self._told(self._content.tell())
        return piece


def restore(
    loaded: Loaded, file: Path, *, force: bool = False, progress: Progress = lambda *_: None
) -> Restored:
    """Put a backup into the home folder, whose service must not run (the caller holds its lock).

    Refuses a home folder with data in it unless ``force``; what it replaces is then moved aside.
    The keyring in the home folder, if any, stays. Raises BackupError: nothing was changed then, or, where
    the disk failed at the very end, the error names the folder that holds what was there. Where it ended in
    between, however that came, ``RESTORING`` stays in the home folder.
    """
    home = loaded.home
    if not force and (there := _data(loaded)):
        raise BackupError(f"{home} has data ({there[0].name}): name an empty home, or --force to replace it")
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    for cut_off in home.glob(".restore-*"):
        shutil.rmtree(cut_off)
    staging = home / f".restore-{secrets.token_hex(4)}"
    staging.mkdir(mode=0o700)
    try:
        manifest = _unpack(file, staging, progress)
        target = _effective(loaded, staging)
        schema = _loaded(target, manifest, staging / TABLES, home / RESTORING, force=force)
        database = Database(target.database_url).file
        replaced = _set_aside(loaded, database)
        try:
            _move_in(staging, home, database)
            target.index_source.unlink(missing_ok=True)
            (home / RESTORING).unlink()
        except OSError as error:
            kept = f"; what was there is kept in {replaced}" if replaced else ""
            raise BackupError(f"{file} could be restored in part only: {error}{kept}") from None
    except (OSError, EOFError, tarfile.TarError, gzip.BadGzipFile) as error:
        raise BackupError(f"{file} could not be restored: {error}") from None
    except SettingsError as error:
        raise BackupError(f"the backup's settings cannot be used: {error}") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    url = target.database_url if database or manifest.schema else ""
    return Restored(manifest=manifest, url=url, replaced=replaced, schema=schema)


def _loaded(target: Loaded, manifest: Manifest, tables: Path, mark: Path, *, force: bool) -> str:
    """``_load``, marked as begun; the mark goes again where nothing was changed."""
    again = mark.exists()
    with os.fdopen(os.open(mark, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
        os.fsync(file.fileno())
    try:
        return _load(target, manifest, tables, force=force)
    except BackupError:
        if not again:
            mark.unlink()
        raise


def _load(target: Loaded, manifest: Manifest, tables: Path, *, force: bool) -> str:
    """Check that the database fits, and on PostgreSQL fill it; the schema that has what was there."""
    db = Database(target.database_url)
    if manifest.database != ("sqlite" if db.file else "postgresql"):
        raise BackupError(f"the backup's database is {manifest.database}, that of the settings is not")
    if db.file or not manifest.schema:
        return ""
    try:
        if not force and asyncio.run(postgresql.has_tables(target.database_url)):
            raise BackupError(f"{db.shown()} has tables: name an empty database, or --force to replace them")
        schema = asyncio.run(postgresql.load(target.database_url, tables, manifest.schema))
    except db.errors as error:
        raise BackupError(f"{db.shown()} could not be filled: {brief(error)}") from None
    shutil.rmtree(tables)
    return schema


def read_manifest(content: bytes) -> Manifest:
    """Raises BackupError where it is damaged or of a newer Modu."""
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except msgspec.DecodeError:
        raise BackupError("this is no backup of Modu, or a damaged one") from None
    if manifest.format != FORMAT or (manifest.schema and manifest.schema not in versions()):
        raise BackupError(
            f"the backup was written by Modu {manifest.modu} (schema {manifest.schema}), newer than "
            f"this {__version__} (schema {head()}): install the newer Modu"
        )
    return manifest


def _unpack(file: Path, staging: Path, progress: Progress) -> Manifest:
    """Unpack to ``staging`` and check every digest. Names and kinds that are not ours are refused."""
    found: dict[str, Entry] = {}
    manifest: Manifest | None = None
    with file.open("rb") as raw, tarfile.open(fileobj=raw, mode="r|gz") as archive:
        size = file.stat().st_size
        for member in archive:
            progress("unpacking", min(raw.tell(), size), size)
            content = archive.extractfile(member) if member.isreg() else None
            if content is None or not _is_ours(member.name):
                raise BackupError(f"{file} holds {member.name!r}, which no backup has")
            if member.name == MANIFEST:
                manifest = read_manifest(content.read(MOST_MANIFEST))
            else:
                found[member.name] = _extract(content, staging / member.name)
    if manifest is None:
        raise BackupError(f"{file} is cut off: its end with the list of contents is missing")
    for name in manifest.files.keys() | found.keys():
        if manifest.files.get(name) != found.get(name):
            raise BackupError(f"{file} is damaged: {name} is not what was backed up")
    return manifest


def _is_ours(name: str) -> bool:
    folder, _, last = name.rpartition("/")
    if folder == TABLES:
        return re.fullmatch(r"[a-z_]+\.csv", last) is not None
    if folder in SEGMENTS:
        return any(mark in last for mark in SEGMENTS[folder]) and not last.startswith(".")
    return not folder and last in {MANIFEST, DATABASE, *WRITTEN}


def _extract(content: IO[bytes], target: Path) -> Entry:
    target.parent.mkdir(mode=0o700, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        while piece := content.read(1 << 20):
            digest.update(piece)
            size += len(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    return Entry(size, digest.hexdigest())


def _effective(loaded: Loaded, staging: Path) -> Loaded:
    """The settings as they will be: the restored file decides where the database is, unless another is
    named by ``MODU_SETTINGS``.
    """
    if "MODU_SETTINGS" in os.environ or not (staging / SETTINGS).exists():
        return loaded
    return settings.load(loaded.home, {**os.environ, "MODU_SETTINGS": str(staging / SETTINGS)})


def _data(loaded: Loaded, *databases: Path | None) -> list[Path]:
    """What a restore would replace."""
    databases = (*databases, Database(loaded.database_url).file, loaded.path(DATABASE))
    names = [f"{file}{end}" for file in databases if file for end in ("", "-wal", "-shm")]
    there = [Path(name) for name in dict.fromkeys(names) if Path(name).exists()]
    there += [loaded.path(name) for name in WRITTEN if loaded.path(name).exists()]
    return there + _segments(loaded.home)


def _set_aside(loaded: Loaded, target: Path | None) -> Path | None:
    there = _data(loaded, target)
    if not there:
        return None
    aside = loaded.path(f"replaced-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(2)}")
    for file in there:
        inside = file.parent.parent == loaded.home and file.parent.name in SEGMENTS
        folder = aside / file.parent.name if inside else aside
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.move(file, folder / file.name)
    return aside


def _move_in(staging: Path, home: Path, target: Path | None) -> None:
    for file in sorted(staging.rglob("*")):
        if file.is_file():
            place = target if target and file == staging / DATABASE else home / file.relative_to(staging)
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.move(file, place)
