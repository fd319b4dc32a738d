"""Where recorded traces are, if they are."""

import os
from pathlib import Path

BESIDE = Path(__file__).resolve().parents[3] / "shared" / "data"
TRACES = Path(os.environ.get("MODU_DATA", BESIDE)) / "traces"
