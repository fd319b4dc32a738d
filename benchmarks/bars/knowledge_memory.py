"""memory: what a process that searches holds when it is warm."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.bars import Bench, Measured, Row, knowledge_data
from benchmarks.bars.knowledge_statutes import built
from benchmarks.harness import process
from moduai.knowledge.search.index import FILL_PASSAGES, Index
from moduai.knowledge.types import Query

MB = 2**20
MUST_MB = 900


def memory(bench: Bench) -> Measured:
    """PSS of a process with all statutes and Kiwi, after a thousand searches and steps of ``fill``."""
    made = bench.shared(built)
    made.index.close()
    command = [sys.executable, "-m", "benchmarks.bars.knowledge_memory", str(made.index.folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        said = child.stdout.readline()
        held = process.pss(child.pid)
        child.stdin.close()
    value = round(held / MB, 1)
    row = Row("memory", value, f"<= {MUST_MB}", holds=value <= MUST_MB and said == b"warm\n")
    return Measured(row, [f"{made.status.passages:,} articles on disk"], broken=said != b"warm\n")


def _warm(folder: Path) -> None:
    """The process that is measured: search, fill, say so, and wait to be looked at."""
    index = Index(folder)
    index.morphemes.load()
    index.fill(FILL_PASSAGES)
    for question in knowledge_data.questions():
        index.search(Query(text=question.q))
    print("warm", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    _warm(Path(sys.argv[1]))
