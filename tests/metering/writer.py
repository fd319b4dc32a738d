"""A worker's writing side as a process of its own, to be killed: adds rows and says on standard output
which are on disk, one line ``number time`` after each flush. Arguments: folder, name, rows a flush.
"""

import itertools
import sys
import time
from pathlib import Path

from moduai.metering.row import UsageRow
from moduai.metering.segment import SegmentWriter
from moduai.settings import Ledger


def main(folder: str, name: str, rows: int) -> None:
    writer = SegmentWriter(Path(folder), Ledger(segment_bytes=200_000), name)
    for number in itertools.count():
        for part in range(rows):
            writer.add(
                UsageRow(id=f"{name}-{number * rows + part}", at=time.time_ns() // 1000, subject="s" * 50)
            )
        writer.flush()
        sys.stdout.write(f"{(number + 1) * rows}\n")
        sys.stdout.flush()
        time.sleep(0.01)


main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
