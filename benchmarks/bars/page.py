"""page: what a browser loads at the first visit, counted by the browser itself."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Error as BrowserError
from playwright.sync_api import sync_playwright

from benchmarks.bars import Bench, Measured, Row
from benchmarks.harness import modu, process
from benchmarks.harness.process import StartError

MUST_KB, MUST_OUTSIDE = 60, 0
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class Loaded:
    """The browser's network events of one page."""

    def __init__(self) -> None:
        self.urls: dict[str, str] = {}
        self.sizes: dict[str, int] = {}
        self.failed: list[str] = []

    def sent(self, event: dict[str, Any]) -> None:
        self.urls[event["requestId"]] = event["request"]["url"]

    def finished(self, event: dict[str, Any]) -> None:
        self.sizes[event["requestId"]] = int(event["encodedDataLength"])

    def failure(self, event: dict[str, Any]) -> None:
        self.failed.append(f"{self.urls.get(event['requestId'], '?')}: {event['errorText']}")


def browser_path() -> str | None:
    """An installed Chromium; None lets Playwright use its own."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


def page(bench: Bench) -> Measured:
    """Bytes of the first load of ``/`` with heads, and requests to other hosts."""
    place = bench.place("page")
    with process.engine_process(place / "engine.log", on=bench.beside) as engine:
        home = modu.prepare(place / "home", [engine])
        with modu.running_modu(home, place / "modu.log", on=bench.target, beside=bench.beside) as target:
            try:
                loaded = visit(target.url, place)
            except BrowserError as error:
                raise StartError(f"the browser: {error}") from None
    host = urlsplit(target.url).netloc
    inline = ("data:", "blob:", "about:")
    outside = [
        url for url in loaded.urls.values() if urlsplit(url).netloc != host and not url.startswith(inline)
    ]
    if loaded.failed:
        raise StartError(f"the page did not load whole: {loaded.failed}")
    size = sum(loaded.sizes.values()) / 1000
    value = [round(size, 2), len(outside)]
    files = [
        f"{loaded.sizes[key]:>7,} B {urlsplit(url).path}"
        for key, url in loaded.urls.items()
        if key in loaded.sizes and not url.startswith(inline)
    ]
    holds = size <= MUST_KB and len(outside) <= MUST_OUTSIDE
    row = Row("page", list(value), f"<= {MUST_KB}; <= {MUST_OUTSIDE}", holds)
    return Measured(row, [*files, *(f"leaves the machine: {url}" for url in outside)], broken=bool(outside))


def visit(url: str, place: Path) -> Loaded:
    """Load the page in a fresh browser without a cache, and wait until the network is quiet."""
    loaded = Loaded()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=browser_path(), args=["--no-sandbox", f"--crash-dumps-dir={place}"]
        )
        try:
            tab = browser.new_context(locale="ko-KR").new_page()
            events = tab.context.new_cdp_session(tab)
            events.send("Network.enable")
            events.on("Network.requestWillBeSent", loaded.sent)
            events.on("Network.loadingFinished", loaded.finished)
            events.on("Network.loadingFailed", loaded.failure)
            answer = tab.goto(url + "/", wait_until="networkidle")
            if answer is None or answer.status != 200:
                raise StartError(f"{url}/ answers {answer.status if answer else 'nothing'}")
        finally:
            browser.close()
    return loaded
