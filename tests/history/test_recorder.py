"""From the lane to the database: sealed on its way, counted once, and never in an answer's way."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import threading
from typing import Any

import pytest
from sqlalchemy import func, select, update

from moduai.accounts.tables import people
from moduai.gateway.tee import FOLD, Tee
from moduai.history import recorder as recorder_module
from moduai.history.conversations import read_conversation, read_turn
from moduai.history.loader import turns_kind
from moduai.history.record import NEW, TurnPlace
from moduai.history.recorder import SMALL, Recorder
from moduai.history.tables import conversations, turns
from moduai.metering.loader import Loader
from moduai.metering.row import UsageRow
from moduai.metering.segment import SegmentWriter
from moduai.settings import Ledger
from moduai.store.keyring import Keyring
from moduai.store.subjects import SubjectKeys, SubjectsAwayError
from tests.history.conftest import Silent, World, asked, new_person


async def kept(world: World) -> int:
    async with world.db.connect() as connection:
        return await connection.scalar(select(func.count()).select_from(turns)) or 0


async def text_of(world: World, turn: str) -> tuple[str, str]:
    async with world.db.connect() as connection:
        found = await read_turn(connection, world.subjects, world.person, turn)
    assert found is not None
    return found.question, found.answer


async def test_a_turn_becomes_a_conversation(world: World) -> None:
    first = await world.keep("한국의 수도는?", "서울입니다.")
    second = world.hear("왜?", "정해졌으니까요.", TurnPlace(f"cnv_{first}", first), outcome="cancelled")
    await world.load()
    async with world.db.connect() as connection:
        found = await read_conversation(connection, world.subjects, world.person, f"cnv_{first}")
    assert found is not None
    assert (found.title, found.created_at, found.updated_at) == ("한국의 수도는?", 1, 2)
    assert [(turn.id, turn.parent, turn.question, turn.answer) for turn in found.turns] == [
        (first, "", "한국의 수도는?", "서울입니다."),
        (second, first, "왜?", "정해졌으니까요."),
    ]
    assert [turn.outcome for turn in found.turns] == ["ok", "cancelled"]
    assert (found.turns[0].model, found.turns[0].engine, found.turns[0].at) == ("m", "e", 1_000_000)


async def test_nothing_is_at_rest_in_clear(world: World) -> None:
    world.hear("비밀스러운 질문", "비밀스러운 답변")
    await world.recorder.flush()
    segment = world.bytes_at_rest()
    await world.loader.load_once()
    async with world.db.connect() as connection:
        rows = [*await connection.execute(select(turns)), *await connection.execute(select(conversations))]
    for place in (segment, world.bytes_at_rest(), str(rows).encode()):
        assert "비밀스러운".encode() not in place
        assert json.dumps("비밀").strip('"').encode() not in place
    (file,) = (world.home / "turns").glob("*.seg")
    assert file.stat().st_mode & 0o777 == 0o600


async def test_a_stream_and_a_long_one(world: World) -> None:
    for number, size in enumerate((5, 3 * FOLD + 7)):
        tee = Tee(Silent(), asked("세어 줘"), NEW, world.recorder)
        tee.head(200, b"", "")
        for count in range(size):
            event = (
                b"data: " + json.dumps({"choices": [{"delta": {"content": f"{count} "}}]}).encode() + b"\n\n"
            )
            tee.write(b"%x\r\n%b\r\n" % (len(event), event))
        tee.over(UsageRow(f"s{number}", 1, world.person, engine="e"))
        tee.end()
        await world.load()
        assert await text_of(world, f"s{number}") == ("세어 줘", "".join(f"{n} " for n in range(size)))


async def test_a_large_request_is_kept_as_its_last_question(world: World) -> None:
    messages = [{"role": "user", "content": "x" * 2 * SMALL}, {"role": "user", "content": "끝"}]
    tee = Tee(Silent(), json.dumps({"messages": messages}).encode(), NEW, world.recorder)
    tee.over(UsageRow("big", 1, world.person, engine="e"))
    tee.whole(502, b"", b"", b"{}", "")
    await world.recorder.flush()
    assert sum(file.stat().st_size for file in (world.home / "turns").glob("*.seg")) < 1000
    await world.loader.load_once()
    assert await text_of(world, "big") == ("끝", "")


@pytest.mark.parametrize(("engine", "outcome"), [("", "timeout"), ("e", "refused")])
async def test_what_no_engine_took_is_not_kept(world: World, engine: str, outcome: str) -> None:
    tee = Tee(Silent(), asked(), NEW, world.recorder)
    tee.over(UsageRow("r", 1, world.person, engine=engine, outcome=outcome))  # type: ignore[arg-type]
    assert world.recorder.waiting == 0


async def test_loaded_twice_counts_once(world: World) -> None:
    for _ in range(3):
        world.hear()
    await world.recorder.flush()
    (file,) = (world.home / "turns").glob("*.seg")
    again = file.with_name("m2-" + file.name)
    again.write_bytes(file.read_bytes() + (9000).to_bytes(4) + b"torn")
    await world.loader.load_once()
    await world.loader.load_once()
    assert await kept(world) == 3
    assert not again.exists()
    assert world.loader.torn == 1


async def test_what_a_power_cut_left_of_a_segment(world: World) -> None:
    world.hear()
    await world.recorder.flush()
    (file,) = (world.home / "turns").glob("*.seg")
    whole = file.read_bytes()
    for number, rest in enumerate((bytes(4096), b"\xff" * 100, b"\x00\x00")):
        file.with_name(f"m1-{number}.seg").write_bytes(whole + rest)
    junk = (3).to_bytes(4) + b"abc"
    file.with_name("m1-junk.seg").write_bytes(junk + whole)
    await world.loader.load_once()
    assert (await kept(world), world.loader.torn, world.loader.rejected) == (1, 3, 1)
    assert [left.name for left in (world.home / "turns").glob("m1-[0-9j]*")] == ["m1-junk.seg.rejected"]


async def test_two_loaders_at_once(world: World) -> None:
    for _ in range(50):
        world.hear()
    await world.recorder.flush()
    other = Loader(world.db, world.home / "turns", "m1", world.loader._kind)
    await asyncio.gather(world.loader.load_once(), other.load_once())
    assert await kept(world) == 50


async def test_usage_and_turns_leave_each_others_offsets(world: World) -> None:
    usage = Loader(world.db, world.home / "usage", "m1")
    writer = SegmentWriter(world.home / "usage", Ledger(), "m1-worker")
    writer.add(UsageRow("u", 1, "sub_1"))
    writer.flush()
    world.hear()
    await world.load()
    assert [await usage.load_once(), await world.loader.load_once(), await usage.load_once()] == [1, 0, 0]
    writer.close()


async def test_turns_of_nobody_and_of_others_are_dropped(world: World) -> None:
    first = await world.keep()
    stranger = await new_person(world.db, world.subjects, "이둘")
    world.hear(place=TurnPlace(f"cnv_{first}", first), person=stranger)
    world.hear(person="sub_nobody")
    await world.load()
    assert await kept(world) == 1


async def test_a_first_turn_that_comes_late_names_the_conversation(world: World) -> None:
    later = world.hear("둘째", place=TurnPlace("cnv_a", "t-0002"))
    await world.load()
    world.hear("첫째", place=TurnPlace("cnv_a", ""), at=1)
    await world.load()
    async with world.db.connect() as connection:
        found = await read_conversation(connection, world.subjects, world.person, "cnv_a")
    assert found is not None
    assert found.title == "첫째"
    assert [turn.id for turn in found.turns] == ["t-0002", later]


async def test_a_full_disk_keeps_turns_and_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    world.hear()
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        patch.setattr(recorder_module, "MOST_HELD", 100)
        await world.recorder.flush()
        assert world.recorder.failing
        world.hear()  # enough is waiting
        assert (world.recorder.waiting, world.recorder.skipped) == (1, 1)
    await world.load()
    assert (world.recorder.failing, world.recorder.waiting, await kept(world)) == (False, 0, 1)


async def test_too_many_at_once_are_not_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "MOST_HEARD", 2)
    for _ in range(3):
        world.hear()
    assert (world.recorder.waiting, world.recorder.skipped) == (2, 1)


async def test_keys_that_are_away_are_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> bytes:
        raise SubjectsAwayError("locked")

    world.hear()
    with monkeypatch.context() as patch:
        patch.setattr(world.subjects, "_look", away)
        await world.recorder.flush()
        await world.recorder.flush()
        assert (world.recorder.failing, world.recorder.waiting) == (True, 1)
    await world.recorder.flush()
    assert (world.recorder.failing, world.recorder.waiting) == (False, 0)
    with monkeypatch.context() as patch:
        patch.setattr(world.subjects, "unseal", away)
        with pytest.raises(SubjectsAwayError):
            await world.loader.load_once()
    await world.loader.load_once()
    assert await text_of(world, "t-0001") == ("한국의 수도는?", "서울입니다.")


async def test_a_lost_keyring_loses_the_text_and_nothing_else(world: World) -> None:
    world.hear()
    await world.recorder.flush()
    master = world.home / "keyring" / "master.key"
    kept_key = master.read_bytes()
    master.unlink()
    stranger = SubjectKeys.open(world.home, Keyring.open(world.home))
    world.loader._kind = type(world.loader._kind)(*world.loader._kind[:3], turns_kind(stranger).put)
    await world.loader.load_once()
    async with world.db.connect() as connection:
        found = await read_conversation(connection, stranger, world.person, "cnv_t-0001")
    assert found is not None
    assert (found.title, [turn.lost for turn in found.turns]) == ("", [True])
    stranger.close()
    master.write_bytes(kept_key)  # put back: readable again
    assert await text_of(world, "t-0001") == ("한국의 수도는?", "서울입니다.")


async def test_nothing_is_kept_for_someone_whose_key_was_destroyed(world: World) -> None:
    world.subjects.destroy(world.person, 1)
    world.hear()
    await world.recorder.flush()
    assert (world.recorder.waiting, world.recorder.failing) == (0, False)


async def test_what_waits_is_written_at_the_end(world: World) -> None:
    ending = Recorder(world.home / "turns", world.subjects, Ledger(), "m1-ending")
    world.recorder, before = ending, world.recorder
    world.hear()
    ending.close()
    world.recorder = before
    await world.loader.load_once()
    assert await kept(world) == 1


async def test_a_person_who_was_blocked_keeps_what_was_asked(world: World) -> None:
    world.hear()
    async with world.db.begin() as connection:
        await connection.execute(update(people).values(state="blocked"))
    await world.load()
    assert await kept(world) == 1


async def test_the_loop_never_waits_for_keys_or_for_the_disk(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    did: list[tuple[str, bool]] = []
    seal, write = world.subjects.seal_all, os.write

    def in_loop() -> bool:
        return threading.current_thread() is threading.main_thread()

    def sealing(texts: Any) -> Any:
        did.append(("seals", in_loop()))
        return seal(texts)

    def writing(handle: int, data: Any) -> int:
        if len(data) > 8:  # not what wakes a loop
            did.append(("writes", in_loop()))
        return write(handle, data)

    monkeypatch.setattr(world.subjects, "seal_all", sealing)
    monkeypatch.setattr(os, "write", writing)
    world.subjects.forget_cached()
    for at_hand in (False, True):  # its key is read in a thread, and then at hand
        world.hear()
        await world.recorder.flush()
        assert (did, world.recorder.waiting) == ([("seals", at_hand), ("writes", False)], 0)
        did.clear()
    world.subjects.forget_cached(world.person)
    world.hear()
    await world.recorder.flush()
    assert did == [("seals", False), ("writes", False)]
    await world.recorder.flush()  # nothing to do
    assert len(did) == 2
