"""A real browser: what it loads, over which link, on how quick a CPU. All of it through Chromium's own tools.

Words: a *tab* is a page in a fresh context, so nothing is cached and nobody is signed in but by the cookies
that are given. Rule: figures are the browser's own (network events, performance entries), read by its
protocol; nothing of the page is changed.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, CDPSession, Page, Request, sync_playwright

from benchmarks.harness.process import StartError

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chromium-headless-shell")
INLINE = ("data:", "blob:", "about:")
QUIET_S, WEIGHED_S = 0.5, 3.0
"""Time without a new request; scripts that load scripts may pause, and all shall be weighed."""
PATIENCE_S = 60.0
HELD_OPEN = {"fetch", "xhr", "websocket", "eventsource", "ping"}


class Loaded:
    """The browser's network events of one page."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.urls: dict[str, str] = {}
        self.sizes: dict[str, int] = {}
        self.failed: list[str] = []
        self.landed = ""
        """The address that the page had in the end."""

    def watch(self, tab: Page) -> None:
        """Note what this tab loads from now on."""
        events = protocol(tab)
        events.send("Network.enable")
        events.on("Network.requestWillBeSent", self._sent)
        events.on("Network.loadingFinished", self._finished)
        events.on("Network.loadingFailed", self._failure)

    @property
    def kilobytes(self) -> float:
        """All files as they were sent, heads included; 1 kB is 1,000 bytes."""
        return sum(self.sizes.values()) / 1000

    @property
    def outside(self) -> list[str]:
        """Addresses on other hosts."""
        return [url for url in self._real() if urlsplit(url).netloc != self.host]

    @property
    def files(self) -> list[str]:
        """A line for each file."""
        known = {key: url for key, url in self.urls.items() if not url.startswith(INLINE)}
        return [
            f"{self.sizes[key]:>9,} B {urlsplit(url).path}" for key, url in known.items() if key in self.sizes
        ]

    def _real(self) -> list[str]:
        return [url for url in self.urls.values() if not url.startswith(INLINE)]

    def _sent(self, event: dict[str, Any]) -> None:
        self.urls[event["requestId"]] = event["request"]["url"]

    def _finished(self, event: dict[str, Any]) -> None:
        self.sizes[event["requestId"]] = int(event["encodedDataLength"])

    def _failure(self, event: dict[str, Any]) -> None:
        self.failed.append(f"{self.urls.get(event['requestId'], '?')}: {event['errorText']}")


def browser_path() -> str | None:
    """An installed Chromium; None lets Playwright use its own."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


@contextlib.contextmanager
def running_browser(place: Path) -> Iterator[Browser]:
    """A browser for the length of a block."""
    arguments = ["--no-sandbox", "--disable-gpu", "--no-first-run", f"--crash-dumps-dir={place}"]
    arguments += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path(), args=arguments)
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def fresh_tab(
    browser: Browser, url: str, cookies: Mapping[str, str] | None = None, script: str = ""
) -> Iterator[Page]:
    """A tab with these cookies for ``url``; ``script`` runs before each page's own."""
    with contextlib.closing(browser.new_context(locale="ko-KR")) as context:
        context.add_cookies([{"name": n, "value": v, "url": url} for n, v in (cookies or {}).items()])
        if script:
            context.add_init_script(script)
        yield context.new_page()


def protocol(tab: Page) -> CDPSession:
    """The tab's DevTools protocol."""
    return tab.context.new_cdp_session(tab)


class _Traffic:
    """Files that are under way in a tab."""

    def __init__(self, tab: Page) -> None:
        self.under_way: set[Request] = set()
        self.last = time.monotonic()
        tab.on("request", self.sent)
        tab.on("requestfinished", self.ended)
        tab.on("requestfailed", self.ended)

    def sent(self, request: Request) -> None:
        self.last = time.monotonic()
        if request.resource_type not in HELD_OPEN:
            self.under_way.add(request)

    def ended(self, request: Request) -> None:
        self.under_way.discard(request)


def go(tab: Page, url: str, quiet_s: float = QUIET_S) -> None:
    """Open a page and wait until the network is quiet: no file under way, and ``quiet_s`` without a new
    request. Questions of scripts that the server holds open do not count. Raises StartError unless the page
    answers 200 and is quiet in time.
    """
    traffic = _Traffic(tab)
    answer = tab.goto(url, wait_until="load", timeout=PATIENCE_S * 1e3)
    if answer is None or answer.status != 200:
        raise StartError(f"{url} answers {answer.status if answer else 'nothing'}")
    deadline = time.monotonic() + PATIENCE_S
    while traffic.under_way or time.monotonic() < traffic.last + quiet_s:
        if time.monotonic() > deadline:
            raise StartError(f"{url} is not quiet: {[each.url for each in traffic.under_way]}")
        tab.wait_for_timeout(50)


def weigh(url: str, place: Path, cookies: Mapping[str, str] | None = None, script: str = "") -> Loaded:
    """Load ``/`` in a fresh browser, and wait until the network is quiet."""
    loaded = Loaded(urlsplit(url).netloc)
    with running_browser(place) as browser, fresh_tab(browser, url, cookies, script) as tab:
        loaded.watch(tab)
        go(tab, f"{url}/", quiet_s=WEIGHED_S)
        loaded.landed = tab.url
    return loaded
