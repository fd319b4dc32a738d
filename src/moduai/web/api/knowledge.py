"""Public knowledge: collections with how far their reading is, added, read again, removed."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import replace

from moduai.accounts.organisations import AccountError
from moduai.accounts.people import clean_line
from moduai.knowledge import store
from moduai.knowledge.errors import SourceError
from moduai.knowledge.store import Collection, KnowledgeError
from moduai.knowledge.types import Stored
from moduai.store.database import Connection
from moduai.web.api.operation import Call, Nothing, Operation, Page, Request, Text, Word, refused


class Collections(Struct, frozen=True):
    """All collections, by name."""

    items: list[Collection]


class CollectionNamed(Request, frozen=True):
    """One collection, by its id or name."""

    collection: Word


class CollectionAdded(Request, frozen=True):
    """Documents to add. Folders of the machine are added on the machine, by the command."""

    address: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=500,
            pattern=r"^((git\+)?https?://[^\x00-\x20\x7f]+|(law|data)\.go\.kr:[^\x00-\x1f\x7f]+)$",
            description="Of a document, of a git repository (ends with .git, or begins with "
            "git+https://), or of documents at an open API: law.go.kr:law.",
        ),
    ]
    name: Annotated[Text, Meta(description="Name for people; empty: from the address.")] = ""
    licence: Annotated[Text, Meta(description="Licence of documents that name none.")] = ""
    ministry: Annotated[Text, Meta(description="Who is responsible for documents that name nobody.")] = ""


class DocumentsWanted(Page, frozen=True, kw_only=True):
    """Which documents."""

    collection: Word


class DocumentsPage(Struct, frozen=True):
    """Documents of a collection, by their key."""

    items: list[Stored]
    next: str
    """To be given as ``after``; empty: these were the last."""


class CollectionRemoved(Struct, frozen=True):
    """What was removed."""

    id: str
    documents: int


async def list_all(call: Call, _: Nothing) -> Collections:
    """What was added, from where, how much is in it, how far its reading is, and what could not be read."""
    async with call.read() as connection:
        return Collections(await store.collections(connection))


async def show(call: Call, wanted: CollectionNamed) -> Collection:
    """One collection."""
    async with call.read() as connection:
        return await _find(connection, wanted.collection)


async def documents(call: Call, wanted: DocumentsWanted) -> DocumentsPage:
    """The newest version of each document, with licence, source, ministry and dates."""
    async with call.read() as connection:
        one = await _find(connection, wanted.collection)
        found = await store.listed(connection, one.id, wanted.after, wanted.limit)
    return DocumentsPage(found, found[-1].id if len(found) == wanted.limit else "")


async def add(call: Call, wanted: CollectionAdded) -> Collection:
    """The documents are read in the background, and are then open to everyone: they are found, and answers
    cite them.
    """
    from moduai.knowledge import sources  # noqa: PLC0415  (with the readers, which a worker rarely needs)

    said = (wanted.name, "a name"), (wanted.licence, "a licence"), (wanted.ministry, "a ministry")
    with refused("value_not_allowed", AccountError, SourceError):
        new = sources.described(wanted.address, *(clean_line(text, 100, what) for text, what in said))
    async with call.write() as connection:
        await call.only_once(connection)
        with refused("conflict", KnowledgeError):
            made = await store.create(connection, new)
        await call.record(connection, made.id, kind=made.kind)
    return made


async def update(call: Call, wanted: CollectionNamed) -> Collection:
    """Reads the source again in the background and keeps what changed; what is gone there is removed."""
    async with call.write() as connection:
        found = await _find(connection, wanted.collection)
        await store.set_state(connection, found.id, "waiting")
        await call.record(connection, found.id)
    return replace(found, state="waiting")


async def remove(call: Call, wanted: CollectionNamed) -> CollectionRemoved:
    """Nothing of it is found or shown from then on, in any version. It cannot be undone."""
    async with call.write() as connection:
        found = await _find(connection, wanted.collection)
        count = await store.drop(connection, found.id)
        await call.record(connection, found.id, documents=count)
    return CollectionRemoved(found.id, count)


async def _find(connection: Connection, named: str) -> Collection:
    with refused("not_found", KnowledgeError):
        return await store.collection(connection, named)


OPERATIONS = (
    Operation(
        "knowledge.list", "GET", "/api/knowledge", "knowledge", "List the collections of documents.",
        Nothing, Collections, list_all, "knowledge status",
    ),
    Operation(
        "knowledge.add", "POST", "/api/knowledge", "knowledge", "Add documents.",
        CollectionAdded, Collection, add, "knowledge add", status=201,
    ),
    Operation(
        "knowledge.show", "GET", "/api/knowledge/{collection}", "knowledge", "Show a collection.",
        CollectionNamed, Collection, show, "knowledge status",
    ),
    Operation(
        "knowledge.documents", "GET", "/api/knowledge/{collection}/documents", "knowledge",
        "List the documents of a collection.",
        DocumentsWanted, DocumentsPage, documents, "knowledge list",
    ),
    Operation(
        "knowledge.update", "POST", "/api/knowledge/{collection}/update", "knowledge",
        "Read a collection again.",
        CollectionNamed, Collection, update, "knowledge update",
    ),
    Operation(
        "knowledge.remove", "DELETE", "/api/knowledge/{collection}", "knowledge",
        "Remove a collection.",
        CollectionNamed, CollectionRemoved, remove, "knowledge remove",
    ),
)  # fmt: skip
