"""What cells are due together: conserved, even, and with one cell nothing is moved."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from moduai.scheduling.apportion import LEAST, SPAN, Cell, Had, Window, ahead, apportion, fill, weights
from moduai.scheduling.policy import NodeRule
from moduai.scheduling.types import WHOLE

from .world import SECOND, World, policy, rule

NAMES = "abcd"
SOME = settings(max_examples=50, deadline=None)
RULES = policy(rule("a", weight=2000), rule("b"))
rate = st.floats(1e3, 1e6)
node = st.builds(
    NodeRule,
    weight=st.sampled_from([1, 500, 1000, 3000, 1_000_000]),
    guarantee=st.sampled_from([0, 0, 100, 250]),
    cap=st.sampled_from([WHOLE, WHOLE, 400]),
)
rules = st.fixed_dictionaries(dict.fromkeys(NAMES, node))


@st.composite
def cells(draw: st.DrawFn) -> dict[str, Cell]:
    made = {}
    for name in draw(st.sampled_from(["x", "xy", "xyz"])):
        capacity = draw(rate)
        who = draw(st.sets(st.sampled_from(NAMES)))
        wanted = {each: draw(st.one_of(st.just(inf), st.floats(0, 1e6))) for each in sorted(who)}
        made[name] = Cell(capacity, capacity, wanted)
    return made


def bounds(rules: dict[str, NodeRule], cell: Cell, who: str) -> tuple[float, float]:
    wanted = cell.wanted[who]
    return tuple(min(wanted, part * cell.whole / WHOLE) for part in (rules[who].guarantee, rules[who].cap))


@SOME
@given(rules, cells())
def test_every_cell_gives_all_it_has_and_nobody_more_than_may_be(
    rules: dict[str, NodeRule], cells: dict[str, Cell]
) -> None:
    for name, cut in apportion(rules, cells).items():
        cell = cells[name]
        limits = {who: bounds(rules, cell, who) for who in cell.wanted}
        assert cut.given.keys() == cell.wanted.keys()
        assert sum(cut.given.values()) == pytest.approx(
            min(cell.capacity, sum(most for _, most in limits.values())), rel=1e-6, abs=1e-6
        )
        for who, got in cut.given.items():
            least, most = limits[who]
            assert least * (1 - 1e-6) - 1e-6 <= got <= most * (1 + 1e-6) + 1e-6


@SOME
@given(rules, cells())
def test_nobody_could_get_more_without_another_getting_less_who_has_no_more(
    rules: dict[str, NodeRule], cells: dict[str, Cell]
) -> None:
    cuts = apportion(rules, cells)
    total = {who: sum(cut.given.get(who, 0) for cut in cuts.values()) / rules[who].weight for who in NAMES}
    slack = 1e-3 * sum(cell.capacity for cell in cells.values())
    for name, cut in cuts.items():
        for poor, got in cut.given.items():
            for rich, had in cut.given.items():
                if (
                    got < bounds(rules, cells[name], poor)[1] - slack
                    and had > bounds(rules, cells[name], rich)[0] + slack
                ):
                    assert total[rich] - total[poor] <= slack / min(rules[poor].weight, rules[rich].weight)


@SOME
@given(rules, cells(), st.sampled_from(NAMES), st.floats(1, 8))
def test_who_weighs_more_gets_no_less(
    rules: dict[str, NodeRule], cells: dict[str, Cell], who: str, times: float
) -> None:
    more = {**rules, who: NodeRule(int(rules[who].weight * times), rules[who].guarantee, rules[who].cap)}
    before, after = (
        sum(cut.given.get(who, 0) for cut in apportion(each, cells).values()) for each in (rules, more)
    )
    assert after >= before - 1e-3 * sum(cell.capacity for cell in cells.values())


def had(who: str, *, waits: bool = True, rate: int = 1000, ahead: int = 0) -> Had:
    return Had(tuple(who.split("/")), waits, rate, ahead)


@SOME
@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "a/o", "a/p", "b/o"]), st.booleans(), st.integers(0, 99)))
)
def test_one_cell_keeps_its_own_weights(given: list[tuple[str, bool, int]]) -> None:
    nodes = {who: had(who, waits=waits, rate=rate) for who, waits, rate in given}
    assert weights(RULES, "x", {"x": nodes.values()}) == {}


ROWS = st.lists(
    st.tuples(st.sampled_from("xyz"), st.sampled_from("ab"), st.booleans(), st.integers(0, 9999)), min_size=1
)


@SOME
@given(ROWS)
def test_no_weight_is_nothing_and_who_is_in_one_cell_keeps_its_own(
    rows: list[tuple[str, str, bool, int]],
) -> None:
    nodes: dict[str, dict[str, Had]] = {}
    for cell, who, waits, rate in rows:
        nodes.setdefault(cell, {})[who] = had(who, waits=waits, rate=rate)
    told = {cell: list(found.values()) for cell, found in nodes.items()}
    for cell in told:
        moved = weights(RULES, cell, told)
        for path, weight in moved.items():
            own = RULES.classes[path[0]].weight
            assert own // LEAST <= weight < own
            assert sum(path[0] in found for found in nodes.values()) > 1


@pytest.mark.parametrize(("x", "y"), [(900, 1000), (500, 500), (10_000, 2000)])
def test_weights_make_shares_of_the_whole(x: int, y: int) -> None:
    """``a`` weighs 2 and is in both cells, ``b`` weighs 1 and is in one."""
    told = {"x": [had("a", rate=x // 3), had("b", rate=x - x // 3)], "y": [had("a", rate=y)]}
    moved = weights(RULES, "x", told)
    a, b = moved.get(("a",), 2000), 1000
    part = x * a / (a + b)
    assert (part + y) / (x - part) == pytest.approx(2, rel=0.01)
    assert weights(RULES, "y", told) == {}


def test_who_has_its_part_elsewhere_keeps_a_twentieth() -> None:
    told = {"x": [had("a"), had("b")], "y": [had("a", rate=9000)]}
    assert weights(RULES, "x", told) == {("a",): 2000 // LEAST}


def test_organisations_share_what_is_due_to_their_class() -> None:
    """``o`` and ``p`` alike: ``o`` has all of ``y``, so ``p`` has most of what the class gets in ``x``."""
    told = {
        "x": [had("b", rate=3000), had("b/o", rate=1500), had("b/p", rate=1500)],
        "y": [had("b", rate=1000), had("b/o", rate=1000)],
    }
    assert weights(RULES, "x", told) == {("b", "o"): 500}
    assert weights(RULES, "y", told) == {}, "its own part is all that it can have there"


def test_what_is_served_where_nobody_waits_moves_nothing_there() -> None:
    told = {"x": [had("a", waits=False), had("b", waits=False)], "y": [had("a"), had("b")]}
    assert weights(RULES, "x", told) == {}


def test_more_guaranteed_than_there_is() -> None:
    both = {"a": NodeRule(1000, 600), "b": NodeRule(1000, 600)}
    cut = apportion(both, {"x": Cell(100, 100, {"a": inf, "b": inf})})["x"]
    assert cut.given == pytest.approx({"a": 50, "b": 50})
    told = {name: [had("a"), had("b")] for name in "xy"}
    guaranteed = policy(rule("a", guarantee=600), rule("b", guarantee=600))
    assert weights(guaranteed, "x", told) == {}
    assert fill(1, {}).given == {}


def test_the_farthest_ahead_counts_of_those_who_are_idle() -> None:
    one = [had("a", ahead=5), had("b", ahead=7), had("a/o")]
    two = [had("a", ahead=9), had("a/o", ahead=2)]
    assert ahead([one, two], {("b",)}) == {("a",): 9, ("a", "o"): 2}
    assert ahead([two, one], {("b",)}) == {("a",): 9, ("a", "o"): 2}


def test_rates_are_of_the_last_seconds() -> None:
    window, key = Window(), ("m", ("a",))
    window.add({key: 500}, 0)
    assert window.rate(key) == 0
    for second in range(1, 21):
        window.add({key: 500 + 100 * second if second <= 10 else 1500}, second * SECOND)
    assert window.rate(key) == 0
    window.add({key: 1500 + 8 * SPAN // SECOND}, 21 * SECOND)
    assert window.rate(key) == 8
    window.add({key: 3}, 22 * SECOND)
    assert window.rate(key) == 0, "it was forgotten, and counts from 0 again"


def test_who_has_no_end_of_turns_gives_what_it_has_by_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moduai.scheduling.apportion.ROUNDS", 1)
    one = NodeRule()
    cuts = apportion(
        {"a": one, "b": one}, {"x": Cell(9, 9, {"a": inf, "b": inf}), "y": Cell(9, 9, {"a": inf})}
    )
    assert cuts["x"].given == pytest.approx({"a": 4.5, "b": 4.5})
    assert cuts["y"].given == pytest.approx({"a": 9})


# in the tree


def crowd(world: World, who: str) -> None:
    for _ in range(60):
        world.ask(who)


def test_moved_weights_are_followed_and_given_back() -> None:
    world = World(policy(rule("c", weight=3000), rule("d")))
    world.queue.move([("m", ("c",), 500), ("m", ("d", "o"), 10), ("other", ("d",), 7)], [], 0)
    crowd(world, "c/o/p"), crowd(world, "d/o/p")
    assert world.serve(30).count("d/o/p") == 20
    here = {share.path: (share.weight, share.here) for share in world.queue.shares()}
    assert here == {
        ("c",): (3000, 500), ("c", "o"): (1000, 1000), ("d",): (1000, 1000), ("d", "o"): (1000, 10),
    }  # fmt: skip
    assert world.queue.cells() == {}, "it asks nobody itself"
    world.queue.move([], [], 0)
    assert 28 <= world.serve(40).count("c/o/p") <= 31, "what was charged stays as it was"


def test_moving_to_another_cell_is_no_gain() -> None:
    world = World()
    crowd(world, "d/o/p")
    far = [("m", ("c",), 3 * 102), ("m", ("gone",), 99), ("m", ("c", "o"), 5)]
    for _ in range(2):
        world.queue.move([], far, 0)  # told again, it counts once
    crowd(world, "c/o/p")
    world.queue.move([], [("m", ("d",), 10**9)], 0)  # who is busy here has its own
    assert world.serve(6) == ["d/o/p"] * 3 + ["c/o/p", "d/o/p", "c/o/p"]


@SOME
@given(st.integers(0, 10**6))
def test_what_is_far_ahead_is_forgotten_once_that_is_over(cost: int) -> None:
    assume(cost)
    world = World()
    world.queue.move([], [("m", ("c", "o"), cost)], 0)
    tree = world.queue._pools["m"].tree
    assert [path for path, _ in tree.owed(9)] == [("c", "o")]
    for _ in range(3):
        world.queue.tick(0)
    assert tree.root.branches.get("c") is None or not tree.root.branches["c"].branches
