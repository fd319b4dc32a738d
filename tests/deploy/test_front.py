"""The shipped nginx and Caddy configurations: streams as they are written, who asks, limits, draining."""

from __future__ import annotations

import http.server
import itertools
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from benchmarks.harness import modu, process

from tests.conftest import Engine, until
from tests.deploy.front import CPUS, FRONTS, NAME, Front

BODY = {"model": "fake-model", "messages": [{"role": "user", "content": "?"}]}
BEHIND = {"gateway__behind_proxy": "127.0.0.1", "gateway__allowed_hosts": NAME}


class Site:
    """A proxy, a gateway behind it, and a fake engine."""

    def __init__(self, kind: str, place: Path, front: Front, engine: Engine, key: str) -> None:
        self.kind, self.place, self.front, self.engine = kind, place, front, engine
        self.headers = {"host": NAME, "authorization": f"Bearer {key}"}
        self.client = httpx.Client(base_url=front.https, verify=front.trust, timeout=60, headers=self.headers)

    def ask(self, **fields: object) -> httpx.Response:
        return self.client.post("/v1/chat/completions", json={**BODY, **fields})


@pytest.fixture(scope="module", params=FRONTS)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    place = tmp_path_factory.mktemp(request.param)
    (place / "gateway").mkdir()
    with ExitStack() as stack:
        url = stack.enter_context(process.engine_process(place / "engine.log", on=CPUS))
        home = modu.prepare(place / "home", [url])
        gateways = [
            stack.enter_context(
                modu.running_modu(home, place / "gateway" / "log", on=CPUS, beside=CPUS, settings=BEHIND)
            )
        ]
        front = stack.enter_context(FRONTS[request.param](place, [one.url for one in gateways]))
        made = Site(request.param, place, front, Engine(url), home.key)
        yield made
        made.client.close()
        made.engine.close()


def test_a_question_is_answered_over_http_2_capable_tls(site: Site) -> None:
    answer = site.ask()
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"]
    assert answer.headers["strict-transport-security"]
    assert site.client.get("/v1/models", headers={"authorization": "Bearer no"}).status_code == 401


def test_plain_http_is_sent_to_https(site: Site) -> None:
    answer = httpx.get(f"{site.front.http}/v1/models?x=1", headers={"host": NAME})
    assert (answer.status_code, answer.headers["location"]) == (308, f"https://{NAME}/v1/models?x=1")


def test_a_stream_arrives_while_it_is_written_and_ends_with_its_reader(site: Site) -> None:
    """The engine writes three pieces and then nothing: they are here although it has not ended."""
    site.engine.reset()
    site.engine.behave(fault="hang_mid", after=3)
    with site.client.stream("POST", "/v1/chat/completions", json={**BODY, "stream": True}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = (line for line in answer.iter_lines() if line.startswith("data: {"))
        for _ in range(3):
            json.loads(next(lines)[6:])
        counts = site.engine.counts()
        assert (counts.running, counts.finished) == (1, 0)
    until(lambda: site.engine.counts().running == 0)
    assert site.engine.counts().cancelled == 1
    site.engine.reset()


def test_the_gateway_knows_that_the_page_is_on_https(site: Site) -> None:
    page = site.client.get("/")
    assert page.status_code == 200
    assert all("Secure" in cookie for cookie in page.headers.get_list("set-cookie"))
    assert page.headers.get_list("set-cookie")


def test_metrics_are_not_for_the_world_whatever_it_says_of_itself(site: Site) -> None:
    for path in ("/metrics", "/metrics/shares", "/%6Detrics"):
        answer = site.client.get(path, headers={"x-forwarded-for": "127.0.0.1"})
        assert answer.status_code == 404, path


def test_what_is_asked_is_in_no_log_and_not_on_the_disk(site: Site) -> None:
    shutil.rmtree(site.place / "body", ignore_errors=True)  # where nginx would put what it has no memory for
    body = {**BODY, "messages": [{"role": "user", "content": "가" * 1_000_000}]}
    assert site.client.post("/v1/chat/completions", json=body).status_code == 400
    for path in ("/search?q=SECRETWORDS", "/join/SECRETWORDS", "/seen"):
        site.client.get(path, headers={"referer": f"https://{NAME}/?q=SECRETWORDS"})
    if site.kind == "nginx":
        until(lambda: " GET /seen 404 " in (site.place / "modu.log").read_text())
    assert "SECRETWORDS" not in "".join(file.read_text() for file in site.place.glob("*.log"))


def test_bodies_and_heads_have_bounds(site: Site) -> None:
    body = b"[" + b"1" * (20 * 1024 * 1024) + b"]"
    answer = site.client.post("/v1/chat/completions", content=body)
    assert answer.status_code == 413
    answer = site.client.get("/v1/models", headers={"x-much": "y" * 60_000})
    assert answer.status_code in {400, 431}


class Upstream(http.server.ThreadingHTTPServer):
    """What a gateway does at its worst: it is there for health checks, and then ``does`` something else."""

    daemon_threads = True

    def __init__(self, does: str) -> None:
        self.does = does
        self.bodies: list[bytes] = []
        """Of the questions that came."""
        super().__init__(("127.0.0.1", 0), _Answers)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Upstream

    def do_GET(self) -> None:
        self._say(200)

    def do_POST(self) -> None:
        length = int(self.headers["content-length"])
        body = self.rfile.read(length)
        if len(body) < length:
            return  # it never came
        self.server.bodies.append(body)
        place = self.headers.get("modu-elsewhere", "")
        if self.server.does == "dies":
            self.close_connection = True
        elif self.server.does == "begins nothing":
            self._say(503, *([("x-accel-redirect", place)] if place else []))
        else:
            self._say(200)

    def _say(self, status: int, *fields: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (("content-length", "0"), ("connection", "close"), *fields):
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def asking(kind: str, place: Path, *upstreams: Upstream) -> Iterator[Callable[[], int]]:
    """Questions to two upstreams: each is another one, and its status is given."""
    address = "/v1/chat/completions?q=SECRETWORDS"
    with ExitStack() as stack:
        for each in upstreams:
            stack.enter_context(each)
            stack.callback(each.shutdown)
        front = stack.enter_context(FRONTS[kind](place, [each.url for each in upstreams]))
        headers = {"host": NAME, "referer": f"https://{NAME}/?q=SECRETWORDS"}
        client = stack.enter_context(httpx.Client(verify=front.trust, headers=headers, timeout=60))
        numbers = itertools.count()
        yield lambda: client.post(front.https + address, content=b"%d " % next(numbers) * 9_000).status_code


@pytest.mark.parametrize("kind", FRONTS)
def test_a_question_is_never_sent_twice_by_itself(kind: str, tmp_path: Path) -> None:
    """Its gateway is killed when it has it: it may have run."""
    dies, lives = Upstream("dies"), Upstream("answers")
    with asking(kind, tmp_path, dies, lives) as ask:
        statuses = []
        until(lambda: statuses.append(ask()) or dies.bodies)  # type: ignore[func-returns-value]
    assert statuses.count(502) == len(dies.bodies)
    assert len(statuses) == len(dies.bodies + lives.bodies) == len({*dies.bodies, *lives.bodies})
    assert "SECRETWORDS" not in "".join(file.read_text() for file in tmp_path.glob("*.log"))


@pytest.mark.parametrize("kind", FRONTS)
def test_a_gateway_that_cannot_be_reached_is_left_out(kind: str, tmp_path: Path) -> None:
    """By nginx at once; by Caddy, which of version 2.6 keeps no body for another try, once it sees it."""
    gone, lives = Upstream("answers"), Upstream("answers")
    with asking(kind, tmp_path, gone, lives) as ask:
        gone.shutdown()
        gone.server_close()
        if kind == "caddy":
            until(lambda: [ask() for _ in range(12)] == [200] * 12, within_s=60)
        else:
            assert [ask() for _ in range(8)] == [200] * 8
    assert not gone.bodies
    assert len(set(lives.bodies)) == len(lives.bodies)


def test_what_a_gateway_did_not_begin_another_one_answers(tmp_path: Path) -> None:
    """Also when the first one is asked a second time. Caddy asks no such gateway: it looks at its health."""
    away, lives = Upstream("begins nothing"), Upstream("answers")
    with asking("nginx", tmp_path, away, lives) as ask:
        assert {ask() for _ in range(6)} == {200}
    assert away.bodies
    assert len(set(lives.bodies)) == len(lives.bodies) == 6


class _Seen(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    heads: list[dict[str, str]]

    def do_GET(self) -> None:
        self.heads.append({name.lower(): value for name, value in self.headers.items()})
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def looking() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A server that notes the heads that come."""
    heads: list[dict[str, str]] = []
    kind = type("Seen", (_Seen,), {"heads": heads})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", heads
        server.shutdown()


@pytest.mark.parametrize("kind", FRONTS)
def test_who_asks_is_told_by_the_proxy_alone(kind: str, tmp_path: Path) -> None:
    lies = {"x-forwarded-for": "6.6.6.6", "x-forwarded-proto": "http", "host": NAME}
    with looking() as (url, heads), FRONTS[kind](tmp_path, [url]) as front:
        answer = httpx.get(f"{front.https}/seen", headers=lies, verify=front.trust)
        assert answer.status_code == 200
    told = next(head for head in heads if head.get("x-forwarded-for"))
    assert told["x-forwarded-for"] == "127.0.0.1"
    assert told["x-forwarded-proto"] == "https"
    assert told["host"] == NAME
