"""The banner, and the stop of a model or of the whole service."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from moduai.gateway import switches as repository
from moduai.gateway.switches import MODEL, MOST_LANGUAGES, Banner, Stop, Switch, SwitchError
from moduai.web.api.operation import Call, Nothing, Operation, Request, Text, Time, Words, refused

ByLanguage = Annotated[
    dict[str, Words], Meta(max_length=MOST_LANGUAGES, description="What people are told, by language.")
]
Model = Annotated[Text, Meta(description="A model's name; empty: the whole service.")]


class SwitchInfo(Struct, frozen=True, kw_only=True):
    """A switch that is set."""

    name: str
    """banner, service or model:NAME."""
    words: dict[str, str]
    """By language."""
    level: str
    """info or warning; of a stop empty."""
    until: int
    """Unix time in seconds; 0: until it is cleared."""
    set_by: str
    set_at: int


class SwitchesSet(Struct, frozen=True):
    """What is set, by whom and since when."""

    items: list[SwitchInfo]


class BannerSet(Request, frozen=True):
    """A line above every page."""

    words: ByLanguage = msgspec.field(default_factory=dict)
    level: Literal["info", "warning"] = "info"
    until: Annotated[Time, Meta(description="Unix time in seconds; 0: until it is cleared.")] = 0


class Stopped(Request, frozen=True):
    """What to stop, and the words that people are told."""

    model: Model = ""
    words: ByLanguage = msgspec.field(default_factory=dict)


class Started(Request, frozen=True):
    """What to start again."""

    model: Model = ""


class Cleared(Struct, frozen=True):
    """Whether there was anything to clear."""

    cleared: bool


async def list_all(call: Call, _: Nothing) -> SwitchesSet:
    """The banner and all stops."""
    async with call.read() as connection:
        return SwitchesSet([_info(one) for one in await repository.list_switches(connection)])


async def set_banner(call: Call, wanted: BannerSet) -> SwitchInfo:
    """In place of the one before; every worker shows it within a second."""
    value = Banner(words=wanted.words, level=wanted.level, until=wanted.until)
    return await _set(call, "banner", value)


async def clear_banner(call: Call, _: Nothing) -> Cleared:
    """It is shown no more, by any worker."""
    return await _clear(call, "banner")


async def stop(call: Call, wanted: Stopped) -> SwitchInfo:
    """New requests and those that wait in line are refused with these words; what runs goes on. Undo:
    start.
    """
    return await _set(call, _name(wanted.model), Stop(words=wanted.words))


async def start(call: Call, wanted: Started) -> Cleared:
    """Take requests again."""
    return await _clear(call, _name(wanted.model))


def _name(model: str) -> str:
    return MODEL + model if model else "service"


async def _set(call: Call, name: str, value: Banner | Stop) -> SwitchInfo:
    async with call.write() as connection:
        with refused("value_not_allowed", SwitchError):
            return _info(await repository.set_switch(connection, name, value, call.caller.person))


def _info(switch: Switch) -> SwitchInfo:
    value = switch.value
    return SwitchInfo(
        name=switch.name,
        words=value.words,
        level=value.level if isinstance(value, Banner) else "",
        until=value.until if isinstance(value, Banner) else 0,
        set_by=switch.set_by,
        set_at=switch.set_at,
    )


async def _clear(call: Call, name: str) -> Cleared:
    async with call.write() as connection:
        return Cleared(await repository.clear_switch(connection, name, call.caller.person))


OPERATIONS = (
    Operation(
        "switch.list", "GET", "/api/switches", "switch", "List what is set.",
        Nothing, SwitchesSet, list_all, "switch show",
    ),
    Operation(
        "banner.set", "PUT", "/api/banner", "switch", "Set the banner.",
        BannerSet, SwitchInfo, set_banner, "switch banner",
    ),
    Operation(
        "banner.clear", "DELETE", "/api/banner", "switch", "Take the banner down.",
        Nothing, Cleared, clear_banner, "switch banner",
    ),
    Operation(
        "service.stop", "POST", "/api/stop", "switch", "Stop a model or the whole service.",
        Stopped, SwitchInfo, stop, "switch stop",
    ),
    Operation(
        "service.start", "POST", "/api/start", "switch", "Start what was stopped.",
        Started, Cleared, start, "switch start",
    ),
)  # fmt: skip
