"""`modu up` as operators run it: real processes, a home folder of its own, no embedded engine."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from moduai import service, settings
from moduai.cli import prepare, up
from moduai.engines.record import Capability, Engine, Hardware, Model
from moduai.service import NotStartedError

MODU = [sys.executable, "-m", "moduai.cli"]


@contextmanager
def service_of(home, *options):
    """A running service: its process, its address, and a function that reads what it told."""
    told = home.parent / f"{home.name}.out"
    with told.open("ab") as out:
        process = subprocess.Popen(
            [*MODU, "up", "--home", str(home), "--port", "0", "--no-engine", *options],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        deadline = time.monotonic() + 60
        while not ((found := service.running(home)) and found.url):
            assert process.poll() is None, told.read_text()
            assert time.monotonic() < deadline, told.read_text()
            time.sleep(0.02)
        yield process, found.url, told.read_text
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(40)


def get(url, key=""):
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"} if key else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


@pytest.mark.slow
def test_the_first_run_the_second_and_the_end(tmp_path):
    home = tmp_path / "home"
    with service_of(home) as (process, url, told):
        key = re.search(r"modu-[\w-]{43}", told())[0]
        assert told().count(f"{url}/join/") == 1, "the administrator's way in"
        assert get(f"{url}/health/live")[0] == 200
        assert get(f"{url}/v1/models", key)[0] == 200
        assert get(f"{url}/v1/models")[0] == 401
        again = subprocess.run(
            [*MODU, "up", "--home", str(home)], capture_output=True, text=True, check=False
        )
        assert (again.returncode, url in again.stdout) == (0, True)
        port = url.rsplit(":", 1)[1]
        other = subprocess.run(
            [*MODU, "up", "--home", str(tmp_path / "other"), "--port", port, "--no-engine"],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert other.returncode == 1
        assert re.search(rf"port {port} is taken by another Modu; `modu up --port \d+`", other.stderr)
        deadline = time.monotonic() + 60  # the welcome waits some seconds for search
        while "no engine yet: modu engine add" not in told():
            assert time.monotonic() < deadline, told()
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.wait(40) == 0
    assert service.running(home) is None
    assert key not in "".join(line for line in told().splitlines() if "supervisor" in line)
    assert open_to_others(home) == []
    with service_of(home) as (_, url, told):
        assert told().count("shown only now") == 1, "the key is made and shown once"
        assert told().count("/join/") == 1, "and so is the administrator's invitation"
        assert get(f"{url}/v1/models", key)[0] == 200


def children_of(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.slow
def test_killed_processes_come_back_and_nobody_is_refused_meanwhile(tmp_path):
    with service_of(tmp_path / "home") as (process, url, told):
        wait_for(lambda: len(children_of(process.pid)) == 3)
        for _ in range(2):
            for pid in children_of(process.pid):
                os.kill(pid, signal.SIGKILL)
            assert get(f"{url}/health/live")[0] == 200, "the connection waited for the new worker"
            wait_for(lambda: len(children_of(process.pid)) == 3)
        assert "process ended, starting it again child=worker status=-9" in told()
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def open_to_others(home):
    paths = [home, *home.rglob("*")]
    return [path for path in paths if stat.S_IMODE(path.stat().st_mode) & 0o077 and not path.is_socket()]


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        ({"gateway.host": "0.0.0.0"}, "keys would travel in clear"),
        ({"gateway.host": "service.example"}, "keys would travel in clear"),
        ({"gateway.tls_certificate": "/none.pem"}, "both --tls-cert and --tls-key"),
        ({"gateway.tls_certificate": "/none.pem", "gateway.tls_key": "/none.key"}, "cannot be read"),
    ],
)
def test_others_may_reach_it_over_tls_only(tmp_path, overrides, why):
    with pytest.raises(NotStartedError, match=why):
        up.check_exposure(settings.load(tmp_path, {}, overrides))


def test_a_start_without_the_keyring_is_not_unseen(tmp_path, capsys):
    prepare.prepare_home(tmp_path)
    up._tell_lost_keyring(tmp_path)
    assert capsys.readouterr().err == "", "a new home has none yet"
    (tmp_path / "modu.db").touch()
    up._tell_lost_keyring(tmp_path)
    assert "is lost, so a new one is made" in capsys.readouterr().err


def test_a_proxy_in_front_or_loopback_is_enough(tmp_path):
    for overrides in ({}, {"gateway.host": "0.0.0.0", "gateway.behind_proxy": ["10.0.0.2"]}):
        up.check_exposure(settings.load(tmp_path, {}, overrides))


def test_children_read_the_settings_that_we_read(tmp_path):
    overrides = {
        "gateway.behind_proxy": ("10.0.0.2", "10.1.0.0/16"),
        "embedded.enabled": False,
        "gateway.port": 0,
    }
    ours = settings.load(tmp_path, {}, overrides)
    theirs = settings.load(None, up.environ_of(ours, overrides, "http://127.0.0.1:4321"))
    assert theirs.home == ours.home
    assert theirs.settings.gateway.port == 4321
    assert theirs.settings.gateway.behind_proxy == ours.settings.gateway.behind_proxy
    assert theirs.settings.embedded == ours.settings.embedded


def test_the_metering_process_starts_first_and_stops_last(tmp_path):
    loaded = settings.load(tmp_path, {}, {})
    with socket.create_server(("127.0.0.1", 0)) as listening:
        prepared = prepare.Prepared(embedded_url="unix:///x.sock")
        children = up.plan(loaded, listening, prepared, prepare.Start(embedded=True, key="k"), {})
    assert [child.name for child in children] == ["metering", "search", "engine", "worker"]
    assert [child.needed for child in children] == [True, False, False, True]
    assert children[2].environ["MODU_ENGINE_KEY"] == "k"


def test_without_public_documents_there_is_no_search_process(tmp_path):
    loaded = settings.load(tmp_path, {}, {"knowledge.enabled": False})
    with socket.create_server(("127.0.0.1", 0)) as listening:
        children = up.plan(loaded, listening, prepare.Prepared(), prepare.Start(embedded=False, key=""), {})
    assert [child.name for child in children] == ["metering", "worker"]


def test_several_workers_share_a_line_and_each_answers_for_itself(tmp_path):
    loaded = settings.load(tmp_path, {}, {"knowledge.enabled": False, "gateway.workers": 3})
    with socket.create_server(("127.0.0.1", 0)) as listening:
        children = up.plan(loaded, listening, prepare.Prepared(), prepare.Start(embedded=False, key=""), {})
    assert [child.name for child in children] == [
        "metering",
        "dispatcher",
        "worker 1",
        "worker 2",
        "worker 3",
    ]
    assert len({child.live for child in children if child.live}) == 3


def answering(answers):
    """A handler that gives these answers in turn, and then the last one."""

    async def handle(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        status, body = answers.pop(0) if len(answers) > 1 else answers[0]
        writer.write(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))
        await writer.drain()
        writer.close()

    return handle


async def test_the_welcome_waits_for_the_model_and_for_search(tmp_path, monkeypatch):
    engine = [(b"503 Service Unavailable", b""), (b"200 OK", b"")]
    gateway = [
        (b"200 OK", b'{"status":"degraded","degraded":["engines","search"]}'),
        (b"200 OK", b'{"status":"degraded","degraded":["search"]}'),
        (b"200 OK", b'{"status":"degraded","degraded":["history"]}'),
    ]
    async with (
        await asyncio.start_unix_server(answering(engine), tmp_path / "s"),
        await asyncio.start_server(answering(gateway), "127.0.0.1", 0) as listening,
    ):
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        assert await up._not_loaded(f"unix://{tmp_path / 's'}", url) == set()
        assert (len(engine), len(gateway)) == (1, 1), "it asked until then"
        monkeypatch.setattr(up, "LOADING_S", 0.3)
        assert await up._not_loaded(f"unix://{tmp_path / 'nobody'}", url) == {"engines"}
        gateway[:] = [(b"200 OK", b'{"status":"degraded","degraded":["engines","search"]}')]
        assert await up._not_loaded("", url) == {"search"}, "no engine is awaited where none was started"
    assert await up._not_loaded("", url) == {"search"}, "nobody answers"


def test_a_home_that_cannot_be_made_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotStartedError, match="--home"):
        prepare.prepare_home(tmp_path / "file" / "home")


def test_what_fails_in_the_forked_process_is_told(tmp_path, capfd):
    def clear(*_):
        raise NotStartedError("the database is away")

    def broken(*_):
        raise ZeroDivisionError

    loaded, start = settings.load(tmp_path, {}, {}), prepare.Start(embedded=False, key="")
    with pytest.raises(NotStartedError, match="database is away"):
        prepare.in_child(clear, loaded, start)
    with pytest.raises(NotStartedError, match="lines above"):
        prepare.in_child(broken, loaded, start)
    assert "ZeroDivisionError" in capfd.readouterr().err
    assert prepare.in_child(lambda *_: prepare.Prepared(engines=3), loaded, start).engines == 3


def test_a_database_of_a_newer_version_is_refused(tmp_path):
    loaded, start = settings.load(tmp_path, {}, {}), prepare.Start(embedded=False, key="")
    prepare.prepare_home(tmp_path)
    prepare.in_child(prepare.prepare_database, loaded, start)
    with sqlite3.connect(loaded.path("modu.db")) as db:
        db.execute("UPDATE alembic_version SET version_num = '9999'")
    db.close()
    with pytest.raises(NotStartedError, match="newer"):
        prepare.in_child(prepare.prepare_database, loaded, start)


def test_the_first_key_is_made_once(tmp_path):
    loaded, start = settings.load(tmp_path, {}, {}), prepare.Start(embedded=False, key="")
    prepare.prepare_home(tmp_path)
    first = prepare.in_child(prepare.prepare_database, loaded, start)
    assert first.first_key.startswith("modu-")
    assert prepare.in_child(prepare.prepare_database, loaded, start).first_key == ""


EMBEDDED = Engine(
    id="eng_embedded",
    name="embedded",
    url="unix:///x.sock",
    kind="embedded",
    key="k",
    hardware=Hardware(kind="CPU", watts=65),
    models=(Model(name="m", upstream_name="m", capability=Capability(context=4096)),),
)


def prepared(home, embedded=EMBEDDED):
    """What was found; NotStartedError if something had to be made or written."""

    async def write(*_):
        raise NotStartedError("not steady")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(prepare, "_embedded", lambda *_: (embedded, ""))
        patched.setattr(prepare, "_prepare", write)
        return prepare.prepare_database(settings.load(home, {}, {}), START)


START = prepare.Start(embedded=True, key="k")


@pytest.fixture
def ready(tmp_path, monkeypatch):
    """A home folder as a first start leaves it."""
    monkeypatch.setattr(prepare, "_embedded", lambda *_: (EMBEDDED, ""))
    prepare.prepare_home(tmp_path)
    prepare.in_child(prepare.prepare_database, settings.load(tmp_path, {}, {}), START)
    return tmp_path


def test_a_start_with_nothing_to_write_writes_nothing(ready):
    assert prepared(ready) == prepare.Prepared("", "", 1, "unix:///x.sock", "m")


def test_a_start_with_nothing_to_write_needs_no_sqlalchemy(tmp_path):
    code = f"""
import sys
from pathlib import Path
from moduai import settings
from moduai.cli.prepare import Start, prepare_database, prepare_home
prepare_home(Path({str(tmp_path)!r}))
prepare_database(settings.load(Path({str(tmp_path)!r}), {{}}), Start(embedded=False, key=""))
print("sqlalchemy" in sys.modules)
"""
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, check=True) for _ in range(2)]
    assert [run.stdout.split() for run in runs] == [[b"True"], [b"False"]]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE alembic_version SET version_num = '0000'",
        "UPDATE engines SET state = 'draining'",
        "UPDATE engines SET models = '[]'",
        "UPDATE engines SET models = '[1]'",
        "UPDATE engines SET hardware = 'not JSON'",
        "DELETE FROM engines",
        "DELETE FROM api_keys",
        "DROP TABLE engines",
    ],
)
def test_a_start_with_something_to_write_is_told_from_one_without(ready, change):
    with sqlite3.connect(ready / "modu.db") as db:
        db.execute(change)
    db.close()
    with pytest.raises(NotStartedError, match="not steady"):
        prepared(ready)


@pytest.mark.parametrize("embedded", [None, replace(EMBEDDED, key="other"), replace(EMBEDDED, concurrency=3)])
def test_an_engine_in_the_box_that_changed_is_written(ready, embedded):
    with pytest.raises(NotStartedError, match="not steady"):
        prepared(ready, embedded)


def test_the_engine_in_the_box_has_one_key_a_keyring(tmp_path):
    first = up._engine_key(tmp_path / "a")
    assert first == up._engine_key(tmp_path / "a") != up._engine_key(tmp_path / "b")
    assert re.fullmatch("[0-9a-f]{64}", first)


@pytest.mark.slow
async def test_the_same_on_postgresql(tmp_path, postgres, monkeypatch):
    monkeypatch.setenv("MODU_DATABASE__URL", await postgres.make())
    with service_of(tmp_path / "home") as (process, url, told):
        key = re.search(r"modu-[\w-]{43}", told())[0]
        assert get(f"{url}/v1/models", key)[0] == 200
        assert not (tmp_path / "home" / "modu.db").exists()
        process.terminate()
        assert process.wait(40) == 0
