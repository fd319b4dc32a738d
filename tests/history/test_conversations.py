"""Conversations as their person sees, searches and deletes them."""

from __future__ import annotations

import asyncio
import json
import unicodedata
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from moduai.accounts.organisations import AccountError
from moduai.history import conversations as module
from moduai.history.conversations import (
    count,
    delete_all,
    delete_conversation,
    list_conversations,
    purge,
    read_conversation,
    read_turn,
    rename,
    shown_path,
)
from moduai.history.export import LOST, as_json, as_markdown
from moduai.history.record import Conversation, Turn, TurnPlace
from moduai.history.tables import conversations, turns
from tests.history.conftest import World, new_person

DAY = 86_400


async def listed(world: World, text: str = "", person: str = "", **how: int) -> list[str]:
    async with world.db.connect() as connection:
        found = await list_conversations(
            connection,
            world.subjects,
            person or world.person,
            text,
            **how,  # type: ignore[arg-type]
        )
    return [one.title for one in found]


async def read(world: World, conversation: str, person: str = "") -> Conversation | None:
    async with world.db.connect() as connection:
        return await read_conversation(connection, world.subjects, person or world.person, conversation)


async def delete(world: World, conversation: str, person: str = "", now: float = 100) -> bool:
    async with world.db.begin() as connection:
        return await delete_conversation(connection, person or world.person, conversation, now)


async def rows(world: World) -> tuple[int, int]:
    async with world.db.connect() as connection:
        return (
            await connection.scalar(select(func.count()).select_from(conversations)) or 0,
            await connection.scalar(select(func.count()).select_from(turns)) or 0,
        )


async def test_the_latest_comes_first_page_by_page(world: World) -> None:
    for number in range(5):
        world.hear(f"질문 {number}", at=10 if number < 3 else number + 20)
    await world.load()
    seen: list[str] = []
    before = None
    while True:
        async with world.db.connect() as connection:
            page = await list_conversations(connection, world.subjects, world.person, limit=2, before=before)
        if not page:
            break
        seen += [one.title for one in page]
        before = (page[-1].updated_at, page[-1].id)
    assert seen == ["질문 4", "질문 3", "질문 2", "질문 1", "질문 0"]


async def test_search_reads_titles_and_turns_of_that_person_only(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await new_person(world.db, world.subjects, "이둘")
    world.hear("수도는?", "SEOUL입니다")
    world.hear("강은?", "한강")
    world.hear("서울?", "seoul", person=other)
    await world.load()
    assert await listed(world, " seoul ") == ["수도는?"]
    assert await listed(world, "강은") == ["강은?"]
    assert await listed(world, unicodedata.normalize("NFD", "강은")) == ["강은?"]
    assert await listed(world, "없는 말") == []
    assert await listed(world, "?", limit=1) == ["강은?"]
    monkeypatch.setattr(module, "SEARCHED", 0)
    assert await listed(world, "seoul") == []


async def test_another_persons_is_as_if_it_were_not_there(world: World) -> None:
    other = await new_person(world.db, world.subjects, "이둘")
    turn = await world.keep()
    assert await read(world, f"cnv_{turn}", other) is None
    assert not await delete(world, f"cnv_{turn}", other)
    async with world.db.begin() as connection:
        assert not await rename(connection, world.subjects, other, f"cnv_{turn}", "x")
        assert await delete_all(connection, other, 100) == 0
        assert await read_turn(connection, world.subjects, other, turn) is None
        assert await count(connection, world.person) == (1, 1)
    assert await listed(world, person=other) == []
    assert await read(world, f"cnv_{turn}") is not None


async def test_renamed(world: World) -> None:
    turn = await world.keep()
    async with world.db.begin() as connection:
        assert await rename(connection, world.subjects, world.person, f"cnv_{turn}", " 새\u202e 이름 ")
        with pytest.raises(AccountError):
            await rename(connection, world.subjects, world.person, f"cnv_{turn}", "x" * 101)
    await world.keep(place=TurnPlace(f"cnv_{turn}", ""))
    assert await listed(world) == ["새 이름"]


async def test_two_tabs_delete_one_conversation(world: World) -> None:
    turn = await world.keep()
    done = await asyncio.gather(*(delete(world, f"cnv_{turn}") for _ in range(2)))
    assert sorted(done) == [False, True]
    assert not await delete(world, "no id")
    assert await read(world, f"cnv_{turn}") is None
    assert (await rows(world))[1] == 0


async def test_an_answer_that_still_runs_does_not_bring_it_back(world: World) -> None:
    first = await world.keep()
    world.hear("더", place=TurnPlace(f"cnv_{first}", first))  # waits while the conversation is deleted
    new = world.hear("새것")
    assert await delete(world, f"cnv_{first}")
    assert not await delete(world, f"cnv_{new}")  # is not loaded yet
    await world.load()
    assert await listed(world) == []
    assert (await rows(world))[1] == 0


async def test_all_are_deleted_with_what_still_runs(world: World) -> None:
    await world.keep(at=10)
    world.hear("아직", at=50)
    async with world.db.begin() as connection:
        assert await delete_all(connection, world.person, 100) == 1
    world.hear("그 뒤", at=101)
    await world.load()
    assert await listed(world) == ["그 뒤"]
    async with world.db.begin() as connection:
        assert await delete_all(connection, world.person, 200) == 1
        assert await delete_all(connection, "sub_nobody", 200) == 0
    assert (await rows(world))[1] == 0


async def test_loading_and_deleting_at_once_leaves_nothing(world: World) -> None:
    first = await world.keep()
    for _ in range(30):
        world.hear(place=TurnPlace(f"cnv_{first}", first))
    await world.recorder.flush()
    await asyncio.gather(world.loader.load_once(), delete(world, f"cnv_{first}"))
    await world.loader.load_once()
    assert (await rows(world))[1] == 0


async def test_retention_and_bare_rows(world: World) -> None:
    await world.keep("옛것", at=1 * DAY)
    kept = await world.keep("새것", at=9 * DAY)
    async with world.db.begin() as connection:
        assert await purge(connection, 10 * DAY) == 0
        assert await purge(connection, 10 * DAY, 5) == 1
    assert await listed(world) == ["새것"]
    await delete(world, f"cnv_{kept}", now=10 * DAY)
    async with world.db.begin() as connection:
        await purge(connection, 10.5 * DAY)
    assert await rows(world) == (1, 0)
    async with world.db.begin() as connection:
        await purge(connection, 11.1 * DAY)
    assert await rows(world) == (0, 0)


def turn(name: str, parent: str, at: int) -> Turn:
    fields = dict.fromkeys(("model", "engine", "outcome", "consent"), "")
    return Turn(id=name, conversation="c", person="p", at=at, parent=parent, **fields)


def test_the_newest_of_each_choice_is_shown() -> None:
    tree = [turn("a", "", 1), turn("b", "a", 2), turn("c", "b", 3), turn("b2", "a", 4)]
    assert [each.id for each in shown_path(tree)] == ["a", "b2"]
    tree += [turn("d", "b2", 5), turn("a2", "", 6)]
    assert [each.id for each in shown_path(tree)] == ["a2"]
    orphans = [turn("y", "gone", 2), turn("z", "y", 3)]
    assert [each.id for each in shown_path(orphans)] == ["y", "z"]
    assert shown_path([]) == []


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("abcdef")), max_size=8))
def test_any_parents_give_a_path_that_ends(pairs: list[tuple[str, str]]) -> None:
    tree = [turn(name, parent, at) for at, (name, parent) in enumerate(dict(pairs).items())]
    path = [each.id for each in shown_path(tree)]
    assert len(path) == len(set(path))


async def exported(world: World) -> tuple[dict[str, object], str]:
    packed = b"".join([part async for part in as_json(world.db, world.subjects, world.person, 1)])
    text = b"".join([part async for part in as_markdown(world.db, world.subjects, world.person, 1)])
    return json.loads(packed), text.decode()


async def test_export(world: World) -> None:
    empty, _ = await exported(world)
    assert empty["conversations"] == []
    first = await world.keep("수도는?\n# 가짜", "**서울**입니다.")
    await world.keep("다시", place=TurnPlace(f"cnv_{first}", ""), outcome="cancelled")
    await world.keep("[제목](x)")
    packed, text = await exported(world)
    two, one = packed["conversations"]  # type: ignore[misc]
    assert [each["question"] for each in one["turns"]] == ["수도는?\n# 가짜", "다시"]
    assert (packed["format"], packed["person"], two["title"]) == (1, world.person, "[제목](x)")
    assert "AI" in str(packed["made_by_ai"])
    assert text.count("AI:") == 2  # the newest of the two first turns is shown, as on the page
    assert "> 다시\n\n서울입니다.\n\n*AI: m · 1970-01-01T00:00:02Z · cancelled*" in text
    assert "\n# \\[제목\\](x)\n" in text


async def test_export_names_what_is_lost(world: World) -> None:
    await world.keep()
    world.subjects.destroy(world.person, 1)
    packed, text = await exported(world)
    (one,) = packed["conversations"]  # type: ignore[misc]
    assert (one["lost"], one["turns"][0]["lost"], one["turns"][0]["question"]) == (True, True, "")
    assert LOST in text


async def test_many_who_take_along_slowly_hold_up_nobody(world: World) -> None:
    gone, *_ = [await world.keep(f"{number}번째") for number in range(3)]
    slow = [as_json(world.db, world.subjects, world.person, 1) for _ in range(10)]
    slow += [as_markdown(world.db, world.subjects, world.person, 1) for _ in range(10)]
    begun = [await anext(each) + await anext(each) for each in slow]  # each is in the middle, and rests
    assert all("2번째".encode() in each for each in begun)
    assert await delete(world, f"cnv_{gone}")
    for each in slow:
        rest = b"".join([part async for part in each]).decode()
        assert "1번째" in rest
        assert "0번째" not in rest


async def test_the_text_to_take_along_has_every_turn_that_the_page_leaves_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await world.keep("첫 질문")
    second = await world.keep("둘째", place=TurnPlace(f"cnv_{first}", first))
    await world.keep("셋째", place=TurnPlace(f"cnv_{first}", second))
    monkeypatch.setitem(cast("dict[str, Any]", read_conversation.__kwdefaults__), "most", 2)
    found = await read(world, f"cnv_{first}")
    assert found is not None
    assert [turn.question for turn in found.turns] == ["둘째", "셋째"]
    _, text = await exported(world)
    assert [word in text for word in ("첫 질문", "둘째", "셋째")] == [True] * 3


async def test_an_id_that_nobody_made_is_nobodys(world: World) -> None:
    await world.keep()
    async with world.db.begin() as connection:
        assert not await rename(connection, world.subjects, world.person, "cnv_\0", "Ein Name")
    async with world.db.connect() as connection:
        for name in ("cnv_\0", "\0"):
            before = (1 << 40, name)
            found = await list_conversations(connection, world.subjects, world.person, before=before)
            assert found == []
