"""Open APIs as sources: the National Law Information Center and data.go.kr.

Words: a *place* is ``SITE:WHAT?FILTER=VALUE&…``, such as ``law.go.kr:law`` or
``law.go.kr:prec?query=전세보증금``.

A source is listed whole at each reading, for only so is it known what is gone; of its documents those are
fetched whose mark in the list changed. The key of a site is a setting, and stands in no place. Fails closed.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qsl, quote

from moduai.knowledge.connectors import gov24, law
from moduai.knowledge.connectors.client import Client
from moduai.knowledge.errors import SourceAwayError, SourceError
from moduai.knowledge.item import Item
from moduai.outbound import Network
from moduai.settings import Knowledge

MOST_VALUE = 100
"""Characters of a filter's value."""
_KEY_NAMES = {law.SITE: "OC", gov24.SITE: "serviceKey"}
_FILTERS: dict[str, dict[str, frozenset[str]]] = {law.SITE: law.FILTERS, gov24.SITE: gov24.FILTERS}
LICENCES = {gov24.SITE: gov24.LICENCE}
"""Of a site's documents, where they name none themselves."""

_MARKS = re.compile(r"[%&+#=;?]")
"""What would read otherwise in a value."""

Keys = Mapping[str, str]
"""The key of each site."""


class Place(NamedTuple):
    """What somebody wants of a site."""

    site: str
    what: str
    filters: dict[str, str]

    def __str__(self) -> str:
        """As it is kept."""
        said = "&".join(
            f"{name}={_MARKS.sub(_quoted, value)}" for name, value in sorted(self.filters.items())
        )
        return f"{self.site}:{self.what}{f'?{said}' if said else ''}"


def _quoted(mark: re.Match[str]) -> str:
    return quote(mark[0])


def keys(settings: Knowledge) -> Keys:
    """The keys that the settings give."""
    return {law.SITE: settings.law_go_kr_key, gov24.SITE: settings.data_go_kr_key}


def is_place(text: str) -> bool:
    """Whether a text begins as a place does."""
    return text.partition(":")[0] in _FILTERS


def holds_key(split: SplitResult) -> bool:
    """Whether an address asks one of the sites itself, with a key in it."""
    ours = (split.hostname or "").endswith((".go.kr", ".odcloud.kr"))
    names = {name.lower() for name, _ in parse_qsl(split.query, keep_blank_values=True)}
    return ours and bool(names & {name.lower() for name in _KEY_NAMES.values()})


def place(text: str) -> Place:
    """The place that a text names. Raises SourceError."""
    site, _, rest = text.partition(":")
    what, _, said = rest.partition("?")
    known = _FILTERS.get(site, {})
    if what not in known:
        raise SourceError("address", f"{site} has {', '.join(known)}: such as {site}:{next(iter(known))}")
    filters = dict(parse_qsl(said, keep_blank_values=True))
    if {name.lower() for name in filters} & {name.lower() for name in _KEY_NAMES.values()}:
        raise SourceError("secret", "a key does not stand in an address: it is a setting")
    unknown = sorted(filters.keys() - known[what])
    if unknown:
        able = ", ".join(sorted(known[what]))
        raise SourceError("address", f"{site}:{what} is not filtered by {unknown[0]}, but by {able}")
    if not all(0 < len(value) <= MOST_VALUE and value.isprintable() for value in filters.values()):
        raise SourceError("address", f"the value of a filter has 1 to {MOST_VALUE} characters")
    return Place(site, what, filters)


@asynccontextmanager
async def opened(text: str, known: Keys, private: Iterable[Network] = ()) -> AsyncIterator[list[Item]]:
    """The documents of a place; they can be fetched while it is open. Raises SourceError."""
    wanted = place(text)
    key = known.get(wanted.site, "").strip()
    if not key:
        name = f"knowledge.{wanted.site.replace('.', '_')}_key"
        variable = f"MODU_{name.upper().replace('.', '__')}"
        raise SourceAwayError("no_key", f"{wanted.site} wants a key: set {name} or {variable}")
    async with Client(wanted.site, _KEY_NAMES[wanted.site], key, private) as client:
        listed = law.listed if wanted.site == law.SITE else gov24.listed
        yield await listed(client, wanted.what, wanted.filters)
