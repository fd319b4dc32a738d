"""Rows of a ledger: learned from and foretold, and asked once more under another policy and fleet."""

from __future__ import annotations

import tomllib

import msgspec
import numpy as np
import pytest

from moduai.engines.record import Engine, Hardware
from moduai.engines.record import Model as Served
from moduai.gateway.policy_text import parse, shipped_text
from moduai.metering.row import UsageRow
from moduai.planner import calibrate
from moduai.planner.calibrate import Served as Job
from moduai.planner.calibrate import played
from moduai.planner.devices import devices
from moduai.planner.ledger import device_of, joined, learn, places, ran, shape_of
from moduai.planner.models import models
from moduai.planner.rehearse import Change, rehearse
from moduai.planner.steptime import Coefficients, capacity, shipped, step_time

pytestmark = pytest.mark.usefixtures("machine_code")

SECOND = 1_000_000
ENGINE = Engine(
    id="eng_1",
    name="lab",
    url="http://127.0.0.1:9",
    kind="vllm",
    concurrency=16,
    hardware=Hardware(kind="H100 SXM", count=1),
    models=(Served(name="chat", upstream_name="meta-llama/Llama-3.1-8B-Instruct"),),
)
FACTORS = (0.7, 1.4, 1.3)
POLICY = parse(shipped_text())


def made(count: int, a_second: float, *, factors: tuple[float, float, float] = FACTORS) -> list[UsageRow]:
    """Rows as an engine writes them that is so much slower than the fit; classes take turns."""
    truth = step_time(models()["llama-3.1-8b"], devices()["h100"]).scaled(*factors)
    random = np.random.default_rng(1)
    at = np.cumsum(random.exponential(1e9 / a_second, count)).astype(np.int64)
    read, wrote = random.integers(20, 900, count), random.integers(20, 400, count)
    jobs = [Job(int(when), int(r), int(w), 0, 0) for when, r, w in zip(at, read, wrote, strict=True)]
    rows = played(truth, jobs, ENGINE.concurrency, 8192)
    return [
        UsageRow(
            id=f"row-{number}",
            at=1_700_000_000 * SECOND + int(arrived) // 1000,
            subject=f"person-{number % 40}",
            service_class=("resident", "business")[number % 2],
            endpoint="chat",
            model="chat",
            engine=ENGINE.id,
            stream=number % 10 > 0,
            tokens_in=int(read[number]) + 30,
            tokens_cached=30,
            tokens_out=int(out),
            first_token_us=int(first - arrived) // 1000,
            duration_us=int(ended - arrived) // 1000,
        )
        for number, (arrived, first, ended, out) in enumerate(rows.tolist())
    ]


def test_names_are_found_in_the_tables():
    assert device_of("NVIDIA H100 SXM5 80GB HBM3") == "h100"
    assert device_of("RTX PRO 6000 Blackwell") == "rtx-pro-6000"
    assert device_of("Rebellions ATOM Max") == "atom-max"
    assert device_of("CPU") == device_of("") == ""
    assert shape_of("Qwen/Qwen3-32B-FP8") == "qwen3-32b"
    assert shape_of("meta-llama/Llama-3.1-8B-Instruct") == "llama-3.1-8b"
    assert shape_of("gemma-3-270m") == shape_of("Qwen/Qwen3-3") == ""


def test_a_place_is_learned_from_its_rows_and_the_rest_foretold():
    place = places([ENGINE])["eng_1", "chat"]
    found = learn(place, made(700, 2.0))
    assert found.before is not None
    assert found.after.median < 0.05 < found.before.median
    assert abs(found.after.first) < 0.1
    replica = found.replica()
    assert replica is not None
    fit = msgspec.structs.replace(shipped(), replicas=(replica,))
    again = msgspec.convert(tomllib.loads(calibrate.to_toml(fit)), Coefficients)
    model, device = models()["llama-3.1-8b"], devices()["h100"]
    own, other = (capacity(model, device, tp, 300, 200, again) for tp in (1, 2))
    assert own.error == pytest.approx(found.after.p90, abs=1e-3)
    assert own.tpot_ms != capacity(model, device, 1, 300, 200).tpot_ms
    assert other.tpot_ms == capacity(model, device, 2, 300, 200).tpot_ms
    assert other.error == shipped().error(model, device).value


def test_an_engine_that_no_table_has_is_learned_from_a_guess_and_goes_into_no_fit():
    engine = msgspec.structs.replace(
        ENGINE, hardware=Hardware(kind="CPU"), models=(Served(name="chat", upstream_name="gemma-3-270m"),)
    )
    found = learn(places([engine])["eng_1", "chat"], made(400, 2.0))
    assert found.before is None
    assert found.after.median < 0.2
    assert found.replica() is None


def test_too_little_is_not_learned_from():
    place = places([ENGINE])["eng_1", "chat"]
    with pytest.raises(ValueError, match="29 streamed answers: it takes 40"):
        learn(place, made(33, 2.0))
    with pytest.raises(ValueError, match="0 streamed answers"):
        learn(place, [])
    together = [msgspec.structs.replace(row, at=1_700_000_000 * SECOND) for row in made(60, 2.0)]
    with pytest.raises(ValueError, match="0 answers of 4 tokens came after"):
        learn(place, together)
    refused = UsageRow(id="r", at=1, subject="s", endpoint="chat", model="chat", outcome="refused")
    assert not ran(refused)


def test_the_same_requests_wait_less_with_more_engines_and_by_class_as_a_policy_says():
    rows = made(500, 12.0)
    one = learn(places([ENGINE])["eng_1", "chat"], made(400, 2.0))
    learned = [msgspec.structs.replace(one, after=msgspec.structs.replace(one.after, p90=0.3))]
    refused = UsageRow(id="r", at=rows[0].at, subject="s", endpoint="chat", model="chat", outcome="refused")
    (found,), out = rehearse([*rows, refused], learned, POLICY, Change(policy=POLICY, fleet=3))
    assert found.changed is not None
    assert (found.again.value, found.changed.value, out.no_answer, out.no_engine) == (1, 3, 1, 0)
    assert (found.recorded.basis, found.again.basis) == ("measured", "fitted")
    classes = {one.service_class: one for one in found.classes}
    assert classes.keys() == {"resident", "business"}
    for one in classes.values():
        assert one.again.asked == 250
        assert one.changed is not None
        assert one.recorded.refused is None
        assert one.changed.mean.middle < one.again.mean.middle / 2
        assert one.again.mean.low < one.again.mean.middle < one.again.mean.high
    assert classes["resident"].again.mean.middle < classes["business"].again.mean.middle
    other = [msgspec.structs.replace(row, engine="eng_2") for row in rows]
    assert rehearse(other, learned, POLICY)[1].no_engine == len(rows)


def test_another_kind_of_accelerator_is_as_fast_as_the_fit_says_and_as_unsure():
    rows = made(300, 12.0)
    learned = [learn(places([ENGINE])["eng_1", "chat"], made(400, 2.0))]
    (found,), _ = rehearse(rows, learned, POLICY, Change(policy=POLICY, kind="rngd", devices=8))
    assert found.changed is not None
    assert found.changed.basis == "assumed"
    assert found.changed.error >= 0.6
    assert all(one.changed and one.changed.mean != one.again.mean for one in found.classes)
    large = msgspec.structs.replace(learned[0].place, shape="llama-3.1-70b")
    other = [msgspec.structs.replace(learned[0], place=large)]
    with pytest.raises(ValueError, match="does not fit on 1 × FuriosaAI"):
        rehearse(rows, other, POLICY, Change(policy=POLICY, kind="rngd", devices=1))
    unknown = msgspec.structs.replace(learned[0].place, shape="")
    with pytest.raises(ValueError, match="do not have chat: nobody knows"):
        rehearse(
            rows,
            [msgspec.structs.replace(learned[0], place=unknown)],
            POLICY,
            Change(policy=POLICY, kind="rngd"),
        )


def test_engines_that_are_alike_are_one_in_the_fit():
    one = learn(places([ENGINE])["eng_1", "chat"], made(400, 2.0))
    slow = msgspec.structs.replace(one, factors=tuple(2 * each for each in one.factors))
    (both,) = joined([one, slow])
    assert both.requests == 2 * one.requests
    assert both.factors == pytest.approx([2**0.5 * each for each in one.factors])
    assert both.error >= 2**0.5 - 1.0001
    assert joined([one])[0].error == one.after.p90
