"""``modu knowledge``: the public documents that answers cite: add, look, search, update, remove."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated, Any, get_args

import msgspec
import typer
from msgspec.structs import asdict, replace

from moduai.accounts.audit import record
from moduai.accounts.organisations import AccountError
from moduai.accounts.people import clean_line
from moduai.cli import data
from moduai.cli.common import (
    HomeOption,
    JsonOption,
    confirm,
    count,
    done,
    examples,
    fail,
    new_app,
    open_loaded,
    run,
    safe,
    table,
)
from moduai.knowledge import connectors, sources, store
from moduai.knowledge.client import Search
from moduai.knowledge.due import due_at
from moduai.knowledge.errors import SourceError
from moduai.knowledge.ingest import PARTLY, Progress, Report, silent, update
from moduai.knowledge.parsing import Parsers
from moduai.knowledge.store import Collection, KnowledgeError
from moduai.knowledge.types import Found, Kind, Query, SearchAwayError, Stored
from moduai.outbound import networks
from moduai.settings import Loaded
from moduai.store.database import Connection, Database

app = new_app("Add, list, search, update and remove public documents.")

REFUSALS = (SourceError, KnowledgeError, AccountError)
NamedArgument = Annotated[
    str, typer.Argument(metavar="COLLECTION", help="Its name, id, or where it was added from.")
]
COLLECTIONS = {
    "name": "name",
    "kind": "kind",
    "state": "state",
    "read": "read",
    "documents": "documents",
    "passages": "passages",
    "problems": "problems",
    "updated": "updated (UTC)",
    "due": "due (UTC)",
}
DOCUMENTS = {
    "key": "document",
    "title": "title",
    "version": "version",
    "licence": "licence",
    "in_force_from": "in force from",
    "retrieved": "retrieved (UTC)",
}


@app.command(
    epilog=examples(
        "modu knowledge add ./documents",
        'modu knowledge add guide.hwpx --licence KOGL-1 --ministry "Ministry of Health"',
        "modu knowledge add https://www.example.go.kr/guide.html",
        'modu knowledge add https://github.com/legalize-kr/legalize-kr --name "Laws"',
        'modu knowledge add law.go.kr:law --name "Statutes in force"',
        'modu knowledge add "law.go.kr:prec?query=WORD"',
        'modu knowledge add data.go.kr:gov24 --name "Public services"',
    )
)
def add(
    place: Annotated[
        str,
        typer.Argument(
            help="A folder, a file, an http(s) address, the address of a git repository, or documents at an "
            "open API: law.go.kr:law."
        ),
    ],
    *,
    name: Annotated[str, typer.Option(help="Name for people; default: from the place.")] = "",
    licence: Annotated[str, typer.Option(help="Licence of documents that name none.")] = "",
    ministry: Annotated[str, typer.Option(help="Who is responsible for documents that name nobody.")] = "",
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Read documents and open them to everyone: they are found, and answers cite them.

    An address is a git repository if it ends with .git, begins with git+https:// or is a repository's at
    github.com or gitlab.com. Open APIs are law.go.kr:law, :eflaw, :admrul, :ordin and :prec, and
    data.go.kr:gov24, with filters behind a question mark; they want a key, in the setting
    knowledge.law_go_kr_key or knowledge.data_go_kr_key. What is broken off goes on with
    `modu knowledge update`.
    """
    loaded = open_loaded(home)

    async def work(db: Database) -> list[Report]:
        said = [
            clean_line(text, 100, what)
            for text, what in ((name, "a name"), (licence, "a licence"), (ministry, "a ministry"))
        ]
        new = replace(sources.described(place, *said), state="reading")
        async with db.begin() as c:
            made = await store.create(c, new)
            await record(c, actor="cli", action="knowledge.add", target=made.id, detail={"kind": made.kind})
        return [await _read(loaded, db, made, quiet=json)]

    _tell(data.work(loaded, work, *REFUSALS), json=json)


@app.command(
    "update",
    epilog=examples(
        "modu knowledge update", 'modu knowledge update "Laws"', "modu knowledge update box --again"
    ),
)
def update_(
    collection: Annotated[
        str, typer.Argument(metavar="[COLLECTION]", help="Its name, id or place; none: all of them.")
    ] = "",
    *,
    again: Annotated[bool, typer.Option("--again", help="Read also what did not change.")] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Read collections again and keep what changed since; what is gone from its source is removed."""
    loaded = open_loaded(home)

    failed: list[str] = []

    async def work(db: Database) -> list[Report]:
        async with db.begin() as c:
            found = await _named(c, collection)
            for one in found:
                await record(c, actor="cli", action="knowledge.update", target=one.id)
        reports = []
        for one in found:
            try:
                reports.append(await _read(loaded, db, one, quiet=json, again=again))
            except SourceError as error:  # the others are read all the same
                failed.append(f"{safe(one.name)}: {error}")
        return reports

    _tell(data.work(loaded, work, KnowledgeError), json=json)
    if failed:
        fail("; ".join(failed))


@app.command(epilog=examples("modu knowledge status", 'modu knowledge status "Laws" --json'))
def status(
    collection: Annotated[
        str, typer.Argument(metavar="[COLLECTION]", help="Its name, id or place; none: all of them.")
    ] = "",
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Show the collections, what could not be read of them, and how search is."""
    loaded = open_loaded(home)
    found = data.read(loaded, lambda c: _named(c, collection), KnowledgeError)
    searching, why = _searching(loaded)
    hours = loaded.settings.knowledge.update_hours
    if json:
        told = [{**asdict(one), "due_at": due_at(one, hours)} for one in found]
        done("", {"collections": told, "search": searching, "search_away": why}, json=True)
        return
    shown = [_collection(one, hours) for one in found]
    table(shown, COLLECTIONS, empty="No documents yet: modu knowledge add PLACE")
    for one in found:
        if one.error:
            typer.echo(f"{safe(one.name)}: {safe(one.error)}")
    if collection and found[0].refused:
        typer.echo("")
        table(map(asdict, found[0].refused), {"key": "document", "reason": "what could not be read"})
    typer.echo(f"search: {why or _search_words(searching)}")


@app.command(
    "list",
    epilog=examples('modu knowledge list "Laws"', "modu knowledge list box --limit 500 --json"),
)
def list_(
    collection: NamedArgument,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 100,
    after: Annotated[str, typer.Option(help="Id of the last document of the list before.")] = "",
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """List the documents of a collection, with licence, source, dates and version."""

    async def look(c: Connection) -> list[Stored]:
        found = await store.collection(c, collection)
        return await store.listed(c, found.id, after, limit)

    found = data.read(open_loaded(home), look, KnowledgeError)
    table(map(_document, found), DOCUMENTS, json=json, empty="No documents.")


@app.command(
    epilog=examples(
        'modu knowledge search "when a deposit is not given back"',
        'modu knowledge search "article 27" --kind statute --in-force 2026-01-01',
    )
)
def search(
    words: Annotated[str, typer.Argument(metavar="QUESTION", help="What is sought, in everyday words.")],
    *,
    limit: Annotated[int, typer.Option(min=1, max=100, help="At most so many passages.")] = 5,
    collection: Annotated[
        list[str] | None, typer.Option(help="Only in this collection; may be repeated.")
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option(help=f"Only {', '.join(get_args(Kind))}; may be repeated.")
    ] = None,
    ministry: Annotated[str, typer.Option(help="Only what this ministry is responsible for.")] = "",
    in_force: Annotated[str, typer.Option(metavar="DATE", help="Only what was in force on that day.")] = "",
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Find the passages that answer a question. The service has to run."""
    loaded = open_loaded(home)

    async def look(c: Connection) -> tuple[str, ...]:
        return tuple([(await store.collection(c, one)).id for one in collection or ()])

    query = _query(
        text=words,
        limit=limit,
        collections=data.read(loaded, look, KnowledgeError),
        kinds=tuple(kind or ()),
        ministry=ministry,
        in_force_on=in_force or None,
    )
    try:
        found = run(Search(loaded).search(query))
    except (SearchAwayError, ValueError) as error:
        fail(str(error))
    done("\n\n".join(map(_passage, found)) or "Nothing was found.", found, json=json)


@app.command(epilog=examples('modu knowledge remove "Laws"', "modu knowledge remove guide.hwpx --yes"))
def remove(
    collection: NamedArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Remove a collection: nothing of it is found or shown from then on, in any version."""
    loaded = open_loaded(home)
    found = data.read(loaded, lambda c: store.collection(c, collection), KnowledgeError)
    if not yes:
        if not sys.stdin.isatty():
            fail(f"give --yes to remove {safe(found.name)} without a question", 2)
        size = count(found.documents, "document")
        confirm(f"Remove {safe(found.name)} with {size}?", "nothing was removed")

    async def work(c: Connection) -> int:
        removed = await store.drop(c, found.id)
        await record(
            c, actor="cli", action="knowledge.remove", target=found.id, detail={"documents": removed}
        )
        return removed

    removed = data.write(loaded, work, KnowledgeError)
    _until_found(loaded)
    told = {"id": found.id, "name": found.name, "documents": removed}
    done(f"{safe(found.name)} is removed: {count(removed, 'document')}", told, json=json)


async def _named(c: Connection, collection: str) -> list[Collection]:
    """The one that is named, or all."""
    return [await store.collection(c, collection)] if collection else await store.collections(c)


async def _read(
    loaded: Loaded, db: Database, collection: Collection, *, quiet: bool, again: bool = False
) -> Report:
    try:
        with Parsers() as parsers, _shown(collection.name, quiet=quiet) as progress:
            return await update(
                db,
                collection,
                parsers,
                home=loaded.home,
                private=networks(loaded.settings.outbound.private),
                keys=connectors.keys(loaded.settings.knowledge),
                progress=progress,
                again=again,
            )
    except asyncio.CancelledError:
        typer.echo(
            f"{safe(collection.name)} is not read to its end: the service reads on while it runs", err=True
        )
        raise


@contextmanager
def _shown(name: str, *, quiet: bool) -> Iterator[Progress]:
    """How far a reading is, on a terminal."""
    if quiet or not sys.stderr.isatty():
        yield silent
        return
    from rich.console import Console  # noqa: PLC0415  Rich costs 0.1 s, so only where it is seen
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415
    from rich.progress import Progress as Bar  # noqa: PLC0415

    columns = (
        TextColumn("{task.fields[what]}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, what=safe(name))

        def told(now: int, total: int, file: str) -> None:
            bar.update(task, completed=now, total=total, what=safe(file)[-40:])

        yield told


def _tell(reports: list[Report], *, json: bool) -> None:
    lines = []
    for one in reports:
        parts = [
            f"{number:,} {what}"
            for number, what in (
                (one.added, "added"),
                (one.changed, "changed"),
                (one.same, "as before"),
                (one.removed, "removed"),
                (one.refused, "refused"),
                (one.partly, "read in part"),
            )
            if number
        ]
        lines.append(f"{safe(one.name)}: {', '.join(parts) or 'nothing there'}")
        lines += [
            f"  {safe(problem.key)}: {safe(problem.reason)}"
            for problem in one.problems
            if problem.code != PARTLY  # `status` names those too
        ]
    done("\n".join(lines) or "No documents yet: modu knowledge add PLACE", reports, json=json)


def _searching(loaded: Loaded) -> tuple[Any, str]:
    try:
        return run(Search(loaded).status()), ""
    except SearchAwayError as error:
        return None, str(error)


def _search_words(status: Any) -> str:
    """One line of how search is, and one for each thing that somebody should know."""
    to_come = f", {count(status.behind, 'change')} to come" if status.behind else ""
    lines = [
        f"{status.state}, {count(status.documents, 'document')}, {count(status.passages, 'passage')}{to_come}"
    ]
    if status.waiting:
        lines[0] += f", {status.passages - status.waiting:,} of them by morphemes too"
    if status.anew:
        lines.append(f"The index is being built, and nothing is found until then: {safe(status.anew)}")
    if status.error:
        lines.append(f"The index does not follow the database: {safe(status.error)}")
    lines += [
        f"{each.document} version {each.version} is set aside: {safe(each.reason)}" for each in status.aside
    ]
    return "\n".join(lines)


def _until_found(loaded: Loaded) -> None:
    """Wait until search knows what changed, if it runs."""
    with suppress(SearchAwayError):
        run(Search(loaded).changed())


def _query(**given: Any) -> Query:
    try:
        return msgspec.convert(given, Query)
    except msgspec.ValidationError as error:
        fail(f"this cannot be sought: {error}", 2)


def _collection(one: Collection, update_hours: float) -> dict[str, Any]:
    return {
        **asdict(one),
        "name": safe(one.name),
        "read": f"{one.done:,} of {one.total:,}",
        "problems": len(one.refused),
        "updated": data.utc(one.updated_at),
        "due": data.utc(due_at(one, update_hours)),
    }


def _document(one: Stored) -> dict[str, Any]:
    facts = {name: value for name, value in msgspec.to_builtins(one.facts).items() if value}
    retrieved = data.utc(int(one.retrieved_at.timestamp()))
    return {**facts, "id": one.id, "key": safe(one.key), "version": one.version, "retrieved": retrieved}


def _passage(one: Found) -> str:
    place = " ".join((one.facts.title, one.passage.label)).strip()
    since = f", in force from {one.facts.in_force_from}" if one.facts.in_force_from else ""
    where = f"[{one.document} version {one.version}, {one.passage.start}–{one.passage.end}{since}]"
    link = f"\n{one.facts.address}" if one.facts.address else ""
    return safe(f"{place}  {where}\n{one.text.strip()}{link}")
