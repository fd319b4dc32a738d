"""tpot: the error of the fitted time per output token on points that the fit did not see.

Points are AIConfigurator's silicon sample of H100 and H200. Dense models and mixtures are fitted together and
judged apart. Folds: each half of every group (model, system, engine) from the other half; each system from
the other; each model from the others.
"""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.bars import Bench, Measured, NoDataError, Row
from moduai.planner import calibrate, measured

MUST = {"half": 0.11, "system": 0.15, "model": 0.15}
MUST_P90, MUST_MIXTURE = 0.35, 0.25
DATA = "MODU_BENCH_DATA"
"""Environment variable with the folder that holds ``traces``; else ``MODU_DATA``."""


def folder(name: str) -> Path:
    """A folder of traces. Raises NoDataError: it is not here."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    found = Path(os.environ.get(DATA) or os.environ.get("MODU_DATA") or beside) / "traces" / name
    if not found.is_dir():
        raise NoDataError(f"no folder {found}; say where the data is with {DATA}")
    return found


def tpot(bench: Bench) -> Measured:
    """Median and p90 by split, of dense models, then the median of mixtures."""
    del bench
    points = measured.read_points(folder("aiconfigurator") / "silicon_h100_h200.csv")
    value: list[float | int | None] = []
    notes, holds = [f"{len(points)} points"], True
    for split in calibrate.splits(points):
        kind = "mixtures" if split.mixture else "dense"
        notes.append(
            f"{split.name}, {kind}, {split.points} points: median {split.median:.1%}, p90 {split.p90:.1%}; "
            f"worst fold {split.worst}: {split.worst_median:.1%}"
        )
        if split.mixture:
            value.append(round(split.median, 3))
            holds &= split.median <= MUST_MIXTURE
        else:
            value += [round(split.median, 3), round(split.p90, 3)]
            holds &= split.median <= MUST[split.name] and split.p90 <= MUST_P90
    must = "dense median <= 0.11 / 0.15 / 0.15, p90 <= 0.35; mixtures <= 0.25"
    return Measured(Row("tpot", value, must, holds), notes)
