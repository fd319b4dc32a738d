"""How long one step of an engine takes, and how many tokens its memory holds.

``T = a1·P·b/(tp·BW) + a2·Σctx·kv/(tp·BW) + a4·2·A·prefill/(tp·F) + a5·layers·[tp > 1] + a6·B``: the
weights and the context are read, the prompt is computed, devices talk to each other in each layer, and
every sequence costs a little. The five coefficients are fitted by least squares of the relative error
to 778 points that were measured on H100 and H200 with Llama-3.1-8B, Llama-3.1-70B and Qwen3-32B
(AIConfigurator's silicon sample, Apache-2.0): the median error is 12 % of the time per output token,
also on the half that was held out. A constant for each step (a0) came out as nothing.
"""

from __future__ import annotations

from msgspec import Struct

A1, A2, A4 = 1.13, 1.09, 1.31
"""Times the weights, the context and the prompt take, in terms of the data sheet."""
A5, A6 = 68e-6, 35e-6
"""Seconds for each layer where devices talk to each other, and for each sequence."""
USABLE, RESERVED = 0.9, 3.5e9
"""Part of a device's memory that an engine takes, and bytes it needs for other things."""


class Device(Struct, frozen=True):
    """One accelerator, by its data sheet."""

    flops: float
    """Dense, a second, at the precision that is used."""
    memory: float
    """Bytes."""
    bandwidth: float
    """Bytes a second."""


class Model(Struct, frozen=True):
    """What of a model sets its speed."""

    parameters: float
    active: float
    """Parameters that one token uses."""
    layers: int
    kv: int
    """Bytes of context for each token."""
    weight: int = 2
    """Bytes of one parameter."""


DEVICES = {
    "a100": Device(312e12, 80e9, 2.04e12),
    "h100": Device(989e12, 80e9, 3.35e12),
    "h200": Device(989e12, 141e9, 4.8e12),
}
MODELS = {
    "llama-8b": Model(8.03e9, 8.03e9, 32, 131_072),
    "llama-70b": Model(70.6e9, 70.6e9, 80, 327_680),
}


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

    def steps(self, count: int, batch: int, context: int, prefill: int = 0) -> int:
        """Time in ns of ``count`` steps, while each of ``batch`` sequences grows by a token a step."""
        grown = count * context + batch * (count * (count - 1) // 2)
        each = self.base + self.sequence * batch + self.prefill * prefill
        return (count * each + self.context * grown) // 1000

    def slower(self, per_mille: int) -> StepTime:
        """The same engine at this part of its speed."""
        return StepTime(
            base=self.base * 1000 // per_mille,
            sequence=self.sequence * 1000 // per_mille,
            context=self.context * 1000 // per_mille,
            prefill=self.prefill * 1000 // per_mille,
            room=self.room,
        )


def step_time(model: Model, device: Device, tp: int = 1) -> StepTime:
    """The step time of a model that is spread over ``tp`` devices."""
    pico = 1e12
    read = pico / (tp * device.bandwidth)
    weights = model.parameters * model.weight
    room = (USABLE * device.memory - weights / tp - RESERVED) * tp / model.kv
    return StepTime(
        base=round(A1 * weights * read + A5 * pico * model.layers * (tp > 1)),
        sequence=round(A6 * pico),
        context=round(A2 * model.kv * read),
        prefill=round(A4 * 2 * model.active * pico / (tp * device.flops)),
        room=int(room),
    )
