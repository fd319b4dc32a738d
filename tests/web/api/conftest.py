"""Fixtures of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.web.office import Office, office


@pytest.fixture
async def desk() -> AsyncIterator[Office]:
    """An office with somebody of each role."""
    async with office() as opened:
        yield opened
