"""session-cpu: CPU of a signed-in page request, as a multiple of Starlette's that only serves the bytes."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from benchmarks import peers
from benchmarks.bars import Bench, Measured, Row
from benchmarks.bars.cpu import interleave, line
from benchmarks.bars.world import World, world
from benchmarks.harness import process
from benchmarks.harness.nginx import Target
from benchmarks.harness.process import StartError
from benchmarks.harness.resident import page_fields, request_bytes

MUST = 3.0
NOT_SENT = {"connection", "content-length", "date", "keep-alive", "server", "transfer-encoding"}
"""Header fields of the connection, not of the page."""


class Page(NamedTuple):
    """A page as it was sent."""

    body: bytes
    fields: dict[str, str]


def session_cpu(bench: Bench) -> Measured:
    """CPU of ``/`` for a resident, compressed as browsers take it."""
    here = world(bench, "session-cpu")
    with contextlib.ExitStack() as stack:
        page = fetch(here)
        yardstick = stack.enter_context(running_starlette(page, here.place, on=bench.target))
        asks = request_bytes("GET /", page_fields(here.url, here.resident))
        plain = request_bytes("GET /", page_fields(here.url, here.resident, packed=False))
        ours = here.service.target._replace(asks=asks)
        rounds = 1 if bench.quick else 7
        turns = interleave(bench, [ours, yardstick._replace(asks=asks)], "json", rounds)
        unpacked = here.service.target._replace(name="not compressed", asks=plain)
        turns |= interleave(bench, [unpacked], "json", rounds)
    value = round(turns.times("modu", "starlette", "json", first=1), 3)
    errors = sum(result.errors for results in turns.values() for result in results)
    notes = [
        f"{len(page.body):,} bytes, {page.fields.get('content-encoding', 'not compressed')}",
        *(line(name, "json", turns, first=1, base="starlette", what="a page") for name in turns),
    ]
    return Measured(Row("session-cpu", value, f"<= {MUST}", value <= MUST and not errors), notes, errors > 0)


def fetch(here: World) -> Page:
    """The resident's page as it is sent. Raises StartError where it is not the resident's."""
    fields = page_fields(here.url, here.resident)
    plain = page_fields(here.url, here.resident, packed=False)
    if here.resident.form_token not in _get(here.url, plain).body.decode():
        raise StartError("the page was made for a guest, not for the resident")
    return _get(here.url, fields)


def _get(url: str, fields: dict[str, str]) -> Page:
    with contextlib.closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)) as asking:
        asking.request("GET", "/", headers=fields)
        answer = asking.getresponse()
        body = answer.read()
    if answer.status != 200:
        raise StartError(f"{url}/ answers {answer.status}")
    return Page(body, {k.lower(): v for k, v in answer.getheaders() if k.lower() not in NOT_SENT})


@contextlib.contextmanager
def running_starlette(page: Page, place: Path, *, on: set[int]) -> Iterator[Target]:
    """Starlette on uvicorn, uvloop and httptools, without a log, serving this page. Raises StartError."""
    if reason := peers.install(peers.STARLETTE):
        raise StartError(reason)
    file, log, port = place / "page.json", place / "starlette.log", process.free_port()
    file.write_bytes(msgspec.json.encode({"body": page.body, "fields": page.fields}))
    program: list[str | Path] = [peers.STARLETTE.python, "-m", "uvicorn", "starlette_page:app"]
    program += ["--app-dir", peers.HERE, "--host", "127.0.0.1", "--port", str(port)]
    program += ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
    with process.started(program, on=on, log=log, environ={"PAGE": str(file)}) as running:
        url = f"http://127.0.0.1:{port}"
        process.wait_until_open(port, running, log)
        yield Target("starlette", url, "", (running.pid,))
