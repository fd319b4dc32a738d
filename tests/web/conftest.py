"""The pages served over a real socket, with a scripted engine behind them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from .harness import Script, Served, serve


@pytest.fixture
def script() -> Script:
    """What the engine will do; tests change it."""
    return Script()


@pytest.fixture
async def served(script: Script) -> AsyncIterator[Served]:
    """The pages on a free port of the loopback."""
    async with serve(script) as running:
        yield running
