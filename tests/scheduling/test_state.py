"""What outlives the process: debts, and what was learned; and that nothing harmful can be restored."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moduai.scheduling import FairQueue, ReplicaSpec, Used, state
from moduai.scheduling.queue import KEPT
from moduai.scheduling.ticket import NO_TICKET
from moduai.scheduling.tree import IDLE, SHARDS

from .world import SECOND, M, World, policy, rule

FRESH = FairQueue(policy()).dump(0)


def busy() -> World:
    """A queue in which c/o/heavy was served much while c/o/light waited too."""
    world = World(slots=2)
    for _ in range(8):
        world.ask("c/o/heavy", tokens_in=2000)
    world.ask("d/o/other", tokens_in=10)
    for _ in range(6):
        world.now += SECOND
        world.end(used=Used(2000, 0, 40))
    return world


def after(world: World, **changes: object) -> World:
    """A new process that has read what the old one wrote."""
    new = World(policy(**changes), slots=1)
    new.now = 5
    assert new.queue.restore(world.queue.dump(world.now), new.now)
    return new


def test_debts_outlive_the_process() -> None:
    for restored in (True, False):
        world = after(busy()) if restored else World()
        world.ask("x/y/z")
        for who in ("c/o/heavy", "c/o/new", "d/o/other"):
            world.ask(who)
        assert world.serve(3) == (
            ["d/o/other", "c/o/new", "c/o/heavy"] if restored else ["c/o/heavy", "d/o/other", "c/o/new"]
        )


def test_a_state_of_many_is_told_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two of them others are served; what is owed is there all the same."""
    world = World()
    world.ask("d/o/other")
    for number in range(2 * SHARDS):
        for _ in range(2):
            world.ask(f"c/o/{number}")
    world.serve(2 * SHARDS + 2)
    whole = world.queue.dump(0)
    monkeypatch.setattr("moduai.scheduling.queue.LOOKED", SHARDS // 2)
    *steps, last = world.queue.dumping(0)
    assert steps == [b""] * len(steps)
    assert len(steps) > 2
    assert last == whole
    new = World()
    assert new.queue.restore(last, 0)
    owed = [dict(each.queue._pools["m"].tree.owed(9999)) for each in (world, new)]
    assert owed[0] == owed[1]
    assert len(owed[0]) == 4


def test_debts_are_kept_while_people_come_back_and_then_forgotten() -> None:
    world = after(busy())
    tree = world.queue._pools["m"].tree
    owing = len(tree.owed(99))
    assert owing >= 3
    world.queue.tick(KEPT)
    assert len(tree.owed(99)) == owing
    for extra in range(3):
        world.queue.tick(5 + KEPT + extra)
    assert all(len(path) == 1 for path, _ in tree.owed(99))
    assert tree.known == 0


def test_all_debts_of_an_organisation_are_kept() -> None:
    """All but 64 once went while they were taken back, the heaviest first."""
    tree = World().queue._pools["m"].tree
    owed = [(("c", "o", f"p{number}"), 10**12 - number) for number in range(3 * IDLE)]
    tree.keeping = True
    tree.owe(owed)
    assert tree.owed(1000) == owed
    old = World(slots=IDLE)
    for number in range(2 * IDLE):
        old.ask(f"c/o/{number}", tokens_in=1000 + number)
    debts = old.queue._pools["m"].tree.owed(1000)
    new = after(old)
    kept = new.queue._pools["m"].tree
    assert kept.owed(1000) == debts
    assert len(debts) > IDLE
    _, most = next(each for each in debts if len(each[0]) == 3)
    grant = new.queue.adopt(new.ticket("c/o/0"), "r", new.now, paid=True, came=0)
    assert grant is not None
    assert kept.owed(1000) == debts, "what is paid is held, and not charged again"
    assert most > 0


def test_what_cannot_be_read_again_is_left_out_alone() -> None:
    world = busy()
    world.ask("c/o/" + "x" * 600, app="y" * 600)
    world.serve(2)
    world.queue._pools["m"].costliest = 1 << 70
    world.queue._pools["m"].outlook.mean_run = 1 << 70
    world.queue._pools["m"].price.value = 1 << 50
    world.queue._estimates.learn("z", "m", 1 << 50, 1)
    new = after(world)
    assert new.queue._pools["m"].costliest == 1 << 62
    assert new.queue._pools["m"].tree.known


def test_what_was_learned_outlives_the_process() -> None:
    old = busy()
    new = after(old, prices={})
    ticket = new.ticket()
    assert new.queue._estimates.estimate("a", "m", 0) == old.queue._estimates.estimate("a", "m", 0) != 256
    speeds = [world.queue._replicas["r"].speed("m") for world in (old, new)]
    assert speeds[0].dump() == speeds[1].dump()
    pools = [world.queue._pools["m"] for world in (old, new)]
    assert pools[0].price.value == pools[1].price.value
    assert pools[0].outlook.mean_run == pools[1].outlook.mean_run >= 0
    assert new.queue.figures() == old.queue.figures()
    assert new.queue.figures()["m"]
    assert ticket.id == 1


def test_the_operators_price_stands() -> None:
    new = after(busy(), prices={"m": 7})
    assert new.queue._pools["m"].price.value == 7


def test_what_is_no_longer_there_is_left_out() -> None:
    data = busy().queue.dump(0)
    new = World(policy(rule("d")))
    assert new.queue.restore(data, 0)
    assert {path[0] for path, _ in new.queue._pools["m"].tree.owed(99)} <= {"d"}
    bare = FairQueue(policy())
    assert bare.restore(data, 0)
    bare.set_replica("other", ReplicaSpec(M, 1), is_open=True, now=0)
    assert bare.restore(data, 0)
    assert list(bare._replicas) == ["other"]
    assert bare.waiting() == {"m": 0}


def test_what_is_known_already_is_not_changed() -> None:
    world = busy()
    before = world.queue._pools["m"].tree.owed(99)
    assert world.queue.restore(world.queue.dump(0), 0)
    assert world.queue._pools["m"].tree.owed(99) == before


def test_only_those_who_owe_most_are_kept() -> None:
    tree = busy().queue._pools["m"].tree
    (path, most), *_ = tree.owed(1)
    assert (len(tree.owed(1)), most) == (1, max(debt for _, debt in tree.owed(99)))
    assert path[0] == "c"


def test_nothing_of_what_waits_or_runs_is_kept() -> None:
    world = World()
    for _ in range(3):
        world.ask()
    new = after(world)
    assert new.queue.waiting() == {"m": 0}
    assert new.queue.running() == {"r": 0}
    assert new.ask().state == 2
    assert NO_TICKET.state == 0


@pytest.mark.parametrize(
    "data", [b"", b"\xff", FRESH[:-1], b"x" + FRESH, msgspec.msgpack.encode([2, [[], []], [], []])]
)
def test_what_is_not_ours_is_left_out(data: bytes) -> None:
    assert not World().queue.restore(data, 0)


def test_what_is_too_long_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "MOST_BYTES", 10)
    assert not World().queue.restore(FRESH + bytes(10), 0)


GOOD = busy().queue.dump(0)


@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_damaged_data_harms_nothing(damage: list[tuple[int, int]]) -> None:
    data = bytearray(GOOD)
    for at, value in damage:
        data[at] = value
    world = World()
    world.queue.restore(bytes(data), 0)
    for number in range(3):
        world.ask(f"c/o/{number}")
    world.serve(3)
    world.queue.tick(SECOND)
    assert world.queue.running() == {"r": 0}


def test_a_speed_that_makes_no_sense_is_left_out() -> None:
    speed = World().queue._replicas["r"].speed("m")
    before = speed.dump()
    for odd in (float("nan"), float("inf"), 0.0, -1.0):
        speed.restore((odd, *before[1:]))
    speed.restore(before[1:])
    assert speed.dump() == before


def test_predictions_of_kinds_that_there_are_not_are_left_out() -> None:
    calibration = World().queue._pools["m"].outlook.calibration
    ratios = [(1, 1), (2, 2), (3, 3)]
    calibration.restore(
        [("odd", ratios, [], (1, 1), 5, 1), ("light", ratios, [(99, 0, ratios)], (1, 1), 5, 1)]
    )
    (light, _) = calibration.dump()
    assert light == ("light", ratios, [], (1, 1), 1, 1)


def test_old_debts_are_forgiven() -> None:
    world = World()
    assert world.queue.restore(GOOD, 0, away=KEPT)
    assert world.queue._pools["m"].tree.owed(99) == []
    assert world.queue._estimates.estimate("a", "m", 0) != 256
