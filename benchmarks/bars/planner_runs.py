"""vllm-runs and vtc: real runs of engines, a part of each to calibrate with, the rest predicted.

vllm-runs: two runs of vLLM 0.19 (LLMServingSim 2.0's bench), Llama-3.1-8B on an RTX 4090 and Qwen3-32B on two
RTX PRO 6000. What each did in its first 60 s moves three factors of the shipped step time; then the whole run
is played and what came later is compared. The workload (arrivals and lengths) is given, as is what the
engine was told: 2,048 tokens a step, its slots, and its KV room where it wrote that down.

vtc: the first-come run of VTC's artefact (an A10G with Llama-2-7B, 27 clients). The engine is calibrated on
it alone; then the same requests are played under the fair queue and under limits a minute. There is nothing
here to compare these with: it is a prediction, in ``docs/validation.md``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from benchmarks.bars import Bench, Measured, Row
from benchmarks.bars.planner_tpot import folder
from moduai.planner import devices, models, step_time
from moduai.planner.baselines import FirstCome, RateLimited
from moduai.planner.calibrate import Served, Tuned, played, scaled, tune
from moduai.planner.cell import Cell, Outcome
from moduai.planner.clock import SECOND
from moduai.planner.engine import Ints
from moduai.planner.run import Dispatcher
from moduai.planner.steptime import StepTime
from moduai.planner.traffic import Request
from moduai.scheduling import FairQueue
from moduai.scheduling.policy import ClassRule, Limits, Policy

SEEN = 60 * SECOND
CHUNK, VTC_CHUNK = 2048, 4096
MUST_RATE, MUST_FIRST = 0.05, 0.15
RUNS = {
    "RTX4090_Llama-3.1-8B": ("llama-3.1-8b", "rtx-4090", 1),
    "RTXPRO6000_Qwen3-32B": ("qwen3-32b", "rtx-pro-6000", 2),
}
WIDE = Limits(1_000_000, 1_000_000, 10_000_000)
LIMITS = (5, 10, 20, 30)
MEDIAN = 500
"""Room is kept for answers of middle length: VTC's engine lets in what fits, and knows no lengths."""
FAIR, FIRST_COME = "fair queue (VTC)", "first come, first served"


def vllm_runs(bench: Bench) -> Measured:
    """For each run: error of the throughput, and of the mean time to the first token."""
    del bench
    value: list[float | int | None] = []
    notes, holds = [], True
    runs = {name: _vllm(folder("vllm_runs"), name) for name in RUNS}
    tuned = {
        name: tune(time, served, SEEN, slots=slots, chunk=CHUNK)
        for name, (time, served, slots) in runs.items()
    }
    for name, (time, served, slots) in runs.items():
        other = next(tuned[each] for each in runs if each != name)
        rate, first = _errors(served, tuned[name].time, slots)
        from_data_sheet = _errors(served, time, slots)
        from_other = _errors(served, scaled(time, np.log(other.factors)), slots)
        value += [round(rate, 3), round(first, 3)]
        holds &= abs(rate) <= MUST_RATE and abs(first) <= MUST_FIRST
        notes += [
            f"{name}: throughput {rate:+.1%}, mean time to first token {first:+.1%}; steps × "
            + " / ".join(f"{factor:.2f}" for factor in tuned[name].factors),
            "   from the other run's factors: {:+.1%}, {:+.1%}".format(*from_other),
            "   with the shipped fit alone: {:+.1%}, {:+.1%}".format(*from_data_sheet),
        ]
    must = f"throughput within {MUST_RATE:.0%}, first token within {MUST_FIRST:.0%}"
    return Measured(Row("vllm-runs", value, must, holds), notes)


def _vllm(place: Path, name: str) -> tuple[StepTime, list[Served], int]:
    """The step time of the data sheet, what was served (by the clock of the first request), and the slots."""
    model, device, tp = RUNS[name]
    meta = json.loads((place / f"{name}_meta.json").read_text(encoding="utf-8"))
    rows = [json.loads(line) for line in (place / f"{name}_requests.jsonl").read_text("utf-8").splitlines()]
    came, queued = rows[0]["arrival_time"], rows[0]["queued_ts"]
    served = [
        Served(
            int((row["arrival_time"] - came) * SECOND),
            row["input_toks"],
            row["output_toks"],
            int((row["first_token_ts"] - queued) * SECOND),
            int((row["last_token_ts"] - queued) * SECOND),
        )
        for row in rows
    ]
    time = step_time(models()[model], devices()[device], tp, engine="vllm")
    room = meta.get("kv_cache", {}).get("num_kv_tokens")
    return (
        replace(time, room=room) if room else time,
        sorted(served, key=lambda one: one.at),
        meta["engine_kwargs"]["max_num_seqs"],
    )


def _errors(served: list[Served], time: StepTime, slots: int) -> tuple[float, float]:
    """Of tokens a second after ``SEEN``, and of the mean time to the first token where it came later."""
    truth = np.array([(one.at, one.first, one.ended, one.tokens_out) for one in served], np.int64)
    model = played(time, served, slots, CHUNK)
    late = truth[:, 1] > SEEN
    first = (model[late, 1] - model[late, 0]).mean() / (truth[late, 1] - truth[late, 0]).mean()
    return _rate(model) / _rate(truth) - 1, float(first) - 1


def _rate(rows: Ints) -> float:
    """Tokens a second from ``SEEN`` to the end; a request's tokens are even in time."""
    part = (rows[:, 2] - SEEN) / np.maximum(1, rows[:, 2] - rows[:, 1])
    return float((np.clip(part, 0, 1) * rows[:, 3]).sum() / (rows[:, 2].max() - SEEN) * SECOND)


def vtc(bench: Bench) -> Measured:
    """Tokens a second, p50 and p99 of the light half's time to the first token: predicted for each policy."""
    del bench
    served, requests, light = _vtc(folder("vtc") / "real_FCFS.jsonl")
    tuned = tune(
        step_time(models()["llama-2-7b"], devices()["a10g"]), served, served[-1].ended * 2, chunk=VTC_CHUNK
    )
    truth = np.array([(one.first - one.at) / SECOND for one in served])
    notes = [
        (
            f"calibrated on first come: time to first token {_quantiles(truth[light])} of the light half, "
            f"{sum(one.tokens_out for one in served) / max(one.ended for one in served) * SECOND:.0f} tok/s"
        )
    ]
    value: list[float | int | None] = []
    for name, make in policies().items():
        told = _predicted(tuned, requests, make(), light)
        notes.append(f"{name}: " + told[1])
        value += told[0]
    return Measured(Row("vtc", value, "written in docs/validation.md; checked at review", True), notes)


def policies() -> dict[str, Callable[[], Dispatcher]]:
    """First come, the fair queue with everybody alike, and so many requests a minute for each client."""
    rule = ClassRule("resident", limits=WIDE)
    plain = Policy("bench", {"resident": rule}, "resident", limits=WIDE, estimate_quantile=MEDIAN)
    found: dict[str, Callable[[], Dispatcher]] = {FIRST_COME: FirstCome, FAIR: lambda: FairQueue(plain)}
    for most in LIMITS:
        found[f"{most} requests a minute"] = lambda most=most: RateLimited(most)  # type: ignore[misc]
    return found


def _vtc(file: Path) -> tuple[list[Served], list[Request], Ints]:
    """What was served, the requests, and the numbers of those of the lighter half of the clients."""
    with file.open(encoding="utf-8") as text:
        rows = json.loads(text.readline())["result"]["responses"]
    rows.sort(key=lambda row: row["req_time"])
    served, requests = [], []
    work: dict[str, int] = {}
    for row in rows:
        at, read, wrote = int(row["req_time"] * SECOND), row["prompt_len"], row["output_len"]
        first, ended = row["first_token_latency"], row["request_latency"]
        served.append(Served(at, read, wrote, at + int(first * SECOND), at + int(ended * SECOND)))
        requests.append(Request(at, ("resident", "none", row["adapter_dir"]), read, wrote))
        work[row["adapter_dir"]] = work.get(row["adapter_dir"], 0) + requests[-1].work
    half = sorted(work, key=work.__getitem__)[: len(work) // 2]
    light = [number for number, row in enumerate(rows) if row["adapter_dir"] in half]
    return served, requests, np.array(light, np.int64)


def _predicted(
    tuned: Tuned, requests: list[Request], dispatcher: Dispatcher, light: Ints
) -> tuple[list[float | int | None], str]:
    found = Cell(dispatcher, [tuned.time], requests, chunk=VTC_CHUNK).run()
    ran = light[found.first[light] >= 0]
    waits = (found.first[ran] - found.at[ran]) / SECOND
    rate = _tokens(found)
    p50, p99 = (float(np.quantile(waits, part)) for part in (0.5, 0.99))
    told = f"{rate:.0f} tok/s, light half {_quantiles(waits)}, refused {found.refused} of {len(requests)}"
    return [round(rate), round(p50, 2), round(p99, 2)], told


def _tokens(found: Outcome) -> float:
    """Tokens of answers a second."""
    return float(found.wrote.sum() / found.ended.max() * SECOND)


def _quantiles(waits: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> str:
    p50, p99 = np.quantile(waits, (0.5, 0.99))
    return f"p50 {p50:.2f} s, p99 {p99:.2f} s"
