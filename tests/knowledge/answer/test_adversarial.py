"""A short form of the bar [quotes]: nothing false is shown, and what is true is."""

from __future__ import annotations

import pytest
from benchmarks.harness.quoting import TRICKS, Case, run

CASES = 400


async def test_no_trick_has_anything_false_shown() -> None:
    wrong, shown, tricks = list[str](), 0, set[str]()
    for seed in range(CASES):
        case = Case(seed)
        tricks.add(case.trick)
        count, found = await run(case)
        shown += count
        wrong += [f"{seed} {case.trick}: {each}" for each in found]
    assert not wrong, "\n".join(wrong[:20])
    assert shown > CASES / 2
    assert tricks == set(TRICKS)


@pytest.mark.source
async def test_the_judge_sees_what_a_missing_check_would_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    from moduai.knowledge.answer import support  # noqa: PLC0415

    monkeypatch.setattr(support, "_quotations_stand", lambda *_: True)
    monkeypatch.setattr(support, "_units", lambda _: frozenset())
    monkeypatch.setattr(support.words, "marks", lambda _: {})
    wrong = [why for seed in range(CASES) for why in (await run(Case(seed)))[1]]
    assert len(wrong) > 10
