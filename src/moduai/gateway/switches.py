"""What staff set for everyone at once: a banner on the pages, and the stop of a model or of the service.

Words: a *switch* is ``banner``, ``service`` or ``model:NAME`` and is set or not; a *stop* refuses new
requests and those that wait in line with the words of who set it, and lets those that run end.

Each write is in the audit log and announces "switches"; workers hold what is set in memory. A worker
that cannot read the switches goes on with those that it knows.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Literal

import msgspec
from msgspec import Struct
from sqlalchemy import delete, select

from moduai.accounts import audit
from moduai.accounts.organisations import AccountError
from moduai.accounts.people import clean_line
from moduai.gateway.errors import CATALOGUE, ApiError
from moduai.gateway.tables import switches
from moduai.store.database import Connection, insert
from moduai.store.feed import announce

TOPIC = "switches"
MODEL = "model:"
MOST_WORDS = 500
"""Longest words of a switch in one language, in characters."""
MOST_LANGUAGES = 16
LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{1,8}){0,3}")
MOST_NAME = 190
"""Longest name of a model that can be stopped, in characters."""
RETRY_S = 60
"""What refused clients are told to wait."""


class SwitchError(ValueError):
    """A switch is not valid; the text says what to do."""


class Banner(Struct, frozen=True, kw_only=True):
    """A line above every page. ``words``: by language."""

    words: dict[str, str] = {}
    level: Literal["info", "warning"] = "info"
    until: int = 0
    """Unix time in seconds after which it is not shown; 0: until it is cleared."""


class Stop(Struct, frozen=True, kw_only=True):
    """A stop, in the words that people are told, by language; there may be none."""

    words: dict[str, str] = {}


class Switch(Struct, frozen=True, kw_only=True):
    """A switch that is set, for staff."""

    name: str
    value: Banner | Stop
    set_by: str
    set_at: int
    """Unix time in seconds."""


class Switches:
    """What is set, in memory."""

    def __init__(self) -> None:
        """Nothing is set."""
        self._banner: Banner | None = None
        self.stops: Mapping[str, Stop] = {}
        """What is stopped, by its switch; mostly nothing."""
        self.listener: Callable[[], None] = lambda: None
        """Called after each change: the lane lets go what waits for what was stopped."""

    def replace(self, found: Mapping[str, Banner | Stop]) -> None:
        """Take what is set now, whole."""
        self.stops = {name: value for name, value in found.items() if isinstance(value, Stop)}
        banner = found.get("banner")
        self._banner = banner if isinstance(banner, Banner) else None
        self.listener()

    def banner(self, now: float) -> Banner | None:
        """The banner to show at ``now``, if there is one."""
        shown = self._banner
        if shown is None or not shown.words or 0 < shown.until <= now:
            return None
        return shown

    def stop_of(self, model: str) -> Stop | None:
        """What stops a model now: the service's stop comes first. None: nothing does."""
        if not self.stops:
            return None
        return self.stops.get("service") or self.stops.get(MODEL + model)

    def check(self, model: str) -> None:
        """Raise ApiError where the service or the model is stopped. While the database is away the last
        known switches hold: fails open for a stop that is newer.
        """
        if stop := self.stops.get("service"):
            raise _refusal("service_stopped", stop)
        if stop := self.stops.get(MODEL + model):
            raise _refusal("model_stopped", stop)


def _refusal(code: str, stop: Stop) -> ApiError:
    words = " ".join(filter(None, (CATALOGUE[code].message, *stop.words.values())))
    return ApiError(code, words, retry_after_s=RETRY_S)


async def load_switches(connection: Connection) -> dict[str, Banner | Stop]:
    """What is set, for ``Switches.replace``."""
    return {switch.name: switch.value for switch in await list_switches(connection)}


async def list_switches(connection: Connection) -> list[Switch]:
    """What is set, by whom and since when."""
    rows = await connection.execute(select(switches).order_by(switches.c.name))
    return [
        Switch(name=row.name, value=_value(row.name, row.value), set_by=row.set_by, set_at=row.set_at)
        for row in rows
    ]


async def set_switch(connection: Connection, name: str, value: Banner | Stop, actor: str) -> Switch:
    """Set a switch, in place of what was set before. Raises SwitchError."""
    _check(name, value)
    value = msgspec.structs.replace(value, words=_words(value.words))
    if isinstance(value, Banner) and not value.words:
        raise SwitchError("a banner needs words, best in each language of the pages")
    made = Switch(name=name, value=value, set_by=actor, set_at=int(time.time()))
    row = {"value": msgspec.to_builtins(value), "set_by": actor, "set_at": made.set_at}
    statement = insert(connection, switches).values(name=name, **row)
    await connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=row))
    await announce(connection, TOPIC)
    detail: dict[str, audit.Value] = {"languages": list(value.words)}
    if isinstance(value, Banner):
        detail |= {"level": value.level, "until": value.until}
    await audit.record(connection, actor=actor, action="switch.set", target=name, detail=detail)
    return made


async def clear_switch(connection: Connection, name: str, actor: str) -> bool:
    """Clear a switch; False if it was not set."""
    gone = await connection.execute(delete(switches).where(switches.c.name == name))
    if not gone.rowcount:
        return False
    await announce(connection, TOPIC)
    await audit.record(connection, actor=actor, action="switch.clear", target=name)
    return True


def _value(name: str, value: object) -> Banner | Stop:
    """What a row says. One that cannot be read still stops, without words: fails closed."""
    try:
        return msgspec.convert(value, Banner) if name == "banner" else msgspec.convert(value, Stop)
    except msgspec.ValidationError:
        return Banner() if name == "banner" else Stop()


def _words(words: Mapping[str, str]) -> dict[str, str]:
    """Those that are not empty, cleaned."""
    if len(words) > MOST_LANGUAGES or not all(map(LANGUAGE.fullmatch, words)):
        raise SwitchError(f"words are by language, such as en: at most {MOST_LANGUAGES} languages")
    try:
        cleaned = {
            language: clean_line(text, MOST_WORDS, "each language of a switch")
            for language, text in words.items()
        }
    except AccountError as error:
        raise SwitchError(str(error)) from None
    return {language: text for language, text in cleaned.items() if text}


def _check(name: str, value: Banner | Stop) -> None:
    model = name.removeprefix(MODEL) if name.startswith(MODEL) else ""
    if name not in {"banner", "service"} and not (0 < len(model) <= MOST_NAME and model.isprintable()):
        raise SwitchError("a switch is banner, service or model:NAME")
    if isinstance(value, Banner) is not (name == "banner"):
        raise SwitchError("a banner has a level and an end, a stop has neither")
    if isinstance(value, Banner):
        if value.level not in {"info", "warning"}:
            raise SwitchError("the level of a banner is info or warning")
        if value.until and value.until <= time.time():
            raise SwitchError("a banner cannot end in the past")
