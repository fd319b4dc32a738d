"""Schemathesis against the document of the operations, on a real service in processes of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from benchmarks.harness import modu, process

from moduai.accounts.keys import create_key
from moduai.accounts.people import create_person
from moduai.cli.data import write
from moduai.settings import load
from moduai.store.database import Connection
from moduai.store.keyring import Keyring
from moduai.store.subjects import SubjectKeys
from moduai.web.api.table import OPERATIONS
from tests.conftest import MODELS, until

pytestmark = pytest.mark.slow
EXAMPLES = 3
"""Requests made up for each operation."""


class Target(NamedTuple):
    """A running service, and a key of its admin."""

    url: str
    headers: dict[str, str]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    place = tmp_path_factory.mktemp("api")
    cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    with process.engine_process(place / "engine.log", "--model", MODELS[0], on=cpus) as engine:
        home = modu.prepare(place / "home", [engine], models=MODELS[:1])
        with modu.running_modu(home, place / "modu.log", on=cpus, beside=cpus) as running:
            headers = {"authorization": f"Bearer {_admin(home.folder)}"}
            found = Target(running.url, headers)
            with httpx.Client(base_url=running.url, headers=headers) as client:
                until(lambda: client.get("/api/now").is_success, within_s=10)
            yield found
        log = (place / "modu.log").read_text("utf-8", "replace")
        assert "Traceback" not in log, log[-4000:]


def _admin(home: Path) -> str:
    """A key of a new admin; the service hears of it."""
    subjects = SubjectKeys.open(home, Keyring.open(home))

    async def make(connection: Connection) -> str:
        person = await create_person(connection, subjects, name="Admin", role="admin")
        clear, _ = await create_key(connection, name="tests", subject=person.id, scopes=("manage",))
        return clear

    try:
        return write(load(home), make)
    finally:
        subjects.close()


def test_every_operation_keeps_to_its_document(target: Target, tmp_path: Path) -> None:
    """Requests that fit the document and that do not, a few for each operation: no failure of the server,
    only documented statuses, answers of the documented shape, no invalid request taken, none without its key.

    A valid request may be refused all the same (an id that is nobody's, a name that is taken, a cursor that
    is from no answer), so that check is left out. ``--phases coverage,fuzzing`` and more examples find more.
    """
    command = [Path(sys.executable).with_name("schemathesis"), "run", f"{target.url}/api/openapi.json"]
    options = {
        "--header": f"Authorization: {target.headers['authorization']}",
        "--max-examples": str(EXAMPLES),
        "--phases": "fuzzing",
        "--exclude-checks": "positive_data_acceptance",
        "--seed": "1",
        "--request-timeout": "10",
    }
    words = [word for option in options.items() for word in option]
    ran = subprocess.run(
        [*command, *words, "--no-color"],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        cwd=tmp_path,
    )
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-2000:]
    assert f"Tested: {len(OPERATIONS)}" in ran.stdout
