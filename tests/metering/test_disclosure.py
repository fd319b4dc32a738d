from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from moduai.metering.disclosure import LEAST, hidden
from moduai.metering.loader import put_usage
from moduai.metering.report import Usage, people_of_small, total, usage
from moduai.metering.row import UsageRow
from moduai.store.database import Database

GROUPS = st.lists(st.sets(st.integers(0, 30), min_size=1, max_size=12), max_size=8)


def row(group: str, people: int) -> Usage:
    zeros = dict.fromkeys(Usage.__struct_fields__[1:], 0)
    return Usage(group=group, **{**zeros, "people": people})


@given(GROUPS)
def test_what_is_kept_back_is_never_of_a_few_people(groups: list[set[int]]) -> None:
    rows = [row(str(number), len(people)) for number, people in enumerate(groups)]
    everyone = set().union(*groups)
    small = set().union(*(people for people in groups if len(people) < LEAST))
    back = hidden(rows, len(everyone), len(small))
    shown = [one for one in rows if one.group not in back]
    assert all(one.people >= LEAST for one in shown)
    kept_back = set().union(*(groups[int(group)] for group in back))
    if shown and back:
        assert len(kept_back) >= LEAST, "the total less what is shown would tell of a few people"


def test_the_smallest_group_that_is_shown_goes_too() -> None:
    rows = [row("a", 9), row("b", 7), row("c", 2)]
    assert hidden(rows, 18, 2) == {"b", "c"}
    assert hidden([*rows, row("d", 4)], 22, 6) == {"c", "d"}
    assert hidden([row("a", 9)], 9, 0) == set()
    assert hidden([row("a", 3), row("b", 1)], 4, 4) == {"a", "b"}


async def test_people_of_small_groups_are_counted_once(db: Database) -> None:
    asked = {"s1": ["r1", "r2"], "s2": ["r2"], **{f"s{n}": ["r3"] for n in range(3, 9)}, "s9": ["r1"]}
    rows = [
        UsageRow(id=f"{subject}{region}", at=100, subject=subject, region=region)
        for subject, regions in asked.items()
        for region in regions
    ]
    async with db.begin() as connection:
        await put_usage(connection, [msgspec.structs.asdict(one) for one in rows])
    async with db.connect() as connection:
        people = {one.group: one.people for one in await usage(connection, 0, 200, "region")}
        assert people == {"r1": 2, "r2": 2, "r3": 6}
        assert (await total(connection, 0, 200)).people == 9
        assert await people_of_small(connection, 0, 200, "region", least=5) == 3
        assert await people_of_small(connection, 0, 100, "region", least=5) == 0
