"""``modu reload``: replace the processes of the running service without failing anybody."""

from __future__ import annotations

import os
import signal

import typer

from moduai import service
from moduai.cli.common import HomeOption, examples, fail, new_app, open_loaded

app = new_app("Replace the processes of the running service, one after the other.", group=False)


@app.command(epilog=examples("modu reload        after an upgrade, or a change of modu.toml"))
def reload(home: HomeOption = None) -> None:
    """Replace the running service's processes, one after the other, so that new code and settings count.

    A worker ends what it has while another takes what is new; a new one that does not come up leaves the old
    one at work. The embedded engine and the supervisor itself stay until `modu up` is started again, and so
    do gateway.workers, cells.lease and cells.dispatch. What lasts longer than gateway.drain_s is ended.
    """
    found = service.running(open_loaded(home).home)
    if found is None:
        fail("no service runs on this home folder: modu up")
    os.kill(found.pid, signal.SIGUSR1)
    typer.echo(f"The processes of {found.url} are being replaced; its log says when all are.")
