"""Reports of runs: one self-contained HTML file, and tables for programs.

Rule: every figure has a table behind it that says the same, every number its basis and source; nothing is
loaded from elsewhere and nothing runs. It reads in light and dark, on paper and with a screen reader.
"""

from moduai.planner.report.html import report, sections
from moduai.planner.report.parquet import NoParquetError, rows_of, write_parquet

__all__ = ["NoParquetError", "report", "rows_of", "sections", "write_parquet"]
