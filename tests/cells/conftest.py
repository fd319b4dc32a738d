"""A real Valkey or Redis for the leases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from benchmarks.harness.cell import redis_process


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server."""
    with redis_process(tmp_path_factory.mktemp("redis")) as (url, _):
        yield url
