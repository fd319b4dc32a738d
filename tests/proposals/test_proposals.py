"""Proposals: checked as the pack is, decided by somebody else, laid over the pack. On both databases."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import update

from moduai.gateway.policy_text import parse
from moduai.packs import strategy
from moduai.packs.pack import Pack
from moduai.packs.read import read
from moduai.proposals import repository
from moduai.proposals.repository import Proposal, accepted, decide, lay, list_proposals, propose
from moduai.proposals.rows import Given, ProposalError
from moduai.proposals.tables import proposals
from moduai.store.database import Database

XA = Path(__file__).parent.parent / "packs" / "xa"


@pytest.fixture(scope="module")
def pack() -> Pack:
    return read(XA, parse)


def claim(pack: Pack, **changed: Any) -> Given:
    """A new claim that is right, but for what is changed."""
    fields: dict[str, Any] = {
        "day": "2026-07-01",
        "item": pack.items[0].id,
        "who": pack.items[0].owner,
        "what": ("قيل", "Said"),
        "source_title": ("خبر", "News"),
        "source_publisher": "The Palm",
        "source_url": "https://example.org/news",
    }
    return Given(**{**fields, **changed})


async def made(db: Database, pack: Pack, given: Given, by: str = "sub_1") -> Proposal:
    async with db.begin() as connection:
        return await propose(connection, pack, given, by=by, reason="it was in the news")


async def decided(db: Database, pack: Pack, one: Proposal, by: str, state: Any = "accepted") -> Proposal:
    async with db.begin() as connection:
        return await decide(connection, pack, one.id, by=by, state=state, note="n")


async def laid(db: Database, pack: Pack) -> Pack:
    async with db.connect() as connection:
        return lay(pack, await accepted(connection, pack)).pack


async def test_what_one_proposes_another_accepts(db: Database, pack: Pack) -> None:
    one = await made(db, pack, claim(pack, number=12, unit=pack.units[0].id))
    assert await laid(db, pack) == pack, "a proposal that is open counts for nothing"
    with pytest.raises(ProposalError, match="another officer"):
        await decided(db, pack, one, "sub_1")
    done = await decided(db, pack, one, "sub_2")
    assert (done.state, done.decided_by, done.note) == ("accepted", "sub_2", "n")
    for state in ("accepted", "rejected"):
        with pytest.raises(ProposalError, match="it was accepted before"):
            await decided(db, pack, one, "sub_3", state)
    now = await laid(db, pack)
    assert now.claim[one.id].number == 12
    assert now.head.as_of == date(2026, 7, 1)
    assert one.id in strategy.as_of(now).standing
    assert one.id not in strategy.as_of(now, date(2026, 6, 30)).standing, "it counts from its day on"
    async with db.connect() as connection:
        assert await list_proposals(connection, "open") == []
        assert [each.id for each in await list_proposals(connection)] == [one.id]


async def test_a_change_of_status(db: Database, pack: Pack) -> None:
    of, source = pack.claims[0], pack.sources[0].id
    given = Given(claim=of.id, status="dropped", day=str(pack.head.as_of), source=source)
    one = await made(db, pack, given)
    await decided(db, pack, one, "sub_2")
    now = strategy.as_of(await laid(db, pack))
    assert now.standing[of.id].status == "dropped"


async def test_who_is_in_charge_since(db: Database, pack: Pack) -> None:
    item, source = "computers", pack.sources[0].id
    for day, owner in (("2026-07-01", "xa-council"), ("2026-07-02", "-")):
        given = Given(item=item, owner=owner, needs=("teaching",), day=day, source=source)
        await decided(db, pack, await made(db, pack, given), "sub_2")
    now = await laid(db, pack)
    days = date(2026, 6, 30), date(2026, 7, 1), date(2026, 7, 2)
    owners = [strategy.as_of(now, day).item[item] for day in days]
    assert [one.owner for one in owners] == ["xa-ministry", "xa-council", None]
    assert [one.needs for one in owners] == [("teaching", "archive"), ("teaching",), ("teaching",)]


async def test_a_rejected_one_counts_for_nothing(db: Database, pack: Pack) -> None:
    one = await made(db, pack, claim(pack))
    await decided(db, pack, one, "sub_2", "rejected")
    assert await laid(db, pack) == pack
    with pytest.raises(ProposalError, match="there is no proposal"):
        await decided(db, pack, msgspec.structs.replace(one, id="p-none"), "sub_2")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"item": "nothing"}, "there is no item 'nothing'"),
        ({"item": ""}, "item is missing"),
        ({"who": "nobody"}, "there is no who 'nobody'"),
        ({"what": ("قيل",)}, "one line for each language of the pack, in this order: ar, en"),
        ({"what": ("قيل", "<b>Said</b>")}, "there is markup in it"),
        ({"number": 12}, "has no unit"),
        ({"number": -1, "unit": "percent"}, "-1|>= 0"),
        ({"unit": "moons", "number": 2}, "there is no unit 'moons'"),
        ({"source": "nowhere"}, "there is no source 'nowhere'"),
        ({"source_title": ()}, "source_title needs one line"),
        ({"source_url": "javascript:alert(1)"}, "web address"),
        ({"day": "yesterday"}, "date"),
        ({"day": "2999-01-01"}, "has not come yet"),
        ({"until": "2026-01-01", "since": "2026-02-01"}, "before it begins"),
        ({"status": "wonderful"}, "there is no 'wonderful'"),
        ({"replaces": "nothing"}, "there is no claim 'nothing'"),
        ({"claim": "nothing"}, "propose one thing"),
        ({"owner": "xa-council"}, "propose one thing"),
        ({"owner": "nobody", "what": ()}, "there is no who 'nobody'"),
        ({"needs": ("computers", "archive", "everyone"), "what": ()}, "a circle: everyone"),
        ({"measure": ("قياس",), "what": ()}, "one line for each language"),
        ({"owner": "xa-council", "what": (), "day": "2024-01-01"}, "when the item was first spoken of"),
        ({"claim": "nothing", "item": "", "what": ()}, "there is no claim 'nothing'"),
    ],
)
async def test_what_does_not_fit_is_refused(
    sqlite: Database, pack: Pack, wrong: dict[str, Any], told: str
) -> None:
    with pytest.raises(ProposalError, match=told):
        await made(sqlite, pack, claim(pack, **wrong))
    async with sqlite.connect() as connection:
        assert await list_proposals(connection) == []


async def test_one_that_no_longer_fits_is_left_out_and_told(sqlite: Database, pack: Pack) -> None:
    first, second = await made(sqlite, pack, claim(pack)), await made(sqlite, pack, claim(pack))
    for one in (first, second):
        await decided(sqlite, pack, one, "sub_2")
    rows = {**first.rows, "claim": {**first.rows["claim"], "item": "gone"}}
    async with sqlite.begin() as connection:
        await connection.execute(update(proposals).where(proposals.c.id == first.id).values(rows=rows))
        found = lay(pack, await accepted(connection, pack))
    assert list(found.left_out) == [first.id]
    assert "there is no item 'gone'" in found.left_out[first.id]
    assert second.id in found.pack.claim


async def test_a_proposal_is_of_one_pack(sqlite: Database, pack: Pack) -> None:
    one = await made(sqlite, pack, claim(pack))
    async with sqlite.begin() as connection:
        await connection.execute(update(proposals).values(pack="other"))
    with pytest.raises(ProposalError, match="it is of the pack other"):
        await decided(sqlite, pack, one, "sub_2")
    assert (await decided(sqlite, pack, one, "sub_2", "rejected")).state == "rejected"


async def test_there_is_an_end_to_what_waits(
    sqlite: Database, pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository, "MOST_OPEN", 1)
    await made(sqlite, pack, claim(pack))
    with pytest.raises(ProposalError, match="decide some first"):
        await made(sqlite, pack, claim(pack))
