"""The image and the compose file: what can be run of them without a container's runtime is run."""

from __future__ import annotations

import asyncio
import re
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest
from benchmarks.harness import modu, process
from benchmarks.harness.compose import COMPOSE, OURS, Site, environment

from moduai import settings
from tests.conftest import until
from tests.databases import Postgres
from tests.deploy import readonly
from tests.deploy.front import CPUS, DEPLOY

ROOT = DEPLOY.parent
EXAMPLE = dict(
    line.split("=", 1)
    for line in (DEPLOY / "compose" / "example.env").read_text("utf-8").splitlines()
    if line and not line.startswith("#")
)


def _stages() -> list[list[str]]:
    """Instructions of the Containerfile, by stage."""
    text = (DEPLOY / "Containerfile").read_text("utf-8")
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]
    starts = [at for at, line in enumerate(lines) if line.startswith("FROM ")]
    return [lines[a:b] for a, b in zip(starts, [*starts[1:], None], strict=True)]


def test_the_image_installs_by_digest_and_ends_without_tools_as_nobody_special() -> None:
    build, final = _stages()
    assert {stage[0].split()[1] for stage in (build, final)} == {"${PYTHON}"}, "one base, to be pinned once"
    installs = [line for line in build if "pip install" in line]
    assert all("--require-hashes" in line or "--no-index" in line for line in installs)
    words = shlex.split(" ".join(final))
    assert not {"apt-get", "pip", "gcc", "make"} & set(words)
    user = next(line.split()[1] for line in final if line.startswith("USER"))
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user), "a number, which a cluster can check is not root"
    ignored = (ROOT / ".containerignore").read_text("utf-8").split()
    copied = {
        word for line in build if line.startswith("COPY") for word in line.split()[1:-1] if word[0] != "-"
    }
    assert copied
    for name in copied:
        assert (ROOT / name).exists()
        assert f"!{name.split('/')[0]}" in ignored


def test_the_locks_of_the_image_fit_each_other() -> None:
    locks = {
        name: dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", text, re.MULTILINE))
        for name in ("core", "cells", "dev")
        if (text := (ROOT / "requirements" / f"{name}.lock").read_text("utf-8"))
    }
    assert "redis" in locks["cells"]
    assert not locks["cells"].keys() & locks["core"].keys(), "pip takes each package once"
    assert locks["cells"].items() <= locks["dev"].items(), "what is shipped is what is tested"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="mount namespaces are Linux's")
def test_the_service_runs_without_any_right_where_only_its_home_can_be_written(tmp_path: Path) -> None:
    """As in the container, and under the systemd unit. In place of its /tmp stands the shared memory."""
    home = tmp_path / "home"
    home.mkdir()
    log = tmp_path / "log"
    namespace = ["unshare", "--mount", "--user", "--map-root-user"]
    command = [*namespace, sys.executable, readonly.__file__, str(home)]
    command += [sys.executable, "-m", "moduai.cli", "up", "--port", "0", "--no-engine"]
    environ = {"MODU_HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(ROOT / "src")}
    environ["TMPDIR"] = "/dev/shm"
    with process.started(command, on=CPUS, log=log, environ=environ) as running:
        url = modu.wait_for_status(home, running, log, within_s=60)
        key = re.search(r"modu-[\w-]{43}", log.read_text("utf-8"))
        assert key
        with _asker(url, key[0]) as client:
            assert [client.get(path).status_code for path in ("/v1/models", "/")] == [200, 200]
            until(lambda: "search" not in client.get("/health/ready").json()["degraded"], within_s=60)
        assert _capabilities(running.pid) == {0}
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 0
    assert "Read-only" not in log.read_text("utf-8")


def _capabilities(pid: int) -> set[int]:
    """Effective capabilities of a process and all below it."""
    texts = [Path(f"/proc/{each}/status").read_text("utf-8") for each in process.tree(pid)]
    assert len(texts) >= 4, "supervisor, worker, metering, search"
    return {int(text.partition("CapEff:")[2].split()[0], 16) for text in texts}


VARIABLE = r"\$\{(\w+)(?::\?)?\}"
"""Of the compose file; those that must be given end with a question mark."""


def test_compose_gives_settings_that_there_are() -> None:
    for service in OURS:
        filled = {
            name: re.sub(VARIABLE, lambda found: EXAMPLE[found[1]], value)
            for name, value in environment(service).items()
        }
        loaded = settings.load(Path("/nowhere"), filled)
        assert loaded.shared_line
        assert loaded.settings.gateway.behind_proxy == (
            COMPOSE["services"]["caddy"]["networks"]["inside"]["ipv4_address"],
        )
    assert set(OURS) == {"gateway-1", "gateway-2", "dispatcher-1", "dispatcher-2"}
    text = (DEPLOY / "compose" / "compose.yaml").read_text("utf-8")
    assert set(re.findall(VARIABLE, text)) == EXAMPLE.keys()


def test_compose_asks_who_comes_to_the_database_and_to_valkey() -> None:
    for service, variable in (("postgres", "POSTGRES_PASSWORD"), ("valkey", "VALKEY_PASSWORD")):
        assert f"${{{variable}" in str(COMPOSE["services"][service])
        assert f"${{{variable}:?}}@{service}:" in str(environment("gateway-1"))


def test_compose_locks_its_containers_up() -> None:
    for one in OURS.values():
        assert one["read_only"] is True
        assert one["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in one["security_opt"]
        assert "keyring:/var/lib/modu/keyring" in one["volumes"]
    for name, one in COMPOSE["services"].items():
        assert re.search(r":(v?\d|\$\{MODU_VERSION\})", one["image"]), f"{name} names no version"
        assert name == "caddy" or "ports" not in one, "only the proxy is reached from outside"
        volumes = [each.partition(":")[0] for each in one.get("volumes", ()) if each[0] not in "./"]
        assert set(volumes) <= COMPOSE["volumes"].keys()


@pytest.fixture
def whole(tmp_path: Path, postgres: Postgres, valkey: str) -> Iterator[Site]:
    shared = {
        "MODU_DATABASE__URL": asyncio.run(postgres.make()),
        "MODU_CELLS__LEASE": valkey,
        "MODU_GATEWAY__ALLOWED_HOSTS": "modu.example.org",
        "MODU_SIGN_IN__PUBLIC_URL": "https://modu.example.org",
        "MODU_GATEWAY__LEAVE_S": "0",
        "MODU_KNOWLEDGE__ENABLED": "false",
    }
    with ExitStack() as stack:
        yield Site(tmp_path, shared, stack)


@contextmanager
def _asker(url: str, key: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, headers={"authorization": f"Bearer {key}"}, timeout=60) as client:
        yield client


@pytest.mark.slow
def test_what_compose_starts_is_one_service_and_outlives_its_dispatcher(whole: Site, tmp_path: Path) -> None:
    """Both gateways give the same answers to the same key, wait in one line, and go on with the standby."""
    whole.start("gateway-1")
    first = whole.url("gateway-1")
    key = re.search(r"modu-[\w-]{43}", whole.said("gateway-1"))
    assert key
    for name in ("dispatcher-1", "dispatcher-2", "gateway-2"):
        whole.start(name)
    with process.engine_process(tmp_path / "engine.log", on=CPUS) as engine:
        whole.command("gateway-1", "engine", "add", engine)
        body = {"model": "fake-model", "messages": [{"role": "user", "content": "?"}]}
        with _asker(first, key[0]) as a, _asker(whole.url("gateway-2"), key[0]) as b:

            def well(client: httpx.Client) -> bool:
                return client.post("/v1/chat/completions", json=body).status_code == 200

            for client in (a, b):
                until(partial(well, client))
                assert client.get("/health/ready").json()["degraded"] == []
                until(partial(_tells, client, 'modu_wait_expected_seconds{model="fake-model"} 0'))
            leader = whole.leader()
            whole.kill(leader)
            until(lambda: whole.leader() not in ("", leader))
            assert well(a)
            assert well(b)


def _tells(client: httpx.Client, metric: str) -> bool:
    return metric in client.get("/metrics").text
