"""A resident's empty page as it was last made, so that opening it again costs next to nothing.

Rule: it is served again only for the same session, language, models and banner, for ``KEPT_S`` at most
(what another worker changed is seen then), and not while anything that this person posted may still be
on its way to the database.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from starlette.responses import Response

KEPT_S = 30.0
"""As long as a worker believes a session that it looked up (``accounts.sessions.FRESH_S``)."""
SETTLE_S = 3.0
"""After a post: until its turn is surely in the database."""
MOST = 1_000
"""People whose page is kept; about 10 kB each."""


class Remembered:
    """One page for each person, the one asked for last."""

    def __init__(self) -> None:
        self._pages: OrderedDict[str, tuple[float, Hashable, Response | None]] = OrderedDict()
        """By person: until when, what the page was made from, the page. No page: none is kept until then."""

    def get(self, person: str, made_from: Hashable, now: float) -> Response | None:
        """The page, if it is still what would be made. ``now``: monotonic, in seconds."""
        until, known, page = self._pages.get(person, (0.0, None, None))
        return page if now < until and known == made_from else None

    def put(self, person: str, made_from: Hashable, page: Response, now: float) -> None:
        """Keep a page that was just made."""
        until, _, known = self._pages.get(person, (0.0, None, page))
        if known is not None or until <= now:
            self._set(person, (now + KEPT_S, made_from, page))

    def posted(self, person: str, now: float) -> None:
        """The person changed something: keep nothing until it has settled."""
        self._set(person, (now + SETTLE_S, None, None))

    def _set(self, person: str, entry: tuple[float, Hashable, Response | None]) -> None:
        self._pages[person] = entry
        self._pages.move_to_end(person)
        if len(self._pages) > MOST:
            self._pages.popitem(last=False)
