"""The nation mode: shares as the policy says, nothing lost, waits that obey Little's law."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from moduai.planner import fluid, load
from moduai.planner.fluid import Flow, share
from moduai.planner.outcome import by_tick, outcome
from moduai.planner.plant import Plant
from moduai.planner.size import size
from moduai.planner.waits import Waited
from tests.planner.given import world

LARGE = ("questions_a_day = [100, 2_000, 9_000]", "questions_a_day = [100, 300_000, 400_000]")
"""Agents that ask for more than there is."""


def ran(made, **options):
    plant = Plant(made)
    return plant, fluid.run(made, plant, fluid.middle(made), **options)


parts = some.floats(0, 1)
child = some.tuples(parts, some.floats(0.01, 100), some.floats(0, 0.3), some.floats(0.05, 1))


@settings(deadline=None, max_examples=80)
@given(children=some.lists(child, min_size=1, max_size=7), total=parts)
def test_sharing_is_weighted_max_min(children, total):
    want, weight, floor, cap = (np.array(each) for each in zip(*children, strict=True))
    floor = np.minimum(floor, cap)
    got = share(np.array(total), want, weight, floor, cap)
    upper = np.minimum(want, cap)
    lower = np.minimum(upper, floor) * min(1, total / max(np.minimum(upper, floor).sum(), 1e-12))
    assert (got >= lower - 1e-9).all()
    assert (got <= upper + 1e-9).all()
    assert got.sum() == pytest.approx(min(total, upper.sum()), abs=1e-8)
    # Who could take more has no less for its weight than anyone who is above its floor.
    hungry, fed = got < upper - 1e-7, got > lower + 1e-7
    if hungry.any() and fed.any():
        assert (got[hungry] / weight[hungry]).min() >= (got[fed] / weight[fed]).max() - 1e-6


def test_nothing_is_lost_with_patience_refusal_and_backlog(tmp_path):
    made = world(
        tmp_path,
        LARGE,
        ("questions_a_day = 40\n", "questions_a_day = 4_000\n"),
        ("patience_s = 120", "patience_s = 5"),
    )
    _, flow = ran(made)
    asked = fluid.asked(made, fluid.middle(made), flow)
    assert flow.missing(asked) < 1e-9
    assert flow.refused.sum() > 0
    assert flow.left.sum() > 0
    assert flow.waiting[-1].sum() > 0
    assert (flow.waiting >= -1e-6).all()
    assert flow.used.max() <= 1 + 1e-9


def test_accelerators_that_nobody_needs_give_to_those_who_wait(tmp_path):
    _, flow = ran(world(tmp_path, LARGE))
    assert flow.used[:, 0, 0].min() == pytest.approx(1)


def test_classes_get_what_the_policy_gives(tmp_path):
    policy = (
        'name = "two"\ndefault = "a"\n[class.a]\ntitle = { en = "A" }\nweight = 3\n'
        '[class.b]\ntitle = { en = "B" }\nweight = 1\n[class.c]\ntitle = { en = "C" }\nguarantee = 30\n'
        "weight = 0.001\n"
    )
    (tmp_path / "policy.toml").write_text(policy)
    made = world(
        tmp_path,
        ("draws = 4", 'draws = 4\npolicy = "policy.toml"'),
        ('service_class = "resident"\nof', 'service_class = "a"\nof'),
        ('service_class = "business"', 'service_class = "b"'),
        ('service_class = "batch"', 'service_class = "c"'),
        ('service_class = "resident"\nwait', 'service_class = "a"\nwait'),
        ('curve = "day"\n', ""),
        ("questions_a_day = 40\n", "questions_a_day = 400_000\n"),
        ("questions_a_day = [100, 2_000, 9_000]", "questions_a_day = 9_000_000"),
        ("questions_a_day = 40_000", "questions_a_day = 90_000_000"),
    )
    plant, flow = ran(made)
    took = flow.served[:, 0].sum(0) * plant.at(0).cost(fluid.middle(made))[0] / (86_400)
    assert took == pytest.approx([0.7 * 3 / 4, 0.7 / 4, 0.3], rel=1e-3)


def test_mean_waits_are_what_little_s_law_says(tmp_path):
    made = world(tmp_path, LARGE)
    plant, flow = ran(made)
    waited = Waited(made, plant, flow, np.zeros(2))
    night = 2
    for region in range(2):
        came = flow.came[:, 0, night, region]
        delay = waited.delay(0, night, region)
        lines = (came - flow.went[:, 0, night, region]).clip(0)
        area = ((lines[1:] + lines[:-1]) / 2).sum() * flow.tick
        # What still waits at the end has waited as long as it has: both sides count it so.
        assert (np.diff(came) * delay).sum() == pytest.approx(area, rel=0.02)


def test_a_full_line_turns_away_and_a_gateway_more_lengthens_it(tmp_path):
    waiting = []
    for cell in (256, 1):  # one gateway, and one for each of the two accelerators
        made = world(
            tmp_path, ("draws = 4", f"draws = 4\ncell = {cell}"), ("patience_s = 120\n", ""),
            ("questions_a_day = 40\n", "questions_a_day = 9_000\n"),
        )  # fmt: skip
        _, flow = ran(made)
        waiting.append(flow.waiting[:, 0, 0].sum(-1).max())
    most = made.policy.classes["resident"].limits.organisation
    assert waiting == pytest.approx([most, 2 * most])


def test_a_person_has_no_more_places_than_its_cap(tmp_path):
    (tmp_path / "p.toml").write_text(
        'name = "one"\ndefault = "a"\n[class.a]\ntitle = { en = "A" }\nperson_cap = 10\n'
    )
    event = '[[event]]\nid = "p"\nkind = "policy"\npolicy = "p.toml"\n'
    three = ("count = 50", "count = 3"), ("[100, 2_000, 9_000]", "9_000_000")
    _, flow = ran(world(tmp_path, *three, more=event))
    assert 0.3 <= flow.used.max() < 0.4  # the three, and a little that others ask


def test_patience_bounds_waits(tmp_path):
    patience = ("patience_s = 120", "patience_s = 5")
    made = world(tmp_path, ("questions_a_day = 40\n", "questions_a_day = 40_000\n"), patience)
    plant, flow = ran(made)
    waited = Waited(made, plant, flow, np.zeros(2))
    assert flow.left.sum() > 0
    # What leaves in a tick does so at its end.
    assert max(waited.delay(0, 0, 0)) <= 5 + made.tick


def test_chance_is_sakasegawa_s_where_nobody_queues(tmp_path):
    made = world(tmp_path)
    plant, flow = ran(made)
    slots = plant.at(0).slots(fluid.middle(made))[0, 0]
    busy = flow.used[:, 0, 0]
    assert flow.chance[:, 0, 0] == pytest.approx(busy ** (np.sqrt(2 * (slots + 1)) - 1))


def test_an_m_m_1_queue_waits_as_long_as_the_law_says(tmp_path):
    made = world(tmp_path)
    plant, flow = ran(made)
    step = fluid._Step(made, plant, fluid.middle(made), load.spread(made))
    step.vary = np.ones(3)  # exponential lengths
    each, tick = 10.0, flow.tick  # seconds of the one server
    served = np.zeros((1, 3, 2))
    served[0, 0, 0] = 0.8 * tick / each
    step._busy(flow, 0, np.ones((1, 1)), served, np.zeros((1, 3, 2)), np.full((1, 3), each))
    assert flow.chance[0, 0, 0] * flow.pause[0, 0, 0] == pytest.approx(0.8 * each / (1 - 0.8), rel=1e-6)


def test_a_lost_site_is_lost_for_its_hours_and_its_start(tmp_path):
    more = (
        '[[site]]\nid = "other"\n'
        '[[fleet]]\nid = "two"\naccelerator = "h100"\ncount = 1\nsites = { other = 1 }\n'
        'models = { "llama-3.1-8b" = 1 }\navailability = 1\n'
        '[[event]]\nid = "gone"\nkind = "site-lost"\nsite = "hall"\nbegins = 2027-03-02T09:00:00\nhours = 2\n'
    )
    made = world(tmp_path, more=more)
    plant = Plant(made)
    ones = fluid.middle(made)
    at = [plant.at(tick).replicas(ones)[0].tolist() for tick in (35, 36, 44, 45)]
    assert at == [[2, 1], [0, 1], [0, 1], [2, 1]]


def test_events_a_launch_a_faster_chip_another_policy(tmp_path):
    (tmp_path / "p.toml").write_text('name = "one"\ndefault = "a"\n[class.a]\ntitle = { en = "A" }\n')
    more = (
        '[[event]]\nid = "l"\nkind = "launch"\ndemand = "people"\nfactor = 3\n'
        "begins = 2027-03-02T09:00:00\nhours = 1\n"
        '[[event]]\nid = "f"\nkind = "faster"\naccelerator = "h100"\nfactor = 2\n'
        '[[event]]\nid = "p"\nkind = "policy"\npolicy = "p.toml"\nbegins = 2027-03-02T12:00:00\n'
    )
    plain, made = world(tmp_path), world(tmp_path, more=more)
    ratio = load.shape(made)[:, 0] / np.maximum(load.shape(plain)[:, 0], 1e-12)
    assert set(np.round(ratio[33:57], 6)) == {1.0, 3.0}
    ones = fluid.middle(made)
    assert Plant(made).at(0).cost(ones) == pytest.approx(Plant(plain).at(0).cost(ones) / 2)
    assert [Plant(made).at(tick).policy for tick in (47, 48)] == ["", "p"]
    _, flow = ran(made)
    assert flow.done == 96


def test_power_that_is_short_leaves_accelerators_off(tmp_path):
    made = world(tmp_path, ("pue = 1.2", "pue = 1.2\npower_mw = 0.0014"))
    assert Plant(made).at(0).replicas(fluid.middle(made))[0].tolist() == [1]


def test_adoption_begins_is_half_and_ends():
    days = np.array([-1.0, 0, 50, 100, 101])
    assert load.adopted(days, 0, 50) == pytest.approx([0, 0, 0.5, 1, 1])
    assert load.adopted(days, 0, 0) == pytest.approx([0, 1, 1, 1, 1])


def test_the_load_is_what_was_written(tmp_path):
    made = world(tmp_path)
    asked = load.shape(made).sum(0) * made.tick
    assert asked == pytest.approx([4_000 * 0.5 * 40, 50 * 2_000, 40_000])
    assert load.spread(made)[0] == pytest.approx([0.75, 0.25])
    free = world(tmp_path, ("start = 2027-03-02", "start = 2027-03-06"))
    assert load.shape(free)[:, 0].sum() == pytest.approx(load.shape(made)[:, 0].sum() / 2)


def test_arrivals_are_seeded_in_order_and_as_many_as_the_rates_say(tmp_path):
    made = world(tmp_path)
    first = list(load.arrivals(made, 9 * 3600, 900))
    assert first == list(load.arrivals(made, 9 * 3600, 900))
    assert all(one.at <= other.at for one, other in pairwise(first))
    expected = load.shape(made)[36].sum() * made.tick
    assert abs(len(first) - expected) < 5 * np.sqrt(expected)
    wrote = np.mean([one.tokens_out for one in first])
    assert wrote == pytest.approx(250, rel=0.1)


def test_a_trace_gives_lengths_and_its_shape(tmp_path):
    lines = "".join(f"{at},100,{50 if at < 60 else 150}\n" for at in (*range(60), *range(60, 120, 2)))
    (tmp_path / "trace.csv").write_text(f"at_s,tokens_in,tokens_out\n{lines}")
    made = world(tmp_path, ("patience_s = 120", 'patience_s = 120\ntrace = "trace.csv"'))
    assert made.demands[0].tokens_out == pytest.approx((60 * 50 + 30 * 150) / 90)
    assert load.shape(made)[:, 0].sum() * made.tick == pytest.approx(4_000 * 0.5 * 40, rel=0.02)


def test_columns_that_are_drawn_keep_the_middle_and_the_seed(tmp_path):
    made = world(tmp_path)
    plant = Plant(made)
    one, other = fluid.drawn(made, plant), fluid.drawn(made, plant)
    assert one.count == 5
    assert (one.demand[0] == 1).all()
    assert (one.demand == other.demand).all()
    assert one.demand[1:, 0].std() > 0
    assert (one.demand[:, 2] == 1).all()  # nothing of it has a range


def test_what_was_stopped_goes_on_to_the_same_end(tmp_path):
    made = world(tmp_path, LARGE)
    _, whole = ran(made)

    def stop(done, _):
        if done == 30:
            raise KeyboardInterrupt

    _, half = ran(made, progress=stop)
    assert half.done == 30
    kept = half.packed()
    _, rest = ran(made, begun=Flow.unpacked(kept))
    assert rest.done == 96
    assert (rest.went == whole.went).all()
    assert (rest.gone == whole.gone).all()


def test_an_outcome_adds_up(tmp_path):
    made = world(tmp_path, LARGE)
    plant, flow = ran(made)
    columns = fluid.drawn(made, plant)
    bands = fluid.run(made, plant, columns, regions=False)
    found = outcome(made, plant, flow, (columns, bands))
    assert sum(one.share for one in found.classes) == pytest.approx(1)
    for one in found.classes:
        whole = one.served.middle + one.refused + one.left + one.waiting
        assert whole == pytest.approx(1)
        assert one.p50 <= one.p90 <= one.p99.middle
    assert {one.region: round(one.asked) for one in found.regions} == {"XA-N": 60_000, "XA-S": 20_000}
    energy = sum(one.energy_mwh for one in found.sites)
    most = 2 * 700 * 1.6 * 1.2 * 24 / 1e6
    assert 0.3 * most < energy <= most * (1 + 1e-9)
    year = found.years[0]
    assert (year.bought.low, year.bought.middle, year.bought.high) == (18, 20, 24)
    assert year.bill.middle == pytest.approx(energy * 365 * 1000 * 0.2)
    assert year.part == pytest.approx((20 + year.bill.middle) / 1000)
    rows = by_tick(made, plant, flow)
    assert {len(column) for column in rows.values()} == {96 * 3}
    assert sum(rows["asked"]) == pytest.approx(found.asked)


def test_the_fewest_that_keep_the_goals_keep_them_and_a_little_fewer_do_not(tmp_path):
    made = world(
        tmp_path, ("count = 2\n", "count = 400\n"), ("questions_a_day = 40\n", "questions_a_day = 9_000\n")
    )
    plant = Plant(made)
    found = size(made, plant)
    assert found.whole
    assert 1 <= found.fewest < 400
    for part, kept in ((1.0, True), (0.9, False)):
        grown = made.grown(found.multiple * part)
        flow = fluid.run(grown, Plant(grown), fluid.middle(grown))
        goals = outcome(grown, Plant(grown), flow, None).goals
        assert all(goal.kept for goal in goals) is kept


def test_a_size_without_goals_is_refused(tmp_path):
    made = world(tmp_path, ('[[goal]]\nservice_class = "resident"\nwait_s = 2\n', ""))
    with pytest.raises(ValueError, match="no \\[\\[goal\\]\\]"):
        size(made, Plant(made))


def test_columns_do_not_touch_one_another(tmp_path):
    made = world(tmp_path, LARGE)
    plant = Plant(made)
    scales = np.array([0.5, 1.0, 4.0])
    together = fluid.run(made, plant, fluid.middle(made, scales), regions=False)
    for place, scale in enumerate(scales):
        alone = fluid.run(made, plant, fluid.middle(made, np.array([scale])), regions=False)
        assert together.went[:, place] == pytest.approx(alone.went[:, 0])


def test_what_nobody_asks_is_served_in_no_part(tmp_path):
    made = world(tmp_path, ("count = 50\n", "count = 50\nbegins = 2030-01-01\n"))
    plant, flow = ran(made)
    found = {one.service_class: one.served for one in outcome(made, plant, flow, None).classes}
    assert found["business"] is None
    assert found["resident"] is not None
