"""A run as Parquet: a row for each tick and class."""

from __future__ import annotations

from pathlib import Path
from typing import Any


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
