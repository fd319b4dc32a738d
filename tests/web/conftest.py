"""The pages served over a real socket, with a scripted engine behind them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator

import pytest
from playwright.async_api import Browser, BrowserContext, async_playwright

from moduai.accounts.sessions import COOKIE
from tests.conftest import until

from .harness import Script, Served, resident, serve
from .pages import ALONE, ARGUMENTS, CHROMIUM


@pytest.fixture(scope="session")
def chromium_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One real browser for all tests of a process, for to start one takes seconds; each test has contexts of
    its own. Where there is none the tests are skipped, but not in CI.
    """
    if not CHROMIUM and not os.environ.get("CI"):
        pytest.skip("no Chromium (Debian: apt install chromium-headless-shell fonts-noto-cjk)")
    profile = tmp_path_factory.mktemp("chromium")
    command = [CHROMIUM, *ARGUMENTS, *ALONE, f"--user-data-dir={profile}", "about:blank"]
    quiet = subprocess.DEVNULL
    running = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)
    try:
        told = profile / "DevToolsActivePort"
        until(lambda: running.poll() is not None or (told.exists() and told.read_text()), within_s=60)
        yield f"http://127.0.0.1:{told.read_text().splitlines()[0]}"
    finally:
        os.killpg(running.pid, signal.SIGTERM)
        running.wait(30)


@pytest.fixture
async def chromium(chromium_address: str) -> AsyncIterator[Browser]:
    """The browser; what a test opens in it is closed after it."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.connect_over_cdp(chromium_address)
        yield browser
        await browser.close()


@pytest.fixture
def script() -> Script:
    """What the engine will do; tests change it."""
    return Script()


@pytest.fixture
async def served(script: Script) -> AsyncIterator[Served]:
    """The pages on a free port of the loopback."""
    async with serve(script) as running:
        yield running


@pytest.fixture
async def signed_in(served: Served, chromium: Browser) -> AsyncIterator[BrowserContext]:
    """A browser in which a resident is signed in at ``served``: take its pages with ``new_page()``."""
    _, token = await resident(served.services)
    context = await chromium.new_context(base_url=served.url)
    await context.add_cookies([{"name": COOKIE, "value": token, "url": served.url}])
    yield context
    await context.close()
