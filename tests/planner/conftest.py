"""Where recorded traces are, if they are; and the engine's machine code, made once for all processes."""

import fcntl
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

BESIDE = Path(__file__).resolve().parents[3] / "shared" / "data"
TRACES = Path(os.environ.get("MODU_DATA", BESIDE)) / "traces"


@pytest.fixture(scope="session")
def machine_code():
    """Whoever comes first translates the engine (ten seconds of CPU) into Numba's cache; the others wait."""
    from moduai.planner import engine  # noqa: PLC0415 - not loaded where it is not asked for
    from moduai.planner.replica import LLAMA_8B_H100  # noqa: PLC0415

    with (Path(tempfile.gettempdir()) / f"modu-engine-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        jobs = engine.table([5], [5])
        replica = engine.core(LLAMA_8B_H100, jobs)
        engine.run(*replica, np.zeros(1, np.int64), np.zeros((0, 2), np.int64), engine.NEVER)
