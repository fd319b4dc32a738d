"""Prompts as chains of hashes."""

from __future__ import annotations

import random
from hashlib import blake2b

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from moduai.gateway.prefix import MOST_BLOCKS, blocks, salt
from moduai.scheduling.prefix import BLOCK, PrefixIndex

TEXT = random.Random(1).randbytes(2 * MOST_BLOCKS * BLOCK)
KEY, SALT = b"k" * 32, b"salt"


def test_only_whole_blocks_count_and_not_too_many() -> None:
    assert blocks(b"", SALT) == blocks(TEXT[: BLOCK - 1], SALT) == ()
    assert len(blocks(TEXT[:BLOCK], SALT)) == 1
    assert len(blocks(TEXT[: 2 * BLOCK - 1], SALT)) == 1
    assert len(blocks(TEXT, SALT)) == MOST_BLOCKS
    assert blocks(TEXT, SALT) == blocks(TEXT[:-1], SALT)


@given(st.integers(0, 8 * BLOCK), st.integers(1, 8 * BLOCK))
def test_what_is_shared_is_held_and_no_more(same: int, more: int) -> None:
    """Two prompts that part after ``same`` bytes share the blocks that end there or before."""
    one = TEXT[: same + more]
    other = one[:same] + bytes([one[same] ^ 1]) + one[same + 1 :]
    index = PrefixIndex()
    index.touch(blocks(one, SALT), "a")
    assert index.held(blocks(other, SALT), "a") == same // BLOCK


def test_one_changed_letter_changes_all_that_follows() -> None:
    changed = bytearray(TEXT[: 4 * BLOCK])
    changed[BLOCK] ^= 1
    before, after = blocks(TEXT[: 4 * BLOCK], SALT), blocks(bytes(changed), SALT)
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, False, False]


def test_no_organisation_holds_what_another_one_asked() -> None:
    fields = {"messages": Raw(b"[]")}
    mine, theirs = salt(KEY, "mine", "m", fields), salt(KEY, "theirs", "m", fields)
    assert not set(blocks(TEXT, mine)) & set(blocks(TEXT, theirs))
    assert mine == salt(KEY, "mine", "m", {**fields, "temperature": Raw(b"1")})
    assert mine != salt(KEY, "mine", "other", fields)
    assert mine != salt(KEY, "mine", "m", {**fields, "tools": Raw(b"[1]")})
    assert mine != salt(b"another", "mine", "m", fields)


def test_a_prompt_cannot_stand_for_a_later_part_of_another() -> None:
    """Hashes are chained: the second block of one prompt, sent as a first one, is not held."""
    index = PrefixIndex()
    index.touch(blocks(TEXT[: 2 * BLOCK], SALT), "a")
    assert index.held(blocks(TEXT[BLOCK : 2 * BLOCK], SALT), "a") == 0


def test_every_process_with_the_key_gives_the_same_hashes() -> None:
    """Gateways of a cell tell one dispatcher: by hand, BLAKE2b under the salt, then under the hash before."""
    known = salt(KEY, "mine", "m", {"tools": Raw(b"[1]")})
    one = blake2b(TEXT[:BLOCK], digest_size=7, key=known).digest()
    two = blake2b(TEXT[BLOCK : 2 * BLOCK], digest_size=7, key=one).digest()
    assert known.hex() == "9e72936fa06d6b"
    assert blocks(TEXT[: 2 * BLOCK], known) == (int.from_bytes(one), int.from_bytes(two))
