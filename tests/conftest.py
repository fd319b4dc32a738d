"""What tests of several packages share: the real service in front of a fake engine.

``service`` starts ``python -m moduai.app`` and ``python -m moduai.metering`` once for all tests on a
home folder of their own; ``clean`` forgets what earlier tests left in the fake engine. ``whole`` is
everything, with the real model.
"""

from __future__ import annotations

import os

# Tests look into parts and replace them, which machine code does not allow: here the sources run, in the
# processes that tests start the machine code, if it was built. MODU_COMPILED=1 tries both on it.
if "MODU_COMPILED" not in os.environ:
    os.environ["MODU_COMPILED"] = "0"
    import moduai  # noqa: F401

    del os.environ["MODU_COMPILED"]

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from benchmarks.harness import modu, process
from benchmarks.harness.engine import Counts
from xdist.scheduler import LoadScopeScheduling

from moduai import compiled

MODELS = ("fake-model", "fake-embed")


WHOLE = (
    "tests/web/test_whole.py",
    "tests/clients/test_embedded.py",
    "tests/clients/test_llm.py",
    "tests/clients/test_openai_node.py",
)
"""Files that need ``whole``, which takes long to start: one process runs them all."""
LONG = (
    *WHOLE,
    "tests/engines/test_embedded.py",
    "tests/knowledge/process/test_whole.py",
    "tests/web/walks/test_guest.py",
    "tests/web/console/test_browser.py",
    "tests/web/walks/test_resident.py",
    "tests/engines/test_cli.py",
    "tests/web/walks/test_account.py",
    "tests/cells/test_cell.py",
    "tests/web/plan/test_walk.py",
    "tests/cells/test_reload.py",
    "tests/knowledge/process/",
    "tests/service/",
    "tests/faults/",
    "tests/deploy/",
    "tests/cli/test_up.py",
    "tests/metering/test_loader.py",
)
"""Files that take longest, in their order: they go first, or one process would be left with them."""


class Groups(LoadScopeScheduling):
    """Which tests one process runs: those of a file, and those of the files in ``WHOLE``."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "whole" if file in WHOLE else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Groups:
    return Groups(config, log)


def pytest_xdist_auto_num_workers() -> int:
    """Twice as many processes as cores: tests wait for others more than half of their time."""
    return (os.cpu_count() or 1) * 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest go first. Tests that replace parts need the sources."""
    items.sort(key=_rank)
    if compiled.in_use():
        for item in items:
            if item.get_closest_marker("source"):
                item.add_marker(pytest.mark.skip(reason="replaces parts of what is machine code here"))


def _rank(item: pytest.Item) -> int:
    return next((at for at, long in enumerate(LONG) if item.nodeid.startswith(long)), len(LONG))


class Engine:
    """The fake engine, in a process of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.Client(base_url=url, timeout=60)

    def behave(self, **how: Any) -> None:
        """How it answers from now on."""
        self._put("behaviour", how)

    def script(self, *hows: dict[str, Any]) -> None:
        """How it answers the next requests, one each."""
        self._put("script", list(hows))

    def healthy(self, *, yes: bool) -> None:
        self._put("healthy", yes)

    def counts(self) -> Counts:
        return Counts(**self._client.get("/control/counts").json())

    def seen(self) -> list[dict[str, Any]]:
        """Requests as they arrived: method, path, headers (pairs), body (text)."""
        seen: list[dict[str, Any]] = self._client.get("/control/seen").json()
        return [each for each in seen if each["method"] == "POST"]

    def reset(self) -> None:
        self._client.post("/control/reset").raise_for_status()
        self.behave()

    def close(self) -> None:
        self._client.close()

    def _put(self, what: str, value: Any) -> None:
        self._client.put(f"/control/{what}", json=value).raise_for_status()


class Service(NamedTuple):
    """A running service."""

    url: str
    key: str
    home: Path
    engine: Engine | None
    """The fake one; None where a real model answers."""
    model: str = MODELS[0]

    @property
    def bearer(self) -> dict[str, str]:
        """The header field of an authorised request."""
        return {"authorization": f"Bearer {self.key}"}

    def rows(self, request_id: str = "") -> list[dict[str, Any]]:
        """Usage rows in the database, oldest first; of one request if named."""
        with contextlib.closing(sqlite3.connect(f"file:{self.home / 'modu.db'}?mode=ro", uri=True)) as ledger:
            ledger.row_factory = sqlite3.Row
            where = "WHERE id = ?" if request_id else ""
            given = (request_id,) if request_id else ()
            return [dict(row) for row in ledger.execute(f"SELECT * FROM usage {where} ORDER BY at", given)]

    def row(self, request_id: str) -> dict[str, Any]:
        """The usage row of one request, once it is loaded."""
        return until(lambda: self.rows(request_id), within_s=60)[0]


def until(look: Callable[[], Any], within_s: float = 60.0, every_s: float = 0.01) -> Any:
    """What ``look`` gives, once it is true; fails after ``within_s``."""
    deadline = time.monotonic() + within_s
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {within_s} s"
        time.sleep(every_s)
    return found


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The gateway worker and the metering process, in front of the fake engine."""
    place = tmp_path_factory.mktemp("service")
    cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    options = ["--seen", *(word for name in MODELS for word in ("--model", name))]
    with process.engine_process(place / "engine.log", *options, on=cpus) as url:
        home = modu.prepare(place / "home", [url], models=MODELS)
        with modu.running_modu(home, place / "modu.log", on=cpus, beside=cpus) as target:
            engine = Engine(url)
            yield Service(target.url, home.key, home.folder, engine)
            engine.close()
        log = (place / "modu.log").read_text("utf-8", "replace")
        assert "Traceback" not in log, log[-4000:]


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """``modu up`` as people start it: its supervisor, and the model that comes with Modu on two slots."""
    place = tmp_path_factory.mktemp("whole")
    home = modu.prepare(place / "home")
    cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    log = place / "modu.log"
    with modu.up(home, log, on=cpus, engine=True) as supervisor:
        url = modu.wait_for_status(home.folder, supervisor, log)
        model = modu.wait_for_model(url, home.key)
        body = {"model": model, "max_tokens": 1, "messages": [{"role": "user", "content": "?"}]}
        with httpx.Client(base_url=url, headers={"authorization": f"Bearer {home.key}"}, timeout=60) as asker:
            until(lambda: asker.post("/v1/chat/completions", json=body).is_success, within_s=60)
        yield Service(url, home.key, home.folder, None, model)


@pytest.fixture
def clean(service: Service) -> Service:
    """The service, with a fake engine that behaves and has seen nothing, and a breaker that is closed."""
    service.engine.reset()
    body = {"model": service.model, "messages": [{"role": "user", "content": "?"}]}
    with httpx.Client(base_url=service.url, headers=service.bearer, timeout=60) as client:
        until(lambda: client.post("/v1/chat/completions", json=body).is_success, within_s=40)
    service.engine.reset()
    return service
