"""``python -m benchmarks people``: what the pages promise to those who use them."""

from __future__ import annotations

from benchmarks import area
from benchmarks.bars.history import lane_cpu
from benchmarks.bars.long_chat import long_chat
from benchmarks.bars.open_webui import open_webui
from benchmarks.bars.page import page_weight
from benchmarks.bars.session import session_cpu
from benchmarks.bars.slow_link import slow_link

BARS: area.Bars = {
    "page-weight": page_weight,
    "slow-link": slow_link,
    "long-chat": long_chat,
    "session-cpu": session_cpu,
    "lane-cpu": lane_cpu,
    "open-webui": open_webui,
}


def run(*, only: tuple[str, ...] = (), quick: bool = False) -> int:
    """See ``area.run``."""
    return area.run("Bars of the pages", BARS, only=only, quick=quick)
