"""Collections, documents and their versions in the database.

Words: a collection is *waiting* to be read, is *reading*, *ready*, or *failed* as a whole, with the reason.

Rule: the text of a version never changes; a document that reads otherwise gets the next version. Every
write announces ``TOPIC`` and gives the document a greater number than any before, in the order in which
writes become visible, so that who asks ``changed`` after the last number it saw misses nothing. What is
removed loses its text at once, in every version.
"""

from __future__ import annotations

import asyncio
import secrets
import time
import zlib
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import Struct, to_builtins
from msgspec.structs import replace
from sqlalchemy import bindparam, func, or_, select

from moduai.knowledge.tables import collections as collection_rows
from moduai.knowledge.tables import documents, versions
from moduai.knowledge.types import Facts, Parsed, Passage, Stored
from moduai.store.database import Connection
from moduai.store.feed import announce
from moduai.store.tables import changes

TOPIC = "knowledge"
"""Announced when a document or a collection changed."""
MOST_REFUSED = 100
"""So many refused documents of a collection are remembered."""
_PAGE = 500

Source = Literal["box", "pack", "folder", "file", "web", "git", "api"]
"""Where a collection's documents are read from: ``box`` is what comes with Modu, ``pack`` with the country
pack, ``api`` an open API.
"""
State = Literal["waiting", "reading", "ready", "failed"]


class KnowledgeError(ValueError):
    """A collection that is unknown, ambiguous or already there; the text says what to do."""


class Refused(Struct, frozen=True):
    """A document that was not taken in."""

    key: str
    code: str
    reason: str


class Collection(Struct, frozen=True, kw_only=True):
    """What was added from one place."""

    id: str
    name: str
    """Unique, for people."""
    kind: Source
    address: str
    """A folder or file on this machine, an address, a place at an open API (``law.go.kr:law``), or the
    country pack as the setting names it.
    """
    licence: str = ""
    """Of its documents, where they do not say another; the same for ``ministry``."""
    ministry: str = ""
    state: State = "waiting"
    done: int = 0
    total: int = 0
    error: str = ""
    """Why its last reading failed as a whole."""
    refused: tuple[Refused, ...] = ()
    created_at: int = 0
    updated_at: int = 0
    tried_at: int = 0
    documents: int = 0
    passages: int = 0


class Known(NamedTuple):
    """A document that is there."""

    document: str
    version: int
    digest: str
    """Of the bytes that were read last, or the source's own mark of them."""


class Change(Struct, frozen=True):
    """The last change of one document."""

    number: int
    document: str
    version: int
    """Its newest version; 0: it was removed."""


async def collections(c: Connection) -> list[Collection]:
    """All of them, by name, with how much is in them."""
    counted = (
        select(
            documents.c.collection, func.count().label("documents"), func.sum(documents.c.passages).label("p")
        )
        .where(documents.c.removed_at == 0)
        .group_by(documents.c.collection)
        .subquery()
    )
    query = (
        select(collection_rows, counted.c.documents, counted.c.p)
        .outerjoin(counted, counted.c.collection == collection_rows.c.id)
        .order_by(collection_rows.c.name)
    )
    return [_collection(row._mapping) for row in await c.execute(query)]


async def collection(c: Connection, named: str) -> Collection:
    """One by its id, name or address. Raises KnowledgeError."""
    found = [one for one in await collections(c) if named in {one.id, one.name, one.address}]
    if not found:
        raise KnowledgeError(f"there is no collection {named!r}: see modu knowledge status")
    if len(found) > 1:
        raise KnowledgeError(
            f"{named!r} is several collections: name one of {', '.join(x.name for x in found)}"
        )
    return found[0]


async def create(c: Connection, new: Collection) -> Collection:
    """Keep a new collection, under an id of its own. Where it is ``waiting``, the search process reads it.
    Raises KnowledgeError where its name or its address is there.
    """
    await announce(c, TOPIC)  # first, for its row stays locked: of two at once the second sees the first
    same = or_(
        collection_rows.c.name == new.name,
        (collection_rows.c.kind == new.kind) & (collection_rows.c.address == new.address),
    )
    there = (await c.execute(select(collection_rows.c.name).where(same))).first()
    if there:
        raise KnowledgeError(f"the collection {there.name!r} is there already: see modu knowledge update")
    made = replace(new, id=f"col_{secrets.token_hex(8)}", created_at=int(time.time()))
    row = {name: value for name, value in to_builtins(made).items() if name in collection_rows.c}
    await c.execute(collection_rows.insert().values(row))
    return made


async def set_state(c: Connection, collection_id: str, state: State, **values: Any) -> bool:
    """How far its reading is: ``done``, ``total``, ``error``, ``refused``. False: it is no longer there."""
    if "refused" in values:
        values["refused"] = to_builtins(values["refused"][:MOST_REFUSED])
    if state in {"ready", "failed"}:
        values["tried_at"] = int(time.time())
    if state == "ready":
        values["updated_at"] = values["tried_at"]
    row = collection_rows.update().where(collection_rows.c.id == collection_id)
    found = (await c.execute(row.values(state=state, **values))).rowcount
    await announce(c, TOPIC)
    return bool(found)


async def passes(c: Connection, one: Collection, state: State) -> bool:
    """Let a collection pass to a state, if it is as ``one`` says still: of several that want it one does."""
    same = (collection_rows.c.state == one.state) & (collection_rows.c.tried_at == one.tried_at)
    row = collection_rows.update().where((collection_rows.c.id == one.id) & same)
    found = (await c.execute(row.values(state=state))).rowcount
    await announce(c, TOPIC)
    return bool(found)


async def drop(c: Connection, collection_id: str) -> int:
    """Remove a collection with all its documents. Answers how many those were."""
    await c.execute(collection_rows.delete().where(collection_rows.c.id == collection_id))
    there = (documents.c.collection == collection_id) & (documents.c.removed_at == 0)
    ids = (await c.execute(select(documents.c.id).where(there))).scalars().all()
    await announce(c, TOPIC)
    return await remove(c, ids)


async def document(c: Connection, document_id: str) -> Stored | None:
    """A document as it stands: its newest version. None: there is none, or it was removed."""
    query = _stored().where(documents.c.id == document_id, versions.c.version == documents.c.version)
    row = (await c.execute(query)).first()
    return _document(row._mapping) if row else None


async def newest(c: Connection, document_id: str) -> int | None:
    """The number of a document's newest version; 0: it was removed; None: there never was one."""
    query = select(documents.c.version, documents.c.removed_at).where(documents.c.id == document_id)
    row = (await c.execute(query)).first()
    return None if row is None else 0 if row.removed_at else row.version


async def history(c: Connection, document_id: str) -> list[Stored]:
    """All versions of a document, newest first."""
    query = _stored().where(documents.c.id == document_id).order_by(versions.c.version.desc())
    return [_document(row._mapping) for row in await c.execute(query)]


async def text(
    c: Connection, document_id: str, version: int
) -> tuple[Stored, str, tuple[Passage, ...]] | None:
    """A version with its text and passages; None: there is none, or it was removed."""
    query = _stored(versions.c.text, versions.c.passages.label("parts"))
    row = (await c.execute(query.where(documents.c.id == document_id, versions.c.version == version))).first()
    if not row:
        return None
    parts = msgspec.msgpack.decode(zlib.decompress(row.parts), type=tuple[Passage, ...])
    return _document(row._mapping), zlib.decompress(row.text).decode(), parts


async def listed(c: Connection, collection_id: str, after: str = "", most: int = 50) -> list[Stored]:
    """Documents of a collection by key, from behind the one whose id is ``after``."""
    query = _stored().where(
        documents.c.collection == collection_id, versions.c.version == documents.c.version
    )
    if after:
        last = select(documents.c.key).where(documents.c.id == after).scalar_subquery()
        query = query.where(documents.c.key > last)
    return [_document(row._mapping) for row in await c.execute(query.order_by(documents.c.key).limit(most))]


async def known(c: Connection, collection_id: str) -> dict[str, Known]:
    """Every document that a collection has, by key."""
    query = select(documents.c.key, documents.c.id, documents.c.version, documents.c.digest).where(
        documents.c.collection == collection_id, documents.c.removed_at == 0
    )
    return {row.key: Known(row.id, row.version, row.digest) for row in await c.execute(query)}


async def changed(c: Connection, after: int, most: int) -> list[Change]:
    """The next changes behind the number ``after``, in order. A document that changed again stands only
    at its last change.
    """
    query = (
        select(documents.c.changed, documents.c.id, documents.c.version, documents.c.removed_at)
        .where(documents.c.changed > after)
        .order_by(documents.c.changed)
        .limit(most)
    )
    return [
        Change(row.changed, row.id, 0 if row.removed_at else row.version) for row in await c.execute(query)
    ]


async def put(
    c: Connection, collection_id: str, key: str, parsed: Parsed, digest: str, retrieved_at: datetime
) -> Stored:
    """Keep what was read as the newest version of the document ``key``. Where it reads as the one before,
    only its digest is new.
    """
    number = await _next(c)
    query = select(documents).where(documents.c.collection == collection_id, documents.c.key == key)
    row = (await c.execute(query)).first()
    at = int(retrieved_at.timestamp())
    if row and not row.removed_at and await _reads_the_same(c, row.id, row.version, parsed):
        await c.execute(documents.update().where(documents.c.id == row.id).values(digest=digest))
        found = await document(c, row.id)
        assert found  # noqa: S101  (for the type checker)
        return found
    document_id = row.id if row else f"doc_{secrets.token_hex(8)}"
    version = row.version + 1 if row else 1
    values = {
        "id": document_id,
        "collection": collection_id,
        "key": key,
        "version": version,
        "passages": len(parsed.passages),
        "digest": digest,
        "removed_at": 0,
        "changed": number,
    }
    await c.execute(
        documents.update().where(documents.c.id == document_id).values(values)
        if row
        else documents.insert().values(values)
    )
    packed = await asyncio.to_thread(_version, document_id, version, parsed, digest, at)
    await c.execute(versions.insert().values(packed))
    return Stored(document_id, collection_id, key, version, parsed.facts, _time(at), digest)


async def remove(c: Connection, document_ids: Iterable[str]) -> int:
    """Take documents away, with the text of every version. Answers how many were there."""
    count, named = 0, iter(document_ids)
    while some := list(islice(named, _PAGE)):
        there = documents.c.id.in_(some) & (documents.c.removed_at == 0)
        ids = (await c.execute(select(documents.c.id).where(there))).scalars().all()
        if not ids:
            continue
        last = await _next(c, len(ids))
        values = {"removed_at": int(time.time()), "digest": "", "passages": 0, "changed": bindparam("number")}
        gone = documents.update().where(documents.c.id == bindparam("gone")).values(values)
        await c.execute(gone, [{"gone": each, "number": last - at} for at, each in enumerate(ids)])
        await c.execute(versions.delete().where(versions.c.document.in_(ids)))
        count += len(ids)
    return count


async def _next(c: Connection, changes_made: int = 1) -> int:
    """The number of the next change, or of the last of the next ones. The row that counts stays locked until
    the transaction ends, so numbers become visible in their order, on PostgreSQL too.
    """
    await announce(c, TOPIC, changes_made)
    return await c.scalar(select(changes.c.version).where(changes.c.topic == TOPIC)) or 0


async def _reads_the_same(c: Connection, document_id: str, version: int, parsed: Parsed) -> bool:
    found = await text(c, document_id, version)
    return found is not None and (found[0].facts, *found[1:]) == (
        parsed.facts,
        parsed.text,
        parsed.passages,
    )


def _version(document_id: str, version: int, parsed: Parsed, digest: str, at: int) -> dict[str, Any]:
    return {
        "document": document_id,
        "version": version,
        "digest": digest,
        "retrieved_at": at,
        "facts": to_builtins(parsed.facts),
        "text": zlib.compress(parsed.text.encode()),
        "passages": zlib.compress(msgspec.msgpack.encode(parsed.passages)),
    }


def _stored(*more: Any) -> Any:
    return select(
        documents.c.id,
        documents.c.collection,
        documents.c.key,
        versions.c.version,
        versions.c.facts,
        versions.c.retrieved_at,
        versions.c.digest,
        *more,
    ).join(versions, versions.c.document == documents.c.id)


def _document(row: Any) -> Stored:
    return Stored(
        row["id"],
        row["collection"],
        row["key"],
        row["version"],
        msgspec.convert(row["facts"], Facts),
        _time(row["retrieved_at"]),
        row["digest"],
    )


def _collection(row: Any) -> Collection:
    named = {
        name: row[name] for name in Collection.__struct_fields__ if name not in {"documents", "passages"}
    }
    named |= {"documents": row["documents"] or 0, "passages": row["p"] or 0}
    return msgspec.convert(named, Collection)


def _time(at: int) -> datetime:
    return datetime.fromtimestamp(at, UTC)
