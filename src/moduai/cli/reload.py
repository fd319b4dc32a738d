"""``modu reload``: replace the processes of the running service without failing anybody."""

from __future__ import annotations

import asyncio
import os
import signal

import typer

from moduai import service
from moduai.cli.common import HomeOption, examples, fail, new_app, open_loaded
from moduai.settings import Loaded

app = new_app("Replace the processes of the running service, one after the other.", group=False)


@app.command(epilog=examples("modu reload        after an upgrade, or a change of modu.toml"))
def reload(home: HomeOption = None) -> None:
    """Replace the running service's processes, one after the other, so that new code and settings count.

    A worker ends what it has while another takes what is new; a new one that does not come up leaves the old
    one at work. The embedded engine and the supervisor itself stay until `modu up` is started again, and so
    do gateway.workers, cells.lease and cells.dispatch. What lasts longer than gateway.drain_s is ended.

    The database is brought to the schema of the installed version first, as a start does; where that cannot
    be done no process is touched.
    """
    loaded = open_loaded(home)
    found = service.running(loaded.home)
    if found is None:
        fail("no service runs on this home folder: modu up")
    asyncio.run(_migrate(loaded))
    os.kill(found.pid, signal.SIGUSR1)
    typer.echo(f"The processes of {found.url} are being replaced; its log says when all are.")


async def _migrate(loaded: Loaded) -> None:
    """New processes must find the schema they are written for; those of before work on it meanwhile, for
    migrations expand before they contract. Fails closed.
    """
    from moduai.store import migrate  # noqa: PLC0415  (memory and time that only this needs)
    from moduai.store.database import Database, brief  # noqa: PLC0415

    db = Database(loaded.database_url)
    try:
        had = await migrate.current(db)
        if db.file and had and had < migrate.BESIDE:
            fail(f"the upgrade from schema {had} cannot be done beside its processes: stop, and `modu up`")
        await migrate.upgrade(loaded.database_url)
    except migrate.SchemaError as error:
        fail(str(error))
    except db.errors as error:
        fail(f"the database {db.shown()} cannot be used, so nothing is replaced: {brief(error)}")
    finally:
        await db.dispose()
