"""slow-link: the page over 400 kbit/s with 300 ms, as Chromium emulates them: when it is seen, and when the
first token is.
"""

from __future__ import annotations

from typing import NamedTuple

from playwright.sync_api import Browser

from benchmarks.bars import Bench, Measured, Row, median
from benchmarks.bars.world import ANSWER, World, world
from benchmarks.harness.answers import LETTERS
from benchmarks.harness.behaviour import Behaviour, behave, firsts
from benchmarks.harness.browser import fresh_tab, go, protocol, running_browser

MUST_PAINT_S, MUST_TOKEN_MS = 2.5, 400
LINK = {"offline": False, "latency": 300, "downloadThroughput": 50_000, "uploadThroughput": 50_000}
"""Bytes a second."""
PACE_S = 0.8
"""The first token comes this long after the head, so that the head's delay on the link is over."""
PAINT = """
() => new Promise((resolve, reject) => {
  const tell = (list) => resolve(list.getEntries().at(-1).startTime);
  new PerformanceObserver(tell).observe({ type: "largest-contentful-paint", buffered: true });
  setTimeout(() => reject(new Error("nothing was painted")), 10_000);
})
"""
SHOWN = """
(mark) => {
  window.shown = new Promise((resolve) => {
    const painted = () => {
      const after = new MessageChannel();
      after.port1.onmessage = () => resolve(Date.now());
      after.port2.postMessage(null);
    };
    const look = new MutationObserver(() => {
      const answers = document.querySelectorAll("#conversation .answer");
      if (!answers[answers.length - 1]?.textContent.includes(mark)) return;
      look.disconnect();
      requestAnimationFrame(painted);
    });
    look.observe(document.body, { subtree: true, childList: true, characterData: true });
  });
}
"""
"""When the answer holds ``mark`` and the frame with it was made."""


class Visit(NamedTuple):
    """One visit with an empty cache, and one question."""

    paint_s: float
    token_ms: float
    """From the engine's write of the first token until the frame that shows it."""


def slow_link(bench: Bench) -> Measured:
    """Largest contentful paint; and the time of a first token from the server's socket to the screen."""
    here = world(bench, "slow-link")
    with running_browser(here.place) as browser:
        behave(here.service.engine, Behaviour(text=ANSWER, chunks=2, pace_s=PACE_S))
        visits = [_visit(here, browser) for _ in range(1 if bench.quick else 7)]
    paint = round(median([visit.paint_s for visit in visits]), 3)
    token = round(median([visit.token_ms for visit in visits]))
    holds = paint <= MUST_PAINT_S and token <= MUST_TOKEN_MS
    notes = [
        _range("largest contentful paint, s", [visit.paint_s for visit in visits]),
        _range("first token, ms, nothing taken off for the link", [visit.token_ms for visit in visits]),
    ]
    return Measured(Row("slow-link", [paint, token], f"<= {MUST_PAINT_S}; <= {MUST_TOKEN_MS}", holds), notes)


def _visit(here: World, browser: Browser) -> Visit:
    with fresh_tab(browser, here.url, here.resident.cookies) as tab:
        link = protocol(tab)
        link.send("Network.enable")
        link.send("Network.emulateNetworkConditions", LINK)
        go(tab, f"{here.url}/")
        paint: float = tab.evaluate(PAINT) / 1000
        tab.locator("#question").fill("서울은 어떤 곳인가요?")
        tab.evaluate(SHOWN, ANSWER[:LETTERS])
        tab.locator("#send").click()
        shown: float = tab.evaluate("window.shown")
        tab.locator("#send").wait_for()  # the answer has ended
    return Visit(paint, shown - firsts(here.service.engine)[-1] * 1000)


def _range(what: str, values: list[float]) -> str:
    return f"{what}: {min(values):.4g} to {max(values):.4g}"
