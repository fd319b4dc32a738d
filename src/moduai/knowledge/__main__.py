"""The search process, ``python -m moduai.knowledge``: holds the index, and answers on a Unix socket.

It follows the database, and makes the index anew from it whenever that cannot be used; documents that wait
to be read it has read by processes of their own. The supervisor keeps it apart from the gateway, for Kiwi
alone takes 300 MB: when this process is away nothing is found, which is said, and everything else goes on.
SIGTERM ends what is asked and the part of the building that is under way.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from moduai import settings
from moduai.child import TakenError, alone, socket_path, stay_behind
from moduai.knowledge.boxed import put_boxed
from moduai.knowledge.following import FIRST_WAIT_S, MOST_WAIT_S, Follower
from moduai.knowledge.index_folder import UnusableError
from moduai.knowledge.index_protocol import Index
from moduai.knowledge.reading import Reader
from moduai.knowledge.server import Server
from moduai.knowledge.wire import SOCKET
from moduai.log import configure
from moduai.parent import Parent
from moduai.settings import Loaded, SettingsError
from moduai.store.database import Database, brief
from moduai.store.feed import follow

log = logging.getLogger("moduai.knowledge")

NICENESS = 5
"""Between the gateway's and the engine's."""
SWITCH_S = 0.001
"""How long a thread that wants to run Python waits for another: a search for one that writes."""
DRAIN_S = 8.0
"""How long the end waits for what is asked and built; what is cut off is done again at the next start."""

Make = Callable[[Path], Index]


async def run(loaded: Loaded, make: Make) -> int:
    """Serve until told to stop; returns the exit status.

    Raises OSError where the folder or the socket cannot be used, and what opening the index raises.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: os._exit(1) if stop.is_set() else stop.set())
    db = Database(loaded.database_url)
    follower = Follower(db, loaded, make)
    await follower.open()
    morphemes = loaded.settings.knowledge.kiwi and await follower.load()
    reader = Reader(db, loaded)
    server = Server(follower, loaded.settings.knowledge.search_s)
    socket = socket_path(loaded.home, SOCKET)
    listening = await server.listen(socket)
    gc.collect()
    gc.freeze()  # or a search now and then waits while all that is loaded is looked through

    async def heard(topics: frozenset[str]) -> None:
        await follower.heard(topics)
        await reader.heard(topics)

    works = (
        _work(db, loaded, follower, reader),
        follow(db, loaded.settings.database.feed_s, heard),
        follower.folder.watch(),
        Parent().ended(),
    )
    tasks = [asyncio.create_task(work) for work in works]
    filling = [asyncio.create_task(follower.fill())] if morphemes else []
    for task in tasks:
        task.add_done_callback(lambda _: stop.set())
    await stop.wait()
    log.info("stopping")
    status = _status(tasks)
    listening.close()
    socket.unlink(missing_ok=True)
    await server.drain(loaded.settings.knowledge.search_s)
    await follower.stop(DRAIN_S)
    for task in (*tasks, *filling):
        task.cancel()
    await asyncio.gather(*tasks, *filling, return_exceptions=True)
    await db.dispose()
    log.info("stopped")
    return status


async def _work(db: Database, loaded: Loaded, follower: Follower, reader: Reader) -> None:
    """Put in what nobody has to add, once the database is there; then read what waits to be read, and keep
    the index up.
    """
    wait = FIRST_WAIT_S
    while True:
        try:
            await put_boxed(db, loaded)
            break
        except db.errors as error:
            log.warning("the database is away", extra={"why": brief(error)})
        await asyncio.sleep(wait)
        wait = min(wait * 2, MOST_WAIT_S)
    await asyncio.gather(follower.run(), reader.run())


def _status(tasks: list[asyncio.Task[None]]) -> int:
    """1 where a part has failed: then the process is started again, and builds the index anew if it must."""
    errors = [error for task in tasks if task.done() and (error := task.exception())]
    for error in errors:
        known = isinstance(error, UnusableError)
        told = {"why": str(error)} if known else {}
        log.error("search has to begin anew", extra=told, exc_info=None if known else error)
    return 1 if errors else 0


def open_index(loaded: Loaded, folder: Path) -> Index:
    """Ours, by tantivy."""
    from moduai.knowledge.search.embed import embedder  # noqa: PLC0415  (only where it serves)
    from moduai.knowledge.search.index import Index as Real  # noqa: PLC0415

    return Real(folder, embedder=embedder(loaded.settings.knowledge.embedder))


def main(make: Make | None = None) -> int:
    """Entry point; returns the exit status. ``make`` opens another index than ours."""
    try:
        loaded = settings.load()
    except SettingsError as error:
        sys.stderr.write(f"modu: {error}\n")
        return os.EX_CONFIG
    configure(loaded.settings.log, "search")
    try:
        socket = socket_path(loaded.home, SOCKET)
        with alone(loaded.index_folder / "index"), alone(socket):
            socket.unlink(missing_ok=True)
            os.nice(NICENESS)
            sys.setswitchinterval(SWITCH_S)
            stay_behind(loaded.settings.knowledge.memory_mb)
            return asyncio.run(run(loaded, make or partial(open_index, loaded)))
    except (TakenError, OSError) as error:
        log.error("search cannot start", extra={"why": str(error)})  # noqa: TRY400  (the line says it all)
        return 1


if __name__ == "__main__":
    status = main()
    logging.shutdown()
    os._exit(status)  # threads that still build are not waited for: what they did not finish is done again
