"""long-chat: a conversation of 500 turns, opened, and then written in while an answer streams."""

from __future__ import annotations

import random
import time

from msgspec import Struct
from playwright.sync_api import Browser, Page

from benchmarks.bars import Bench, Measured, Row, median
from benchmarks.bars.world import ANSWER, CONVERSATIONS, World, world
from benchmarks.harness import process, resident
from benchmarks.harness.behaviour import Behaviour, behave
from benchmarks.harness.browser import fresh_tab, go, protocol, running_browser
from benchmarks.harness.process import StartError

TURNS = 500
MUST_SCRIPT_MS, MUST_DELAY_MS = 300, 50
SLOWED = 4
TOKENS_S = 100
TOKENS = 1_024
"""Longest answer that the page asks for."""
KEYS = """
window.keys = [];
window.frames_ms = [];
addEventListener("keydown", (event) => window.keys.push(performance.now() - event.timeStamp), true);
new PerformanceObserver((list) => list.getEntries().forEach((entry) => {
  if (entry.name === "keydown") window.frames_ms.push(entry.duration);
})).observe({ type: "event", durationThreshold: 16 });
"""
"""Input delay: from the browser's time stamp of a key to the first listener that gets it."""


class Opened(Struct):
    """What opening took: milliseconds of the page's main thread, elapsed, and of the server."""

    script: float
    style: float
    """Styles and layout."""
    all: float
    elapsed: float
    server: float
    """CPU of the gateway worker."""


class Typed(Struct):
    """Keys that were pressed while an answer was written."""

    delays: list[float]
    """Milliseconds."""
    frames: list[float]
    """Milliseconds from a key to the frame after it, of those that took 16 or longer."""
    seconds: float
    letters: int
    """Letters of the answer by then."""


def long_chat(bench: Bench) -> Measured:
    """Scripting to open, and input delay at p95 on a slowed CPU."""
    turns = 40 if bench.quick else TURNS
    here = world(bench, "long-chat")
    with running_browser(here.place) as browser:
        path = "/c/" + resident.converse(here.url, here.resident, turns)
        resident.wait_until_kept(here.service.home, here.resident, CONVERSATIONS + turns)
        opened = [_open(here, browser, path, 1) for _ in range(1 if bench.quick else 5)]
        slowed = _open(here, browser, path, SLOWED)
        behave(here.service.engine, Behaviour(text=ANSWER, chunks=TOKENS, pace_s=1 / TOKENS_S))
        streams = 1 if bench.quick else 3
        typed = [_type(here, browser, path, 2.0 if bench.quick else 8.0) for _ in range(streams)]
    script = round(median([each.script for each in opened]), 1)
    delays = sorted(delay for each in typed for delay in each.delays)
    frames = [frame for each in typed for frame in each.frames]
    delay = round(_at(delays, 0.95), 1)
    holds = script <= MUST_SCRIPT_MS and delay <= MUST_DELAY_MS
    waited = (
        f"{len(delays)} keys in {sum(each.seconds for each in typed):.0f} s of {streams} streams, CPU "
        f"slowed {SLOWED} ×: delay median {_at(delays, 0.5):.1f}, p99 {_at(delays, 0.99):.1f} ms; "
        f"{len(frames)} took 16 ms or longer to the next frame, the longest {max(frames, default=0):.0f} ms; "
        f"{sum(each.letters for each in typed):,} letters were shown by then"
    )
    notes = [
        f"{turns} turns: {_told(opened[len(opened) // 2])}",
        f"the same with the CPU slowed {SLOWED} ×: {_told(slowed)}",
        waited,
    ]
    must = f"<= {MUST_SCRIPT_MS}; <= {MUST_DELAY_MS}"
    return Measured(Row("long-chat", [script, delay], must, holds), notes)


def _open(here: World, browser: Browser, path: str, slowed: int) -> Opened:
    with fresh_tab(browser, here.url, here.resident.cookies) as tab:
        tools = protocol(tab)
        tools.send("Emulation.setCPUThrottlingRate", {"rate": slowed})
        tools.send("Performance.enable", {"timeDomain": "threadTicks"})  # a busy machine disturbs it little
        began, used = time.perf_counter(), process.running_s(here.service.target.pids[0])
        go(tab, here.url + path)
        elapsed = time.perf_counter() - began
        used = process.running_s(here.service.target.pids[0]) - used
        metrics = {each["name"]: each["value"] for each in tools.send("Performance.getMetrics")["metrics"]}
    return Opened(
        script=metrics["ScriptDuration"] * 1e3,
        style=(metrics["LayoutDuration"] + metrics["RecalcStyleDuration"]) * 1e3,
        all=metrics["TaskDuration"] * 1e3,
        elapsed=elapsed * 1e3,
        server=used * 1e3,
    )


def _type(here: World, browser: Browser, path: str, seconds: float) -> Typed:
    """Ask, and as soon as the first words are there write the next question."""
    with fresh_tab(browser, here.url, here.resident.cookies, KEYS) as tab:
        go(tab, here.url + path)
        protocol(tab).send("Emulation.setCPUThrottlingRate", {"rate": SLOWED})
        before = tab.locator(".answer").count()
        tab.locator("#question").fill("서울을 길게 설명해 주세요.")
        tab.locator("#send").click()
        ends = time.perf_counter() + TOKENS / TOKENS_S  # not before, however slowly the page shows it
        answer = tab.locator(".answer").nth(before)
        answer.locator(".block").first.wait_for(timeout=20_000)
        tab.locator("#question").focus()
        took = _press(tab, min(seconds, ends - 0.5 - time.perf_counter()))
        if not tab.locator("#stop").is_visible():
            raise StartError("the answer ended while keys were pressed")
        letters = len(answer.inner_text())
        keys, frames = tab.evaluate("[window.keys, window.frames_ms]")
    return Typed(keys, frames, took, letters)


def _press(tab: Page, seconds: float) -> float:
    """Press keys for so long; gives how long it was."""
    tab.evaluate("window.keys.length = window.frames_ms.length = 0")
    uneven = random.Random(7)
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        tab.keyboard.press(uneven.choice("abcdefghijklmnopqrstuvwxyz"))
        time.sleep(uneven.uniform(0.02, 0.08))  # so that keys do not fall into step with frames
    return time.perf_counter() - began


def _at(values: list[float], share: float) -> float:
    """The value at this share of the sorted values. Raises StartError if there are none."""
    if not values:
        raise StartError("no key arrived at the page")
    return values[min(len(values) - 1, int(len(values) * share))]


def _told(opened: Opened) -> str:
    return (
        f"scripting {opened.script:.0f} ms, styles and layout {opened.style:.0f} ms, all of the main thread "
        f"{opened.all:.0f} ms; {opened.elapsed:.0f} ms until the network was quiet, {opened.server:.0f} ms "
        "of the server's CPU"
    )
