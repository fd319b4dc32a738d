"""PostgreSQL and Valkey (or Redis) for the tests of several machines."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from benchmarks.harness.cell import redis_process

from tests.databases import postgres

__all__ = ["postgres"]


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server."""
    with redis_process(tmp_path_factory.mktemp("valkey")) as (url, _):
        yield url
