"""What fits where, how long a step takes, and what a replica serves."""

import numpy as np
import pytest

from moduai.planner import engine
from moduai.planner.basis import Basis, weakest
from moduai.planner.devices import devices
from moduai.planner.models import models
from moduai.planner.steptime import DoesNotFitError, capacity, least_tp, room, shipped, step_time

pytestmark = pytest.mark.usefixtures("machine_code")

LLAMA, H100 = models()["llama-3.1-8b"], devices()["h100"]


def test_an_8b_model_on_an_h100_has_room_for_400_thousand_tokens():
    """(0.9 x 80 GB - 16 GB of weights - 3.5 GB) / 128 KiB a token."""
    assert room(LLAMA, H100) == pytest.approx(400_000, rel=0.01)


@pytest.mark.parametrize("name", [name for name, model in models().items() if model.experts])
def test_a_mixtures_experts_and_the_rest_are_what_a_token_uses(name):
    """The published number of active parameters follows from the shape, within a sixth."""
    model = models()[name]
    shared = model.parameters - model.expert_parameters
    active = shared + model.expert_parameters * model.top / model.experts
    assert shared > 0
    assert active == pytest.approx(model.active, rel=0.17)


def test_a_step_reads_the_experts_that_its_tokens_chose():
    step = step_time(models()["qwen3-235b-a22b"], devices()["h200"], 8)
    assert step.experts[0] == 0
    assert step.experts[1] == pytest.approx(step.experts[-1] * 8 / 128, rel=0.01)
    assert step.experts[64] > 0.98 * step.experts[-1]
    more, most = (step.steps(1, batch, 0) - step.sequence * batch // 1000 for batch in (8, 1000))
    assert most - more == pytest.approx((step.experts[-1] - step.experts[8]) / 1000, abs=2)


@pytest.mark.parametrize(("read", "wrote"), [(400, 330), (3000, 100), (50, 900)])
def test_a_replica_serves_what_its_capacity_says(read, wrote):
    """The engine, which knows nothing of the formula, under more than it can do."""
    expected = capacity(LLAMA, H100, 1, read, wrote)
    random = np.random.default_rng(1)
    count = 4_000
    jobs = engine.table(np.full(count, read), random.integers(1, 2 * wrote, count))
    arrivals = np.cumsum(random.exponential(1e9 / expected.requests_per_s / 3, count)).astype(np.int64)
    engine.run(*engine.core(step_time(LLAMA, H100), jobs), arrivals, np.zeros((0, 2), np.int64), engine.NEVER)
    ended = np.sort(jobs[:, engine.ENDED])
    middle = ended[count // 4 : count * 3 // 4]
    assert len(middle) / (middle[-1] - middle[0]) * 1e9 == pytest.approx(expected.requests_per_s, rel=0.1)


def test_a_goal_for_the_time_per_token_makes_the_batch_smaller():
    plain, quick = (capacity(LLAMA, H100, 1, 400, 330, most_tpot_ms=most) for most in (0.0, 15.0))
    assert quick.tpot_ms <= 15.0 < plain.tpot_ms
    assert quick.batch < plain.batch
    assert [load.batch for load in quick.curve] == sorted({load.batch for load in quick.curve})


def test_what_was_not_measured_is_assumed_and_carries_more_error():
    seen, other = (capacity(LLAMA, devices()[name], 1, 400, 330) for name in ("h100", "rngd"))
    assert (seen.basis, other.basis) == (Basis.FITTED, Basis.ASSUMED)
    assert 0 < seen.error < other.error
    assert other.figure("requests_per_s").error == other.error
    assert weakest(Basis.FITTED, Basis.PUBLISHED, Basis.MEASURED) is Basis.PUBLISHED
    assert devices()["atom-max"].figure("link_gbs").basis is Basis.ASSUMED


def test_what_does_not_fit_says_what_is_there_and_what_it_takes():
    assert least_tp(models()["llama-3.1-70b"], H100, 10_000) == 4
    with pytest.raises(DoesNotFitError, match=r"DeepSeek-R1 has 671 GB .* 8 × NVIDIA H100 .* hold 640 GB"):
        capacity(models()["deepseek-r1"], H100, 8, 400, 330)
    with pytest.raises(DoesNotFitError, match="no room for 900000 tokens"):
        capacity(LLAMA, H100, 1, 800_000, 100_000)


def test_the_shipped_fit_names_its_source_and_its_errors():
    fit = shipped()
    assert "AIConfigurator" in fit.source
    assert fit.errors["half"][0] < fit.errors["system"][0] < 0.15
    assert fit.points > 1000
