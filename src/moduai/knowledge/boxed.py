"""The collection that comes with Modu, put into the database: ``box/``, in Korean and English.

So that the first question on a new machine has an answer. Rule: with ``knowledge.box`` on it is as the
package has it, after an upgrade too; with it off nothing is put in, and what is there stays until it is
removed.
"""

from __future__ import annotations

import logging

from moduai.knowledge.errors import SourceError
from moduai.knowledge.ingest import update
from moduai.knowledge.parsing import Parsers
from moduai.knowledge.store import Collection, KnowledgeError, collections, create
from moduai.settings import Loaded
from moduai.store.database import Connection, Database

log = logging.getLogger(__name__)

NAME = "modu"
"""Of the collection, for people."""
LICENCE = "Apache-2.0"


async def put_box(db: Database, loaded: Loaded) -> None:
    """Put in what is not there as it is in the package. Raises one of ``db.errors``; what cannot be read is
    left out, with a line in the log (fails open: other documents can be found all the same).
    """
    if not loaded.settings.knowledge.box:
        return
    try:
        async with db.begin() as connection:
            box = await _collection(connection)
        with Parsers(at_once=1) as parsers:
            report = await update(db, box, parsers, home=loaded.home)
    except (SourceError, KnowledgeError) as error:
        log.error("the box cannot be read", extra={"why": str(error)})  # noqa: TRY400  (the line says it all)
        return
    if report.refused:
        log.error("documents of the box cannot be read", extra={"count": report.refused})
    if report.added or report.changed or report.removed:
        told = {"added": report.added, "changed": report.changed, "removed": report.removed}
        log.info("the box was put in", extra=told)


async def _collection(connection: Connection) -> Collection:
    """The box's; made where there is none."""
    for one in await collections(connection):
        if one.kind == "box":
            return one
    return await create(connection, Collection(id="", name=NAME, kind="box", address="", licence=LICENCE))
