"""The stated bound, at every level, in generated histories; and that a queue that breaks it is found."""

from __future__ import annotations

import pytest
from benchmarks.fairness_histories import History, worst
from hypothesis import given, settings
from hypothesis import strategies as st

from moduai.scheduling.tree import Tree


def test_no_history_violates_the_bound() -> None:
    gap, violations = worst(150)
    assert violations == []
    assert 0.5 < gap <= 1


@settings(max_examples=30, deadline=None)
@given(st.integers(1_000_000, 2**40))
def test_no_seed_does(seed: int) -> None:
    assert History(seed).play() <= 1


@pytest.mark.source
def test_a_queue_that_favours_someone_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tree, "within", lambda *_: True)
    monkeypatch.setattr(Tree, "charge", lambda *_: None)
    _, violations = worst(200)
    assert violations


@pytest.mark.parametrize("seed", [12650, 28064, 72650])
def test_the_window_counts_in_the_organisation_of_whoever_goes(seed: int) -> None:
    """Across classes, a person was once compared with the one who was due in another organisation."""
    assert History(seed).play() <= 1
