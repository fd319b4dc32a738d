"""What goes wrong where documents come from."""

from __future__ import annotations


class SourceError(RuntimeError):
    """A source, or one file of it, cannot be read; ``code`` is stable, the text is for people."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class SourceAwayError(SourceError):
    """The source gives nothing more now: its reading ends, and goes on from there another time."""
