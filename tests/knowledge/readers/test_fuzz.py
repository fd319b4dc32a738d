"""Defects planted in the readers, which the fuzzer must see. Its short run is with the other kinds'."""

from __future__ import annotations

import zipfile

import pytest
from benchmarks.fuzz import fuzz

from moduai.knowledge.readers import archive, body, compound, outline, text

pytestmark = pytest.mark.source


async def found(inputs: int = 1_500) -> str:
    report = await fuzz("documents", seed=11, inputs=inputs, seconds=60)
    return " ".join(report.findings)


async def test_an_error_of_the_archive_that_escapes_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "_BROKEN", (zipfile.LargeZipFile,))
    assert "BadZipFile escapes" in await found()


async def test_text_that_is_not_clean_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (body, outline, text):
        monkeypatch.setattr(module, "clean", lambda words: words)
    assert "nobody sees" in await found()


async def test_a_sector_outside_of_the_table_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def chain(self: compound.Compound, start: int, table: list[int], most: int | None = None) -> list[int]:
        sectors: dict[int, None] = {}
        while start <= 0xFFFFFFFA and start not in sectors and (most is None or len(sectors) < most):
            sectors[start] = None
            start = table[start]
        return list(sectors)

    monkeypatch.setattr(compound.Compound, "_chain", chain)
    monkeypatch.setattr("benchmarks.fuzzing.documents._PLAIN", {})
    assert "IndexError escapes" in await found()
