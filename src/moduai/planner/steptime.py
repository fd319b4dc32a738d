"""How long one step of an engine takes, how many tokens its memory holds, and what a replica so can serve.

A step's time is a sum of what the hardware has to do, each part times a coefficient that is fitted to
measured points (``calibrate``; 1 would be the data sheet):

* weights: those that all tokens share are read once a step; of the experts, those that some token chose;
* context: the keys and values of all sequences are read;
* compute: two operations for each active parameter and token, of prompts and of answers;
* talk: devices that share a model exchange each token's vector twice a layer: a delay, and bytes;
* launch: each layer, each sequence and each step cost a little, whatever their size.

The KV room is what the weights leave of the memory that an engine takes: ``USABLE`` of it, less
``RESERVED`` on each device.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources

import msgspec
from msgspec import Struct

from moduai.planner.basis import Basis, Figure
from moduai.planner.devices import Device, devices
from moduai.planner.models import Model

USABLE, RESERVED = 0.9, 3.5e9
"""Part of a device's memory that an engine takes, and bytes it needs for other things."""
SLOTS = 256
"""Most sequences in a batch, unless told otherwise."""
PICO = 1e12
ALL_TOUCHED = 0.999


class DoesNotFitError(ValueError):
    """A model's weights leave no room for a request; the text says what is there and what it takes."""


class Coefficients(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A fit: what each part takes in terms of the data sheet (no unit), or in µs."""

    weights: float
    experts: float
    context: float
    compute: float
    talk: float
    talk_us: float
    """Each layer of a model that devices share."""
    layer_us: float
    sequence_us: float
    step_us: float
    engines: dict[str, float] = {}
    """By what an engine is slower than the middle of all."""
    error: float
    """Nine of ten measured points that the fit had not seen, of a system it had seen, lie within."""
    error_elsewhere: float
    """The same on a system that it had not seen."""
    fitted_on: tuple[str, ...]
    """Kinds of accelerators with measured points."""
    source: str


class StepTime(Struct, frozen=True):
    """A step's time as integers, so that it is the same on every machine: picoseconds."""

    base: int
    sequence: int
    """For each sequence in the batch."""
    context: int
    """For each token of context that the batch reads."""
    prefill: int
    """For each token of a prompt that the step computes."""
    room: int
    """Tokens that the KV cache holds."""
    experts: tuple[int, ...] = (0,)
    """To read the experts that so many tokens chose; more tokens take as long as the last."""

    def steps(self, count: int, batch: int, context: int, prefill: int = 0) -> int:
        """Time in ns of ``count`` steps, while each of ``batch`` sequences grows by a token a step."""
        grown = count * context + batch * (count * (count - 1) // 2)
        each = self.base + self.sequence * batch + self.prefill * prefill
        each += self.experts[min(batch + prefill, len(self.experts) - 1)]
        return (count * each + self.context * grown) // 1000

    def slower(self, per_mille: int) -> StepTime:
        """The same engine at this part of its speed."""
        return StepTime(
            base=self.base * 1000 // per_mille,
            sequence=self.sequence * 1000 // per_mille,
            context=self.context * 1000 // per_mille,
            prefill=self.prefill * 1000 // per_mille,
            room=self.room,
            experts=tuple(time * 1000 // per_mille for time in self.experts),
        )


@cache
def shipped() -> Coefficients:
    """The fit that comes with Modu."""
    text = resources.files("moduai.planner").joinpath("data/fit.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), Coefficients)


def room(model: Model, device: Device, tp: int = 1) -> int:
    """Tokens that the KV cache holds; below 0 where the weights do not fit."""
    free = (USABLE * device.memory_gb * 1e9 - RESERVED) * tp - model.weights
    each = max(model.kv, 1.0) * model.kv_copies(tp)
    return int(free // each)


def step_time(
    model: Model, device: Device, tp: int = 1, *, fit: Coefficients | None = None, engine: str = ""
) -> StepTime:
    """The step time of a model that is spread over ``tp`` devices. ``engine``: its software, if known."""
    fit = fit or shipped()
    pico = PICO * fit.engines.get(engine, 1.0)
    read = pico / (tp * device.bandwidth_tbs * 1e12)
    compute = fit.compute * 2 * model.active * pico / (tp * device.flops(model.compute_bits))
    shared = tp > 1
    talk = 0.0
    if shared and device.link_gbs:
        moved = 2 * 2 * 2 * (tp - 1) / tp * model.hidden * model.layers
        talk = fit.talk * moved * pico / (device.link_gbs * 1e9)
    launch = fit.step_us + model.layers * (fit.layer_us + fit.talk_us * shared)
    experts = fit.experts * model.expert_weights * read
    tokens = 0
    while model.experts and model.touched(tokens) < ALL_TOUCHED:
        tokens += 1
    return StepTime(
        base=round(fit.weights * model.dense_weights * read + launch * pico / 1e6),
        sequence=round(fit.sequence_us * pico / 1e6 + compute + talk),
        context=round(fit.context * model.kv * model.kv_copies(tp) * read),
        prefill=round(compute + talk),
        room=room(model, device, tp),
        experts=tuple(round(experts * model.touched(number)) for number in range(tokens + 1)),
    )


def least_tp(model: Model, device: Device, tokens: int = 1) -> int:
    """The fewest devices (1, 2, 4 … of one node) whose memory holds the model and so many tokens.

    Raises DoesNotFitError: no node of this kind does.
    """
    tp = 1
    while tp <= device.node:
        if room(model, device, tp) >= tokens:
            return tp
        tp *= 2
    raise DoesNotFitError(
        f"{model.name} has {model.weights / 1e9:.0f} GB of weights at {model.precision} and needs room for "
        f"{tokens} tokens; {device.node} × {device.name} hold {device.node * device.memory_gb:.0f} GB, "
        f"of which an engine can use {USABLE:.0%} less {RESERVED / 1e9:.1f} GB each"
    )


class Load(Struct, frozen=True):
    """A replica at one load."""

    batch: int
    requests_per_s: float
    tpot_ms: float
    """Time per output token."""


class Capacity(Struct, frozen=True):
    """What one replica serves when it is kept busy; of requests with the mean lengths that were asked for."""

    requests_per_s: float
    tokens_per_s: float
    """Of answers."""
    tpot_ms: float
    batch: int
    """Sequences at once: as many as there are slots, room, and as the goal for the time per token allows."""
    ttft_ms: float
    """To the first token, with nobody before it."""
    curve: tuple[Load, ...]
    """At 1, 2, 4 … sequences, the last is ``batch``."""
    devices: int
    basis: Basis
    error: float
    """Nine of ten lie within, see ``Figure``."""
    source: str

    def figure(self, field: str) -> Figure:
        """One of its numbers with its basis. Raises AttributeError for no such field."""
        return Figure(float(getattr(self, field)), self.basis, self.source, self.error)


def capacity(
    model: Model,
    device: Device,
    tp: int,
    mean_input: float,
    mean_output: float,
    fit: Coefficients | None = None,
    *,
    most_tpot_ms: float = 0.0,
    slots: int = SLOTS,
) -> Capacity:
    """What one replica of ``tp`` devices serves of requests that are so long on average.

    In the long run a step writes one token for each of ``batch`` sequences, and reads the prompts of as many
    requests as end in it. ``most_tpot_ms``: the batch is kept so small that the time per output token stays
    below this, but one at least; 0: any. ``mean_input`` counts what is computed (without what is cached).
    Raises DoesNotFitError where the memory has no room for one such request.
    """
    fit = fit or shipped()
    time = step_time(model, device, tp, fit=fit)
    held = mean_input + mean_output
    if time.room < held:
        least_tp(model, device, int(held))
        raise DoesNotFitError(f"{model.name} on {tp} × {device.name}: no room for {held:.0f} tokens")
    most = max(1, min(slots, int(time.room // (mean_input + mean_output / 2))))
    curve = [_load(time, 1, mean_input, mean_output)]
    while curve[-1].batch < most:
        load = _load(time, min(2 * curve[-1].batch, most), mean_input, mean_output)
        if most_tpot_ms and load.tpot_ms > most_tpot_ms:
            most = _within(time, curve[-1].batch, load.batch, mean_input, mean_output, most_tpot_ms)
            load = _load(time, most, mean_input, mean_output)
            if most == curve[-1].batch:
                break
        curve.append(load)
    best = curve[-1]
    seen = _kind(device) in fit.fitted_on
    return Capacity(
        requests_per_s=best.requests_per_s,
        tokens_per_s=best.requests_per_s * mean_output,
        tpot_ms=best.tpot_ms,
        batch=best.batch,
        ttft_ms=time.steps(1, 0, 0, int(mean_input)) / 1e6,
        curve=tuple(curve),
        devices=tp,
        basis=Basis.FITTED if seen else Basis.ASSUMED,
        error=fit.error if seen else fit.error_elsewhere,
        source=fit.source,
    )


def _load(time: StepTime, batch: int, mean_input: float, mean_output: float) -> Load:
    reads = batch * mean_input / mean_output
    context = int(batch * (mean_input + mean_output / 2))
    step = time.steps(1, batch, context, int(reads))
    return Load(batch, batch / mean_output / step * 1e9, step / 1e6)


def _within(time: StepTime, low: int, high: int, read: float, wrote: float, most: float) -> int:
    """The largest batch from ``low`` (which does) to ``high`` (which does not) that keeps the goal."""
    while high - low > 1:
        middle = (low + high) // 2
        if _load(time, middle, read, wrote).tpot_ms > most:
            high = middle
        else:
            low = middle
    return low


def _kind(device: Device) -> str:
    return next((key for key, known in devices().items() if known == device), "")
