"""The operations and the console on a real service, in processes of its own; Schemathesis among them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from benchmarks.harness import modu, process

from moduai.accounts.keys import create_key
from moduai.accounts.people import create_person
from moduai.accounts.sessions import COOKIE, start_session
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
    """A running service, and a key and a session of its admin."""

    url: str
    headers: dict[str, str]
    session: str


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    place = tmp_path_factory.mktemp("api")
    cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    with process.engine_process(place / "engine.log", "--model", MODELS[0], on=cpus) as engine:
        home = modu.prepare(place / "home", [engine], models=MODELS[:1])
        with modu.running_modu(home, place / "modu.log", on=cpus, beside=cpus) as running:
            key, session = _admin(home.folder)
            headers = {"authorization": f"Bearer {key}"}
            found = Target(running.url, headers, session)
            with httpx.Client(base_url=running.url, headers=headers) as client:
                until(lambda: client.get("/api/now").is_success, within_s=60)
            yield found
        log = (place / "modu.log").read_text("utf-8", "replace")
        assert "Traceback" not in log, log[-4000:]


def _admin(home: Path) -> tuple[str, str]:
    """A key and a session of a new admin; the service hears of them."""
    subjects = SubjectKeys.open(home, Keyring.open(home))

    async def make(connection: Connection) -> tuple[str, str]:
        person = await create_person(connection, subjects, name="Admin", role="admin")
        clear, _ = await create_key(connection, name="tests", subject=person.id, scopes=("manage",))
        session, _ = await start_session(connection, person, "", time.time())
        return clear, session

    try:
        return write(load(home), make)
    finally:
        subjects.close()


def test_the_console_of_the_service(target: Target) -> None:
    """By the gateway: a banner that is set on its page stands on everyone's within a second or two."""
    with httpx.Client(base_url=target.url, cookies={COOKIE: target.session}) as client:
        page = client.get("/console/switches", headers={"accept-language": "en"})
        assert page.status_code == 200
        assert "/static/console." in page.text
        wanted = r'action="/console/do/banner.set".*?name="token" value="([^"]+)"'
        token = re.search(wanted, page.text, flags=re.DOTALL)
        assert token is not None
        fields = {
            "token": token[1],
            "back": "/console/switches",
            "words.en": "Maintenance tonight",
            "until": "0",
        }
        done = client.post("/console/do/banner.set", data=fields, headers={"origin": target.url})
        assert done.headers["location"] == "/console/switches?done=banner.set"
        until(lambda: "Maintenance tonight" in httpx.get(target.url, headers={"accept-language": "en"}).text)
        assert client.delete("/api/banner", headers={"modu-token": token[1]}).json() == {"cleared": True}
    assert httpx.get(f"{target.url}/console").status_code == 303


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
