"""The walk over the digest of the documents: on a digest of our own, and on the real one where it is."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from benchmarks.bars.knowledge_data import DATA
from benchmarks.bars.plan_items import figures, missing

from moduai.gateway.policy_text import parse
from moduai.packs.read import read
from moduai.packs.where import shipped

DIGEST = Path(os.environ.get(DATA, "../shared/data")).parent / "SEEDS.md"
TEXT = """\
# Head with 99 numbers

## A. A pledge (report of 14 April 2025)
* 100 trillion won over five years ("$100T"); at least 50,000 GPUs on 16 May.
1. A **list**: one-trillion-won projects, 5 % of all, about 3.8 billion dollars by 2030.

## B. A table
| who | party | won (tn) | GPUs | people and else |
|---|---|---|---|---|
| Somebody | Party | 200 (150 for some) over five years | 1,000 | 10 experts |
"""


def test_every_figure_of_a_text_is_walked() -> None:
    found = list(figures(TEXT))
    assert [(one.day, one.year) for one in found if one.day or one.year] == [
        ((14, 4), None), ((16, 5), None), (None, 2025), (None, 2030)
    ]  # fmt: skip
    assert [(one.section, one.value, one.kind, one.who) for one in found if one.value is not None] == [
        ("a", 100e12, "KRW", ""),
        ("a", 100e12, "USD", ""),
        ("a", 50_000, "accelerators", ""),
        ("a", 5, "", ""),
        ("a", 1e12, "KRW", ""),
        ("a", 5, "share", ""),
        ("a", 3.8e9, "USD", ""),
        ("b", 200e12, "KRW", "Somebody"),
        ("b", 150e12, "KRW", "Somebody"),
        ("b", 5, "", "Somebody"),
        ("b", 1_000, "accelerators", "Somebody"),
        ("b", 10, "", "Somebody"),
    ]


@pytest.mark.skipif(not DIGEST.is_file(), reason=f"no digest: {DATA} names the folder beside it")
def test_all_figures_of_the_digest_stand_in_the_pack_and_a_changed_one_does_not() -> None:
    walked = list(figures(DIGEST.read_text("utf-8")))
    pack = read(shipped()["kr"], parse)
    assert len(walked) > 60
    assert missing(pack, walked) == []
    claims = tuple(
        msgspec.structs.replace(one, number=9e12) if one.id == "c-kim-dong-yeon-investment" else one
        for one in pack.claims
    )
    assert [one.who for one in missing(replace(pack, claims=claims), walked)] == ["Kim Dong-yeon"]
