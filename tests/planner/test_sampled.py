"""Cells drawn from a nation: what they say, how sure it is, and that it does not matter who computes them."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from moduai.planner import crew, fluid, load, sampled
from moduai.planner.estimates import estimates
from moduai.planner.interval import EDGES, Drawn, histogram, quantile, ratio, student
from moduai.planner.plant import Plant
from tests.planner.given import world

BUSY = (
    ("count = 2\n", "count = 8\n"),
    ("draws = 4", "draws = 0\ncell = 2"),
    ("questions_a_day = 40\n", "questions_a_day = 100\n"),
)


@pytest.fixture(scope="module")
def planned(tmp_path_factory, machine_code):
    made = world(tmp_path_factory.mktemp("sampled"), *BUSY)
    plant = Plant(made)
    flow = fluid.run(made, plant, fluid.middle(made))
    plan = sampled.plan(made, plant, flow, 8)
    return made, plant, flow, plan


@pytest.fixture(scope="module")
def counted(planned):
    return list(crew.here(sampled.run, planned[3].tasks, 2))


def test_student_s_t_is_that_of_the_tables():
    found = [student(freedom) for freedom in (1, 2, 5, 30)]
    assert found == pytest.approx([12.706, 4.303, 2.571, 2.042], abs=2e-3)


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Two strata of unlike size, cells and spread; the ratio of two totals, a thousand times."""
    random = np.random.default_rng(1)
    held = 0
    for _ in range(1_000):
        some = []
        for size, count, level in ((90.0, 6, 10.0), (10.0, 4, 40.0)):
            x = random.poisson(level * 20, count).astype(float)
            some.append(Drawn(size, random.binomial(x.astype(int), 0.3).astype(float), x))
        held += ratio(some).low <= 0.3 <= ratio(some).high
    assert 0.93 <= held / 1_000 <= 0.985


def test_quantiles_are_those_of_the_waits_and_their_intervals_hold_them():
    random = np.random.default_rng(2)
    rows = np.array([histogram(random.exponential(2.0, 500)) for _ in range(8)], float)
    found = quantile([(1.0, rows)], 0.9)
    assert found.middle == pytest.approx(2 * np.log(10), rel=0.06)
    assert found.low <= 2 * np.log(10) <= found.high
    assert len(rows[0]) == len(EDGES) - 1
    assert quantile([(1.0, np.array([histogram(np.zeros(9))] * 2, float))], 0.99).middle == 0
    assert quantile([(1.0, np.zeros((2, len(EDGES) - 1)))], 0.99).middle == 0


def test_every_window_of_a_kind_is_in_one_stratum_and_each_has_two_cells(planned):
    made, _, flow, plan = planned
    windows = [one for stratum in plan.strata for one in stratum.windows]
    assert sorted(windows) == list(range(flow.done))  # the tick is a quarter of an hour
    assert len(plan.tasks) == 8
    counts = np.bincount([one.stratum for one in plan.tasks])
    assert counts.min() >= 2
    assert {one.replicas for one in plan.tasks} == {2}
    assert plan.strata[0].size == 4 * 4  # four windows, four gateways
    busiest = load.shape(made)[:, 0].argmax()
    assert busiest in plan.strata[0].windows
    assert all(one.window in plan.strata[one.stratum].windows for one in plan.tasks)


def test_a_cell_has_its_part_of_what_is_asked(planned):
    made, _, _, plan = planned
    for task in plan.tasks:
        whole = load.shape(made)[task.window]
        mine = {one.name: one.rates[-1] for one in task.streams}
        assert mine == pytest.approx({one.id: whole[n] / 4 for n, one in enumerate(made.demands)})


def test_the_sample_and_the_fluid_agree_where_there_is_enough(planned, counted):
    made, plant, _, _ = planned
    many = msgspec.structs.replace(made.head, draws=4)
    columns = fluid.drawn(replace(made, head=many), plant)
    bands = columns, fluid.run(made, plant, columns, regions=False)
    found = estimates(*planned, counted, bands)
    assert found.drawn == found.planned == 8
    assert found.nation.answers_s.apart == pytest.approx(0, abs=0.1)
    assert found.nation.answers_s.sampled.low <= found.nation.answers_s.sampled.high
    assert sum(one.share.sampled.middle for one in found.nation.classes) == pytest.approx(1)
    assert sum(one.share.fluid.middle for one in found.nation.classes) == pytest.approx(1)
    answers = found.nation.answers_s.fluid
    assert answers.low < answers.middle < answers.high
    assert found.error == plant.error.max() > 0
    assert {one.source for one in found.known.rests if one.what.startswith("time per token")} != {""}
    for one in found.nation.classes:
        assert one.share.sampled.middle == pytest.approx(one.share.fluid.middle, abs=0.1)
        away = (one.refused, one.left, one.lost)
        assert one.away.sampled.middle == pytest.approx(sum(each.sampled.middle for each in away))
        assert one.away.fluid.middle == pytest.approx(sum(each.fluid.middle for each in away))
        assert one.served.sampled.middle == pytest.approx(1, abs=0.1)
        assert one.p50.sampled.middle <= one.p99.sampled.middle
    hours = [one.hours for one in found.strata]
    assert sum(hours) == found.nation.hours == 24
    msgspec.json.encode(found)


def test_the_same_seed_gives_the_same_whoever_computes(planned, counted):
    alone = [sampled.run(task) for task in reversed(planned[3].tasks[-3:])]
    same = [
        one for one in counted if (one.stratum, one.draw) in {(each.stratum, each.draw) for each in alone}
    ]
    assert sampled.digest(alone) == sampled.digest(same)
    made, plant, flow, plan = planned
    assert sampled.plan(made, plant, flow, 8).name == plan.name
    assert sampled.plan(made, plant, flow, 9).name != plan.name


def test_a_sample_of_the_busiest_hour_and_one_that_is_too_small(planned):
    made, plant, flow, _ = planned
    peak = sampled.plan(made, plant, flow, 4, peak=True)
    assert len(peak.strata) == 1
    assert len(peak.strata[0].windows) == 4
    with pytest.raises(ValueError, match="4 cells at least"):
        sampled.plan(made, plant, flow, 3)


def test_a_line_stands_as_it_did_when_the_cell_begins_whatever_the_tick(planned):
    made, _, flow, _ = planned
    at = 3.25 * made.tick
    flow = replace(flow, came=np.cumsum(np.ones_like(flow.came), axis=0), went=np.zeros_like(flow.went))
    assert sampled._line(flow, at) == pytest.approx(4.25 * flow.came.shape[-1])
    assert sampled._line(flow, 0.0) == pytest.approx(0)


def test_engines_die_as_often_as_the_fleet_says(tmp_path, machine_code):
    made = world(tmp_path, *BUSY, ("availability = 1", "availability = 1\nmtbf_hours = 0.2\nstart_s = 30"))
    plant = Plant(made)
    flow = fluid.run(made, plant, fluid.middle(made))
    plan = sampled.plan(made, plant, flow, 2, peak=True)
    outages = [one for task in plan.tasks for one in sampled._outages(task)]
    expected = 2 * 2 * plan.tasks[0].seconds / (0.2 * 3600 + 30)
    assert abs(len(outages) - expected) < 4 * np.sqrt(expected)
    assert all(one.back - one.at == pytest.approx(30e9, abs=2) for one in outages)
    found = estimates(made, plant, flow, plan, [sampled.run(task) for task in plan.tasks])
    assert all(one.lost.fluid.high == 0 for one in found.nation.classes)
    assert 0 < found.nation.classes[0].lost.sampled.middle < 0.2
