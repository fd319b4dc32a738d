"""The collections that nobody has to add, put into the database: that of Modu (``box/``, in Korean and
English) and that of the country pack.

So that the first question on a new machine has an answer. Rule: with ``knowledge.box`` and ``knowledge.pack``
on they are as the package and the pack have them, after an upgrade too, and of another pack nothing stays;
with one off nothing of it is put in, and what is there stays until it is removed.
"""

from __future__ import annotations

import logging

from moduai.knowledge.errors import SourceError
from moduai.knowledge.ingest import update
from moduai.knowledge.parsing import Parsers
from moduai.knowledge.store import Collection, KnowledgeError, Source, collections, create, drop
from moduai.packs.choose import chosen
from moduai.packs.read import PackError, told, unread
from moduai.settings import Loaded
from moduai.store.database import Connection, Database

log = logging.getLogger(__name__)

BOX = Collection(id="", name="modu", kind="box", address="", licence="Apache-2.0")


async def put_boxed(db: Database, loaded: Loaded) -> None:
    """Put in what is not there as it is in the package and the pack. Raises one of ``db.errors``; what cannot
    be read is left out, with a line in the log (fails open: other documents can be found all the same).
    """
    if loaded.settings.knowledge.box:
        await _put(db, loaded, "box", BOX)
    if loaded.settings.knowledge.pack:
        try:
            wanted = _of_pack(loaded)
        except PackError as error:
            log.error("the country pack cannot be used", extra={"why": told(error.faults[0])})  # noqa: TRY400
        else:
            await _put(db, loaded, "pack", wanted)


def _of_pack(loaded: Loaded) -> Collection | None:
    """The collection that the pack wants; none where it has no documents. Raises PackError."""
    pack = chosen(loaded, unread)
    name, use = f"pack-{pack.head.id}", loaded.settings.pack.use
    return Collection(id="", name=name, kind="pack", address=use) if pack.documents else None


async def _put(db: Database, loaded: Loaded, kind: Source, wanted: Collection | None) -> None:
    """Have the one that is wanted, and no other of its kind."""
    try:
        async with db.begin() as connection:
            found = await _found(connection, kind, wanted)
        if found is None:
            return
        with Parsers(at_once=1) as parsers:
            report = await update(db, found, parsers, home=loaded.home)
    except (SourceError, KnowledgeError) as error:
        log.error("a collection cannot be put in", extra={"kind": kind, "why": str(error)})  # noqa: TRY400
        return
    if report.refused:
        log.error("documents cannot be read", extra={"kind": kind, "count": report.refused})
    if report.added or report.changed or report.removed:
        counts = {"added": report.added, "changed": report.changed, "removed": report.removed}
        log.info("a collection was put in", extra={"kind": kind, **counts})


async def _found(connection: Connection, kind: Source, wanted: Collection | None) -> Collection | None:
    """The one that is wanted, made where it is not there; others of its kind are removed."""
    found = None
    for one in await collections(connection):
        if wanted and (one.kind, one.address) == (kind, wanted.address):
            found = one
        elif one.kind == kind:
            await drop(connection, one.id)
    return found or (await create(connection, wanted) if wanted else None)
