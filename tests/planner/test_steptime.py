"""The step time against what was measured on real accelerators."""

import csv
from statistics import median

import pytest

from moduai.planner.devices import devices
from moduai.planner.models import models
from moduai.planner.steptime import step_time
from tests.planner.conftest import TRACES

PATHS = {"meta-llama/Llama-3.1-8B-Instruct": "llama-3.1-8b", "meta-llama/Llama-3.1-70B": "llama-3.1-70b"}


def test_an_8b_model_on_an_h100_has_room_for_400_thousand_tokens():
    """(0.9 x 80 GB - 16 GB of weights - 3.5 GB) / 128 KiB a token."""
    assert step_time(models()["llama-3.1-8b"], devices()["h100"]).room == pytest.approx(400_000, rel=0.01)


@pytest.mark.skipif(not TRACES.is_dir(), reason="the traces are not here (MODU_DATA)")
def test_time_per_output_token_is_near_what_was_measured():
    """AIConfigurator's silicon sample (Apache-2.0): 16-bit points, median error at most 15 %."""
    errors = []
    with (TRACES / "aiconfigurator" / "silicon_h100_h200.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["model_path"] not in PATHS or row["mode"] != "agg" or row["precision"]:
                continue
            model, device = models()[PATHS[row["model_path"]]], devices()[row["system"].removesuffix("_sxm")]
            batch, isl, osl = (int(row[name]) for name in ("batch_size", "isl", "osl"))
            time = step_time(model, device, int(row["tp_size"]))
            # While an answer is written, as many prompts are read as answers end.
            expected = time.steps(1, batch, batch * (isl + osl // 2), batch * isl // osl) / 1e6
            errors.append(abs(expected / float(row["silicon_tpot_ms"]) - 1))
    assert len(errors) > 100
    assert median(errors) < 0.15
