"""Usage as staff see it: fixed times, and nothing of a few people."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from moduai.accounts.organisations import create_organisation
from moduai.metering.loader import put_usage
from moduai.metering.row import UsageRow
from tests.web.office import Office, office

HOUR = 3_600_000_000
NOON = 1_795_348_800_000_000
"""2026-11-22 12:00 UTC"""


async def use(desk: Office, *groups: tuple[int, dict[str, Any]]) -> None:
    """So many people ask once each, with these fields in their rows."""
    rows = []
    for number, (people, fields) in enumerate(groups):
        for person in range(people):
            row = UsageRow(id=f"{number}-{person}", at=NOON, subject=f"s{number}-{person}", tokens_out=10)
            rows.append(msgspec.structs.asdict(msgspec.structs.replace(row, **fields)))
    async with desk.services.database.begin() as connection:
        await put_usage(connection, rows)


async def table(desk: Office, by: str, period: str = "", role: str = "officer") -> dict[str, Any]:
    async with desk.client(role) as client:
        answer = await client.get("/api/usage", params={"by": by, "period": period})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


def shown(found: dict[str, Any]) -> dict[str, int | None]:
    return {row["name"]: row["figures"] and row["figures"]["requests"] for row in found["rows"]}


async def test_few_people_are_kept_back_and_the_group_that_would_give_them_away(desk: Office) -> None:
    async with desk.services.database.begin() as connection:
        library = await create_organisation(connection, "도서관")
    await use(
        desk,
        (20, {"organisation": library.id, "region": "KR-11"}),
        (6, {"organisation": "org_b", "region": "KR-26"}),
        (3, {"organisation": "org_c", "region": "KR-26"}),
    )
    found = await table(desk, "organisation", "2026-11")
    assert shown(found) == {"도서관": 20, "org_b": None, "org_c": None}
    assert [row["few"] for row in found["rows"]] == [False, False, True]
    assert found["total"]["requests"] == 29
    assert (found["since"], found["until"]) == (1793458800, 1796050800), "the months of the pack’s time zone"
    assert shown(await table(desk, "region", "2026-11")) == {"KR-11": 20, "KR-26": 9}


async def test_nothing_is_told_of_a_total_of_a_few(desk: Office) -> None:
    await use(desk, (4, {"model": "m"}))
    found = await table(desk, "model", "2026-11")
    assert (shown(found), found["total"]) == ({"m": None}, None)


async def test_a_month_less_its_days_tells_nothing_of_a_day_of_a_few(desk: Office) -> None:
    day = 24 * HOUR
    await use(desk, (9, {}), (6, {"at": NOON - day}), (1, {"at": NOON - 2 * day}))
    assert (await table(desk, "model", "2026-11"))["total"]["requests"] == 16
    days = [await table(desk, "hour", f"2026-11-{number}") for number in (20, 21, 22)]
    assert [found["total"] and found["total"]["requests"] for found in days] == [None, None, 9]
    assert [list(shown(found).values()) for found in days] == [[None], [None], [9]]


async def test_hours_begin_where_the_service_is() -> None:
    async with office(**{"console.utc_offset": "+09:00"}) as desk:
        await use(desk, (5, {}), (6, {"at": NOON + 3 * HOUR}))
        found = await table(desk, "hour", "2026-11-22")
        assert (found["utc_offset"], shown(found)) == ("+09:00", {"21:00": 5})
        assert shown(await table(desk, "hour", "2026-11-23")) == {"00:00": 6}


@pytest.mark.parametrize(
    ("by", "period", "code"),
    [
        ("hour", "2026-11", "value_not_allowed"),
        ("model", "2026-11-22", "value_not_allowed"),
        ("hour", "2026-02-30", "value_not_allowed"),
        ("hour", "today", "invalid_parameter"),
        ("person", "", "invalid_parameter"),
    ],
)
async def test_other_times_are_refused(desk: Office, by: str, period: str, code: str) -> None:
    async with desk.client("officer") as client:
        answer = await client.get("/api/usage", params={"by": by, "period": period})
    assert answer.json()["error"]["code"] == code


async def test_this_day_and_month_are_the_default(desk: Office) -> None:
    assert len((await table(desk, "hour"))["period"]) == 10
    assert len((await table(desk, "group", role="steward"))["period"]) == 7
