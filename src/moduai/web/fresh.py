"""Turns that ended just now, until they are surely in the database: for a minute at most.

They are what the server itself heard, so that the next question finds them at once.
"""

from __future__ import annotations

import time
from collections import OrderedDict

from moduai.history.record import Turn

FRESH_S = 60.0
MOST = 500


class Fresh:
    """Turns that ended just now, in memory."""

    def __init__(self) -> None:
        self._turns: OrderedDict[str, tuple[float, Turn]] = OrderedDict()

    def add(self, turn: Turn) -> None:
        """Remember a turn for ``FRESH_S``."""
        now = time.monotonic()
        while self._turns and (len(self._turns) >= MOST or self._first() < now - FRESH_S):
            self._turns.popitem(last=False)
        self._turns[turn.id] = (now, turn)

    def _first(self) -> float:
        return next(iter(self._turns.values()))[0]

    def of(self, person: str, conversation: str) -> list[Turn]:
        """That conversation's, oldest first; nobody gets another person's."""
        since = time.monotonic() - FRESH_S
        return [
            turn
            for at, turn in self._turns.values()
            if at >= since and (turn.person, turn.conversation) == (person, conversation)
        ]

    def drop(self, conversation: str) -> None:
        """Forget a conversation's, which was deleted."""
        for key in [key for key, (_, turn) in self._turns.items() if turn.conversation == conversation]:
            del self._turns[key]
