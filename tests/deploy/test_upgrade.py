"""A rolling upgrade as docs/operate/upgrade.md tells it: one gateway after the other, and nobody notices."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from benchmarks.harness import modu, process
from benchmarks.harness.behaviour import Behaviour, behave

from tests.conftest import until
from tests.deploy.front import CPUS, FRONTS, NAME, Front

BODY = {"model": "fake-model", "messages": [{"role": "user", "content": "?"}]}
SETTINGS = {
    "gateway__behind_proxy": "127.0.0.1",
    "gateway__allowed_hosts": NAME,
    "gateway__leave_s": "4",
    "knowledge__enabled": "false",
}


class Host:
    """One machine's `modu up`."""

    def __init__(self, home: modu.Home, stack: ExitStack) -> None:
        self.home, self.port, self._stack = home, process.free_port(), stack
        self.settings = {**SETTINGS, "gateway__port": str(self.port)}
        self.url, self.log = f"http://127.0.0.1:{self.port}", home.folder.with_suffix(".log")

    def start(self) -> None:
        command = [sys.executable, "-m", "moduai.cli", "up", "--no-engine"]
        environ = self.home.environ(**self.settings)
        self.running = process.start(command, on=CPUS, log=self.log, environ=environ)
        self._stack.callback(self._end)

    def wait(self) -> None:
        modu.wait_until_answered(self.url, "/v1/models", self.home.key, self.running, self.log)

    def stop(self) -> None:
        self.running.terminate()
        assert self.running.wait(60) == 0

    def _end(self) -> None:
        self.running.terminate()
        process.stop(self.running)  # a second signal: at once


class People:
    """Who asks all the time, half of them for a stream, and what went wrong."""

    def __init__(self, front: Front, key: str) -> None:
        self.wrong: list[str] = []
        self.answered = 0
        self._front, self._stop, self._headers = front, threading.Event(), {"authorization": f"Bearer {key}"}
        self._threads = [threading.Thread(target=self._ask, args=(stream,)) for stream in (True, False)]

    @contextmanager
    def asking(self) -> Iterator[People]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()

    def are_answered(self) -> None:
        """Until some more questions were."""
        enough = self.answered + 20
        until(lambda: self.answered >= enough)

    def _ask(self, stream: bool) -> None:
        headers = {**self._headers, "host": NAME}
        with httpx.Client(verify=self._front.trust, headers=headers, timeout=60) as client:
            while not self._stop.wait(0.02):
                try:
                    said = client.post(
                        f"{self._front.https}/v1/chat/completions", json={**BODY, "stream": stream}
                    )
                    good = said.status_code == 200 and (not stream or said.text.endswith("data: [DONE]\n\n"))
                    self.wrong += [] if good else [f"{said.status_code} {said.text[-200:]}"]
                    self.answered += good
                except httpx.HTTPError as error:
                    self.wrong.append(repr(error))


@pytest.mark.slow
def test_one_gateway_after_the_other_is_replaced_and_no_request_fails(tmp_path: Path) -> None:
    """Behind each of the shipped proxies."""
    with ExitStack() as stack:
        url = stack.enter_context(process.engine_process(tmp_path / "engine.log", on=CPUS))
        behave(url, Behaviour(chunks=8, pace_s=0.01))
        first = modu.prepare(tmp_path / "first", [url])
        shutil.copytree(first.folder, tmp_path / "second", ignore=shutil.ignore_patterns("run"))
        hosts = [Host(home, stack) for home in (first, modu.Home(tmp_path / "second", first.key))]
        for host in hosts:
            host.start()
        for host in hosts:
            host.wait()
        people = {}
        for kind, front in FRONTS.items():
            (tmp_path / kind).mkdir()
            running = stack.enter_context(front(tmp_path / kind, [host.url for host in hosts]))
            people[kind] = stack.enter_context(People(running, first.key).asking())
        for host in hosts:
            host.stop()
            for each in people.values():
                each.are_answered()
            host.start()
            host.wait()
        for each in people.values():
            each.are_answered()
        assert {kind: each.wrong for kind, each in people.items()} == {"nginx": [], "caddy": []}
