"""What replicas hold of prompts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from moduai.scheduling.prefix import PrefixIndex, uncached


def chain(*parts: int) -> tuple[int, ...]:
    return tuple(hash(parts[: end + 1]) for end in range(len(parts)))


def test_the_common_beginning_is_held() -> None:
    index = PrefixIndex()
    index.touch(chain(1, 2, 3, 4), "a")
    index.touch(chain(1, 2), "b")
    prompt = chain(1, 2, 3, 9, 9)
    assert index.held(prompt, "a") == 3
    assert index.held(prompt, "b") == 2
    assert index.held(prompt, "c") == 0
    assert index.held(chain(2, 1), "a") == 0
    assert index.best(prompt, ["b", "a", "c"]) == (3, "a")
    assert index.best(chain(7), ["a", "b"]) == (0, "")


def test_a_prompt_without_a_block_is_held_nowhere() -> None:
    index = PrefixIndex()
    index.touch((), "a")
    assert index.held((), "a") == 0
    index.touch(chain(1), "a")
    assert index.held((), "a") == 0
    assert index.best((), ["a"]) == (0, "")


def test_a_replica_that_begins_anew_holds_nothing() -> None:
    index = PrefixIndex()
    index.touch(chain(1), "a")
    index.forget("a")
    index.forget("never seen")
    assert index.held(chain(1), "a") == 0


def test_what_is_asked_for_stays_and_the_rest_goes() -> None:
    index = PrefixIndex()
    index.resize("a", 8)
    for number in range(20):
        index.touch(chain(1, 2), "a")
        index.touch(chain(100 + number), "a")
    assert index.held(chain(1, 2), "a") == 2
    assert index.held(chain(100), "a") == 0
    assert index.held(chain(119), "a") == 1
    index.resize("a", 0)
    index.touch(chain(5), "a")
    index.touch(chain(6), "a")
    index.touch(chain(7), "a")
    assert index.held(chain(5), "a") == 0


@given(
    st.lists(st.lists(st.integers(0, 2), max_size=6), max_size=20), st.lists(st.integers(0, 2), max_size=6)
)
def test_it_is_the_longest_common_prefix(sent: list[list[int]], asked: list[int]) -> None:
    index, longest = PrefixIndex(), 0
    for prompt in sent:
        index.touch(chain(*prompt), "a")
        same = [x == y for x, y in zip(prompt, asked, strict=False)] + [False]
        longest = max(longest, same.index(False))
    assert index.held(chain(*asked), "a") == longest


def test_what_is_left_to_compute() -> None:
    assert uncached(1000, (), 0) == 1000
    assert uncached(1000, chain(1, 2), 0) == 1000
    assert uncached(1000, chain(1, 2), 2) == 200
