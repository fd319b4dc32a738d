"""The fit finds what points were made with, leaves out what is far off, and learns what a replica did."""

import tomllib
from random import Random

import msgspec
import numpy as np
import pytest

from moduai.planner import calibrate, measured
from moduai.planner.calibrate import PRIOR, Served, fit, from_usage, played, scaled, splits, tune
from moduai.planner.devices import devices
from moduai.planner.measured import Point
from moduai.planner.models import models
from moduai.planner.steptime import PARTS, Coefficients, shipped, step_time
from tests.planner.conftest import TRACES

pytestmark = pytest.mark.usefixtures("machine_code")

TRUE = {**PRIOR, "weights": 1.4, "context": 0.9, "compute": 1.5, "talk_us": 20.0, "layer_us": 12.0}


def made(count: int, factors: dict[str, float], *, noise: float = 0.05) -> list[Point]:
    random, points = Random(1), []
    for _ in range(count):
        name = random.choice(["llama-3.1-8b", "qwen3-32b", "llama-3.1-70b"])
        point = Point(
            name=name,
            model=msgspec.structs.replace(models()[name], precision=random.choice(["bf16", "fp8"])),
            device=random.choice(["h100", "h200"]),
            engine=random.choice(["vllm", "sglang"]),
            tp=random.choice([4, 8] if name == "llama-3.1-70b" else [1, 2, 4]),
            batch=random.choice([1, 4, 16, 64, 128]),
            tokens_in=random.choice([128, 1024, 4096]),
            tokens_out=random.choice([128, 512, 2048]),
            tpot_s=1.0,
        )
        engine = 1.2 if point.engine == "vllm" else 1.0
        seconds = float(calibrate.design([point])[0] @ np.array([factors[part] for part in PARTS]))
        points.append(
            msgspec.structs.replace(point, tpot_s=seconds * engine * float(np.exp(random.gauss(0, noise))))
        )
    return points


def test_it_finds_the_factors_that_points_were_made_with_though_some_are_nonsense():
    points = made(600, TRUE)
    for number in range(0, 600, 20):
        points[number] = msgspec.structs.replace(points[number], tpot_s=points[number].tpot_s * 8)
    found = fit(points)
    middle = (found.engines["vllm"] * found.engines["sglang"]) ** 0.5
    assert found.engines["vllm"] / found.engines["sglang"] == pytest.approx(1.2, rel=0.06)
    for part in ("weights", "context", "compute"):
        assert found.factors[part] * middle / 1.2**0.5 == pytest.approx(TRUE[part], rel=0.2)
    off = np.abs(found.predict(points) / [point.tpot_s for point in points] - 1)
    assert np.median(off) < 0.06


def test_a_held_out_point_is_not_in_the_fit_that_predicts_it(monkeypatch):
    points = made(60, TRUE)
    seen: list[set[int]] = []
    real = calibrate.fit

    def watched(some):
        seen.append({id(point) for point in some})
        return real(some)

    monkeypatch.setattr(calibrate, "fit", watched)
    found = splits(points)
    everything = {id(point) for point in points}
    folds = {"half": 2, "system": 2, "model": 3}
    for held in (seen[:2], seen[2:4], seen[4:]):
        left_out = [everything - some for some in held]
        assert set().union(*left_out) == everything
        assert sum(map(len, left_out)) == len(points)
    assert len(seen) == sum(folds.values())
    assert {split.name: split.points for split in found} == dict.fromkeys(folds, 60)


def test_there_is_nothing_to_fit_to():
    with pytest.raises(ValueError, match="no points"):
        fit([])
    with pytest.raises(ValueError, match="no request was served"):
        tune(step_time(models()["llama-3.1-8b"], devices()["h100"]), [Served(0, 5, 5, 90, 99)], until=50)


def test_a_fit_is_read_back_as_it_was_written():
    found = calibrate.coefficients(made(80, TRUE), splits(made(80, TRUE)), 'a "source"')
    again = msgspec.convert(tomllib.loads(calibrate.to_toml(found)), Coefficients)
    assert again.source == found.source
    assert again.factors == pytest.approx(found.factors, rel=1e-3)


def test_a_replica_is_learned_from_what_it_did_and_its_future_foretold():
    before = step_time(models()["llama-3.1-8b"], devices()["h100"])
    truth = scaled(before, np.log([0.6, 1.5, 1.2]))
    random = np.random.default_rng(1)
    at = np.cumsum(random.exponential(1e9 / 12, 1500)).astype(np.int64).tolist()
    asked = [Served(when, *random.integers(20, 900, 2).tolist(), 0, 0) for when in at]
    rows = played(truth, asked, 256, 8192)
    served = [
        msgspec.structs.replace(one, first=int(row[1]), ended=int(row[2]))
        for one, row in zip(asked, rows, strict=True)
    ]
    found = tune(before, served, 40 * 10**9)
    foretold = played(found.time, asked, 256, 8192)
    late = rows[:, 1] > 40 * 10**9
    assert (foretold[late, 1] - foretold[late, 0]).mean() == pytest.approx(
        (rows[late, 1] - rows[late, 0]).mean(), rel=0.05
    )


def test_a_row_of_the_ledger_says_when_its_replica_got_it():
    assert from_usage(1_000, 50, 70, 400, 90, 40, 12) == Served(1_050_000, 50, 12, 1_070_000, 1_400_000)


@pytest.mark.skipif(not TRACES.is_dir(), reason="the traces are not here (MODU_DATA)")
def test_the_shipped_fit_is_what_the_sample_gives():
    points = measured.read_points(TRACES / "aiconfigurator" / "silicon_h100_h200.csv")
    assert len(points) == shipped().points
    assert fit(points).factors == pytest.approx(shipped().factors, rel=0.01)
