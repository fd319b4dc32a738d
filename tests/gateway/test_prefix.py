"""Prompts as chains of hashes."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from moduai.gateway.prefix import MOST_BLOCKS, blocks, salt
from moduai.scheduling.prefix import BLOCK, PrefixIndex

TEXT = random.Random(1).randbytes(2 * MOST_BLOCKS * BLOCK)


def test_only_whole_blocks_count_and_not_too_many() -> None:
    assert blocks(b"", 0) == blocks(TEXT[: BLOCK - 1], 0) == ()
    assert len(blocks(TEXT[:BLOCK], 0)) == 1
    assert len(blocks(TEXT[: 2 * BLOCK - 1], 0)) == 1
    assert len(blocks(TEXT, 0)) == MOST_BLOCKS
    assert blocks(TEXT, 0) == blocks(TEXT[:-1], 0)


@given(st.integers(0, 8 * BLOCK), st.integers(1, 8 * BLOCK))
def test_what_is_shared_is_held_and_no_more(same: int, more: int) -> None:
    """Two prompts that part after ``same`` bytes share the blocks that end there or before."""
    one = TEXT[: same + more]
    other = one[:same] + bytes([one[same] ^ 1]) + one[same + 1 :]
    index = PrefixIndex()
    index.touch(blocks(one, 7), "a")
    assert index.held(blocks(other, 7), "a") == same // BLOCK


def test_one_changed_letter_changes_all_that_follows() -> None:
    changed = bytearray(TEXT[: 4 * BLOCK])
    changed[BLOCK] ^= 1
    before, after = blocks(TEXT[: 4 * BLOCK], 0), blocks(bytes(changed), 0)
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, False, False]


def test_no_organisation_holds_what_another_one_asked() -> None:
    fields = {"messages": Raw(b"[]")}
    mine, theirs = salt("mine", "m", fields), salt("theirs", "m", fields)
    assert not set(blocks(TEXT, mine)) & set(blocks(TEXT, theirs))
    assert mine == salt("mine", "m", {**fields, "temperature": Raw(b"1")})
    assert mine != salt("mine", "other", fields)
    assert mine != salt("mine", "m", {**fields, "tools": Raw(b"[1]")})


def test_a_prompt_cannot_stand_for_a_later_part_of_another() -> None:
    """Hashes are chained: the second block of one prompt, sent as a first one, is not held."""
    index = PrefixIndex()
    index.touch(blocks(TEXT[: 2 * BLOCK], 0), "a")
    assert index.held(blocks(TEXT[BLOCK : 2 * BLOCK], 0), "a") == 0
