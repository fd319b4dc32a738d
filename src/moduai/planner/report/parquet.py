"""A run as Parquet: a row for each tick and class, and of a sample one for each stratum, class and figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from msgspec.structs import astuple

from moduai.planner.estimates import Sampled

SAMPLE: Final = (
    "model", "accelerator", "devices", "level", "service_class", "figure", "low", "middle", "high",
    "fluid_low", "fluid_middle", "fluid_high",
)  # fmt: skip
"""Columns of a sample."""


FIGURES: Final = ("served", "refused", "left", "lost", "away", "share", "mean", "p50", "p99")


def rows_of(sample: Sampled) -> dict[str, list[object]]:
    """Columns of a sample's estimates. Level -1: all strata; no class: all of them."""
    rows: list[tuple[object, ...]] = []
    for part in (sample.nation, *sample.strata):
        stratum = (part.model, part.accelerator, part.devices, part.level)
        whole = [("", name, getattr(part, name)) for name in ("answers_s", "tokens_s")]
        classes = [(one.service_class, name, getattr(one, name)) for one in part.classes for name in FIGURES]
        for name, figure, beside in (*whole, *classes):
            sides = (beside.sampled, beside.fluid)
            rows.append((*stratum, name, figure, *(each for side in sides for each in astuple(side))))
    return {name: list(values) for name, values in zip(SAMPLE, zip(*rows, strict=True), strict=True)}


class NoParquetError(RuntimeError):
    """pyarrow is not installed."""


def write_parquet(columns: dict[str, list[object]], file: Path, about: dict[str, str]) -> None:
    """Write columns with what they are of. Raises NoParquetError and OSError."""
    try:
        import pyarrow  # type: ignore[import-untyped]  # noqa: PLC0415  a hundred megabytes, only where wanted
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError:
        raise NoParquetError("Parquet needs pyarrow: pip install 'moduai[parquet]', or use --json") from None
    made: Any = pyarrow.table(columns)
    parquet.write_table(made.replace_schema_metadata(about), file, compression="zstd")
