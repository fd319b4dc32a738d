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
from collections.abc import Iterable
from functools import cache
from importlib import resources
from math import inf
from typing import NamedTuple

import msgspec
from msgspec import Struct

from moduai.lined import near
from moduai.planner.basis import Basis, Figure
from moduai.planner.devices import Device, devices
from moduai.planner.models import Model

USABLE, RESERVED = 0.9, 3.5e9
"""Part of a device's memory that an engine takes, and bytes it needs for other things."""
SLOTS = 256
"""Most sequences in a batch, unless told otherwise."""
CHUNK = 8192
"""Most tokens of a step."""
BLOCK = 256
"""Tokens of a block of the prefix cache: about what a block of a raw prompt has (``scheduling.prefix``)."""
OTHER_MAKER = 0.6
"""Error on devices of a maker of whose devices none was measured: about what the formula is off from
FuriosaAI's own figures for RNGD (an 8-billion-parameter model on one card, a 70-billion one on eight)."""
PICO = 1e12
ALL_TOUCHED = 0.999


class DoesNotFitError(ValueError):
    """A model's weights leave no room for a request; the text says what is there and what it takes."""


PARTS = (
    "weights", "experts", "context", "compute", "eight", "talk", "talk_us", "layer_us", "router_us",
    "sequence_us", "step_us",
)  # fmt: skip
"""What a step's time is a sum of: times what the data sheet says, or (``_us``) so long each time.
``eight`` is what computing at 8 bits takes on top of half the time of 16."""


def _above_zero(what: str, values: Iterable[float]) -> None:
    if not all(0 < each < inf for each in values):
        raise ValueError(f"{what} are above 0")


class Replica(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a ledger tells of one kind of replica: how much slower it is than the fit says."""

    model: str
    """Its name, and below that of the accelerator."""
    device: str
    devices: int
    factors: tuple[float, float, float]
    """Of each step, of each token and sequence that is held, of each token that is read."""
    error: float
    """Nine of ten of the times per output token that it had not seen lie within."""
    requests: int
    source: str

    def __post_init__(self) -> None:
        """Raises ValueError for numbers that no engine has."""
        _above_zero("factors", self.factors)
        if self.devices < 1 or self.requests < 0 or not 0 <= self.error < inf:
            raise ValueError(
                f"replica {self.model} on {self.device}: devices, requests or error are out of bounds"
            )


class Coefficients(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A fit: one factor for each part."""

    factors: dict[str, float]
    """By the names of ``PARTS``."""
    engines: dict[str, float] = {}
    """How much longer a step takes with this software than with the middle of all."""
    errors: dict[str, tuple[float, float]]
    """Of the time per output token of points that a fit had not seen: median and nine of ten, by what was
    held out: ``half``, ``system``, ``model``, and the same of mixtures, ``half-mixture`` and so on.
    """
    devices: tuple[str, ...]
    """Kinds of accelerators that were measured."""
    points: int
    source: str
    replicas: tuple[Replica, ...] = ()
    """What a ledger says of some, beside the points."""

    def __post_init__(self) -> None:
        """Raises ValueError: it is no fit that can be computed with. Fails closed."""
        if self.factors.keys() != set(PARTS):
            raise ValueError(f"factors are {', '.join(PARTS)}")
        _above_zero("factors", self.factors.values())
        _above_zero("engines", self.engines.values())
        if not all(0 <= each < inf for pair in self.errors.values() for each in pair):
            raise ValueError("errors are not negative")
        if unknown := [key for key in self.devices if key not in devices()]:
            raise ValueError(f"there is no accelerator {unknown[0]!r}; {near(unknown[0], list(devices()))}")

    def replica(self, model: Model, device: Device, tp: int) -> Replica | None:
        """What a ledger says of such a one."""
        wanted = model.name, device.name, tp
        return next((one for one in self.replicas if (one.model, one.device, one.devices) == wanted), None)

    def error(self, model: Model, device: Device, tp: int = 0) -> Figure:
        """Within what part of the truth nine of ten step times lie, and how that is known."""
        if (own := self.replica(model, device, tp)) is not None:
            return Figure(own.error, Basis.FITTED, own.source)
        measured = [devices()[key] for key in self.devices]
        seen = device in measured
        split = ("half" if seen else "system") + ("-mixture" if model.experts else "")
        error = self.errors[split][1] if split in self.errors else OTHER_MAKER
        if device.maker not in {each.maker for each in measured}:
            error = max(error, OTHER_MAKER)
        return Figure(error, Basis.FITTED if seen else Basis.ASSUMED, self.source)


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

    def scaled(self, each: float, held: float, read: float) -> StepTime:
        """After factors: of each step, of what is held, of each token that is read."""
        return StepTime(
            base=round(self.base * each),
            sequence=round(self.sequence * held),
            context=round(self.context * held),
            prefill=round(self.prefill * read),
            room=self.room,
            experts=tuple(round(one * each) for one in self.experts),
        )

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
    return int(free // (max(model.kv, 1.0) * model.kv_copies(tp)))


def parts(
    model: Model,
    device: Device,
    tp: int = 1,
    *,
    dp: int = 1,
    sequences: float = 0.0,
    context: float = 0.0,
    computed: float = 0.0,
    met: float = 0.0,
) -> tuple[float, ...]:
    """Seconds (or times of a µs) that each of ``PARTS`` takes in one step, by the data sheet.

    ``dp`` groups of ``tp`` devices share the experts, the sequences are spread over the groups. ``context``:
    tokens that all sequences hold together; ``computed``: tokens of prompts; ``met``: part of the experts
    that some token meets.
    """
    gpus = tp * dp
    read = 1.0 / (gpus * device.bandwidth_tbs * 1e12)
    tokens = (sequences + computed) / dp
    compute = 2 * model.active * tokens / (tp * device.flops(model.compute_bits))
    moved = 2 * 2 * 2 * (gpus - 1) / gpus * model.hidden * model.layers * tokens
    held = context * model.kv + sequences * model.kv_windows
    micro = 1e-6
    return (
        model.dense_weights * dp * read,
        model.expert_weights * met * read,
        held * model.kv_copies(tp) * read,
        compute,
        compute if model.compute_bits == 8 else 0.0,
        moved / (device.link_gbs * 1e9) if device.link_gbs else 0.0,
        model.layers * (gpus > 1) * micro,
        model.layers * micro,
        model.expert_layers * micro,
        sequences / dp * micro,
        micro,
    )


def step_time(
    model: Model, device: Device, tp: int = 1, *, fit: Coefficients | None = None, engine: str = ""
) -> StepTime:
    """The step time of a model that is spread over ``tp`` devices. ``engine``: its software, if known."""
    fit = fit or shipped()
    factors = [PICO * fit.engines.get(engine, 1.0) * fit.factors[name] for name in PARTS]

    def pico(**load: float) -> float:
        each = parts(model, device, tp, **load)  # type: ignore[arg-type]
        return sum(factor * part for factor, part in zip(factors, each, strict=True))

    base = pico()
    tokens = 0
    while model.experts and model.touched(tokens) < ALL_TOUCHED:
        tokens += 1
    found = StepTime(
        base=round(base),
        sequence=round(pico(sequences=1) - base),
        context=round(pico(context=1) - base),
        prefill=round(pico(computed=1) - base),
        room=room(model, device, tp),
        experts=tuple(round(pico(met=model.touched(number)) - base) for number in range(tokens + 1)),
    )
    own = fit.replica(model, device, tp)
    return found.scaled(*own.factors) if own else found


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


class More(NamedTuple):
    """What else is known of requests than their mean lengths."""

    held: float = 0.0
    """Tokens of earlier turns that the engine has."""
    vary: float = 1.0
    """Mean square of the answers' lengths, by the square of their mean."""


def capacity(
    model: Model,
    device: Device,
    tp: int,
    mean_input: float,
    mean_output: float,
    fit: Coefficients | None = None,
    *,
    more: More = More(),  # noqa: B008  a tuple
    most_tpot_ms: float = 0.0,
) -> Capacity:
    """What one replica of ``tp`` devices serves of requests that are so long on average.

    In the long run a step writes one token for each of ``batch`` sequences, and reads the prompts of as many
    requests as end in it. ``mean_input`` counts what is computed. What else the engine holds of a
    conversation is not, but takes room and is read in each step as all context is. Who looks into a batch
    finds long answers more often, half through: ``mean_output × more.vary / 2``. ``most_tpot_ms``: the batch
    is kept so small that the time per output token stays below this, but one at least; 0: any.
    Raises DoesNotFitError where the memory has no room for one such request.
    """
    fit = fit or shipped()
    time = step_time(model, device, tp, fit=fit)
    held = more.held + mean_input + mean_output
    if time.room < held:
        least_tp(model, device, int(held))
        raise DoesNotFitError(f"{model.name} on {tp} × {device.name}: no room for {held:.0f} tokens")
    mean = _Mean(mean_input, mean_output, more.held + mean_input + mean_output * more.vary / 2)
    most = max(1, min(SLOTS, int(time.room // mean.context)))
    curve = [_load(time, 1, mean)]
    while curve[-1].batch < most:
        load = _load(time, min(2 * curve[-1].batch, most), mean)
        if most_tpot_ms and load.tpot_ms > most_tpot_ms:
            most = _within(time, curve[-1].batch, load.batch, mean, most_tpot_ms)
            load = _load(time, most, mean)
            if most == curve[-1].batch:
                break
        curve.append(load)
    best = curve[-1]
    error = fit.error(model, device, tp)
    return Capacity(
        requests_per_s=best.requests_per_s,
        tokens_per_s=best.requests_per_s * mean_output,
        tpot_ms=best.tpot_ms,
        batch=best.batch,
        ttft_ms=time.steps(1, 0, 0, int(mean_input)) / 1e6,
        curve=tuple(curve),
        devices=tp,
        basis=error.basis,
        error=error.value,
        source=error.source,
    )


class _Mean(NamedTuple):
    """Tokens of one request in the mean: computed, written, and held while it is written."""

    read: float
    wrote: float
    context: float


def _load(time: StepTime, batch: int, mean: _Mean) -> Load:
    step = time.steps(1, batch, int(batch * mean.context), int(batch * mean.read / mean.wrote))
    return Load(batch, batch / mean.wrote / step * 1e9, step / 1e6)


def _within(time: StepTime, low: int, high: int, mean: _Mean, most: float) -> int:
    """The largest batch from ``low`` (which does) to ``high`` (which does not) that keeps the goal."""
    while high - low > 1:
        middle = (low + high) // 2
        if _load(time, middle, mean).tpot_ms > most:
            high = middle
        else:
            low = middle
    return low
