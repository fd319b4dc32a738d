"""Rows of data from CSV: each row a line in which every value stands behind its column's name."""

from __future__ import annotations

import csv

from moduai.knowledge.readers.limits import LIMITS, Limits
from moduai.knowledge.readers.outline import Outline
from moduai.knowledge.readers.text import decoded, language
from moduai.knowledge.types import Facts, Parsed, ReadError


def read(data: bytes, limits: Limits = LIMITS) -> Parsed:
    """The rows; the first holds the names of the columns."""
    text = decoded(data, limits)
    first = text.partition("\n")[0]
    separator = "\t" if first.count("\t") > first.count(",") else ","
    names: list[str] = []
    rows: list[str] = []
    cells = 0
    try:
        for row in csv.reader(text.split("\n"), delimiter=separator):
            cells += len(row)
            if cells > limits.cells:
                raise ReadError("too_large", f"The table has more than {limits.cells:,} cells.")
            words = [" ".join(cell.split()) for cell in row]
            if not names:
                names = words
            elif any(words):
                rows.append(
                    " | ".join(f"{name}: {word}" for name, word in zip(names, words, strict=False) if word)
                )
    except csv.Error as error:
        raise ReadError("broken", f"The table is damaged: {error}.") from error
    outline = Outline(limits)
    outline.add("\n".join(rows))
    return outline.parsed(Facts(title="", kind="data", language=language(text)))
