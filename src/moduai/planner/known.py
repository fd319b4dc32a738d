"""What results rest on: every figure behind them with its basis, its bounds and its source.

Rule: a result is known no better than the weakest of the figures that go into it.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from moduai.planner.basis import Basis, weakest
from moduai.planner.plant import Plant
from moduai.planner.scenario.world import Band, Rests, World

SHEET: Final = {"memory_gb": "GB", "bandwidth_tbs": "TB/s", "tflops": "TFLOPS", "watts": "W"}
"""What is read off an accelerator's data sheet."""


class Known(Struct, frozen=True, kw_only=True):
    """How well results are known."""

    basis: dict[str, Basis]
    """Of questions, engines, waits (and shares, throughput, use), energy and money: the weakest of what each
    rests on."""
    rests: tuple[Rests, ...]
    """All of that, with sources."""


def known(world: World, plant: Plant) -> Known:
    """What a scenario's results rest on."""
    engines, sheets = _engines(world, plant), _sheets(world)
    power = [one for one in world.rests if one.what.startswith("power")]
    prices = [one for one in world.rests if one.what.startswith("price")]
    others = [one for one in world.rests if one not in power and one not in prices]
    questions = _weakest(others)
    speed = _weakest(engines)
    waits = weakest(questions, speed)
    energy = weakest(waits, _weakest(power), _weakest(sheets))
    basis = {
        "questions": questions, "engines": speed, "waits": waits, "energy": energy,
        "money": weakest(energy, _weakest(prices)),
    }  # fmt: skip
    return Known(basis=basis, rests=(*world.rests, *engines, *sheets))


def _weakest(some: list[Rests]) -> Basis:
    return weakest(Basis.MEASURED, *(one.basis for one in some))


def _engines(world: World, plant: Plant) -> list[Rests]:
    """How far the time per token may be off; nine of ten within."""
    found = {}
    for (number, _), one in plant.capacities.items():
        pool = world.pools[number]
        what = f"time per token: {pool.model} on {pool.devices} {pool.accelerator}"
        band = Band(max(0.0, 1 - one.error), 1.0, 1 + one.error)
        found[what] = Rests(what, band, "×", one.basis, one.source)
    return list(found.values())


def _sheets(world: World) -> list[Rests]:
    made = []
    for kind in dict.fromkeys(pool.accelerator for pool in world.pools):
        for field, unit in SHEET.items():
            figure = world.devices[kind].figure(field)
            made.append(Rests(f"{kind}: {field}", Band.of(figure.value), unit, figure.basis, figure.source))
    return made
