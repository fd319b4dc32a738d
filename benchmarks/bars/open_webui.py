"""open-webui: page weight, and CPU of a page and of an answer, of Open WebUI beside Modu in the same run."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import NamedTuple

from playwright.sync_api import Error as BrowserError

from benchmarks.bars import Bench, Measured, Row, median
from benchmarks.bars.cpu import Turns, interleave, line
from benchmarks.bars.session import fetch, running_starlette
from benchmarks.bars.world import World, world
from benchmarks.harness import process
from benchmarks.harness.browser import fresh_tab, go, running_browser, weigh
from benchmarks.harness.load import Load, request
from benchmarks.harness.nginx import Target
from benchmarks.harness.process import StartError
from benchmarks.harness.resident import page_fields, request_bytes
from benchmarks.peers import OPEN_WEBUI
from benchmarks.peers.open_webui import Running, running_open_webui

ROUNDS, VISITS = 3, 7
NAME = f"Open WebUI {OPEN_WEBUI.version}"


class Visitor(NamedTuple):
    """A browser's view of one of the two."""

    target: Target
    cookies: Mapping[str, str]
    script: str = ""


def open_webui(bench: Bench) -> Measured:
    """Page in kB; requests off the machine; ``/`` × Starlette; a whole visit × ours; an answer × ours."""
    nothing = Row("open-webui", [None] * 5, "reported", holds=True)
    if bench.quick:
        return Measured(nothing, [f"{NAME}: left out by --quick"])
    here = world(bench, "open-webui")
    try:
        with running_open_webui(here.place, here.service.engine, on=bench.target) as theirs:
            return _compared(bench, here, theirs)
    except (StartError, BrowserError) as error:
        return Measured(nothing, [f"{NAME}: not measured: {error}"])


def _compared(bench: Bench, here: World, theirs: Running) -> Measured:
    target = here.service.target
    mine = Visitor(target._replace(pids=target.pids[:1]), here.resident.cookies)
    other = Visitor(theirs.target, theirs.cookies, theirs.script)
    loaded = weigh(theirs.target.url, here.place, theirs.cookies, theirs.script)
    if "/auth" in loaded.landed:
        raise StartError("its page asks for a sign-in")
    visits = [_visits(here, each) for each in (mine, other)]
    pages, answers = _pages(bench, here, other.target), _answers(bench, mine.target, other.target)
    value = [
        round(loaded.kilobytes, 1),
        len(loaded.outside),
        round(pages.times("open-webui", "starlette", "json"), 2),
        round(median(visits[1]) / median(visits[0]), 2),
        round(answers.times("open-webui", "modu", "json"), 2),
    ]
    notes = [
        f"{NAME}: {len(loaded.sizes)} files, {loaded.kilobytes:,.0f} kB; {len(loaded.failed)} failed",
        *(f"leaves the machine: {url}" for url in loaded.outside),
        *(line(name, "json", pages, base="starlette", what="a page") for name in pages),
        *(
            f"{visitor.target.name}: {median(used):.1f} ms of the server a visit with a filled cache"
            for visitor, used in zip((mine, other), visits, strict=True)
        ),
        *(line(name, "json", answers, base="modu") for name in answers),
        f"{sum(process.pss(pid) for pid in other.target.pids) / 2**20:.0f} MB",
    ]
    return Measured(Row("open-webui", list(value), "reported", holds=True), notes)


def _pages(bench: Bench, here: World, target: Target) -> Turns:
    """``/`` as a browser asks for it."""
    fields = page_fields(target.url, here.resident) | {"cookie": f"token={target.key}"}
    with contextlib.ExitStack() as stack:
        yardstick = stack.enter_context(running_starlette(fetch(here), here.place, on=bench.target))
        asks = request_bytes("GET /", fields)
        return interleave(bench, [target._replace(asks=asks), yardstick._replace(asks=asks)], "json", ROUNDS)


def _answers(bench: Bench, mine: Target, target: Target) -> Turns:
    """A chat completion by their API with the session's token, which keeps no conversation; ours by key."""
    host = target.url.removeprefix("http://")
    asks = request(Load(url=target.url, key=target.key), host).replace(b"/v1/chat", b"/api/chat", 1)
    return interleave(bench, [target._replace(asks=asks), mine], "json", ROUNDS)


def _visits(here: World, visitor: Visitor) -> list[float]:
    """Milliseconds of the server's CPU for each visit of ``/`` by a browser that knows the files."""
    target = visitor.target
    with (
        running_browser(here.place) as browser,
        fresh_tab(browser, target.url, visitor.cookies, visitor.script) as tab,
    ):
        go(tab, f"{target.url}/")
        used = []
        for _ in range(VISITS):
            before = sum(process.running_s(pid) for pid in target.pids)
            go(tab, f"{target.url}/")
            used.append((sum(process.running_s(pid) for pid in target.pids) - before) * 1e3)
    return used
