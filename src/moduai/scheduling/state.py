"""What a queue has learned and what people owe, as bytes that outlive the process.

Rules, in words: only what is owed is kept of the fair tree, for a node that owes nothing is as good as new;
what waits and runs ends with the process, charged its estimate. Nothing in it is more than an opaque id or a
number. What is restored is of no more weight than what was learned a minute ago: whatever is damaged, of
another version or no longer there is left out, and fairness starts anew (fails open).
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from moduai.scheduling import estimate

MOST = 1 << 62
MOST_VALUE = 1 << 40
MOST_TEXT = 512
MOST_OWING = 50_000
"""Nodes that are kept, of all pools: about those that owe most."""
MOST_BYTES = 64 << 20
"""What is longer was not made here."""

Text = Annotated[str, Meta(max_length=MOST_TEXT)]
Count = Annotated[int, Meta(ge=0, le=MOST)]
Value = Annotated[int, Meta(ge=0, le=MOST_VALUE)]
Seen = Annotated[int, Meta(ge=0, le=1024)]
Known = tuple[Value, Seen]
"""A running quantile: its value and its evidence."""
Owed = tuple[Annotated[tuple[Text, ...], Meta(min_length=1, max_length=3)], Count]
"""A node's path, and its virtual time above its parent's."""
Ratios = Annotated[list[Known], Meta(min_length=3, max_length=3)]
Predictions = tuple[str, Ratios, list[tuple[Seen, Seen, Ratios]], Known, Seen, Seen]
"""A kind, its quantiles, those of what is alike, its error, how many it covered, and of how many."""


class PoolState(Struct, frozen=True, array_like=True):
    """Of one pool."""

    name: Text
    price: Annotated[int, Meta(ge=1, le=MOST_VALUE)]
    mean_run: Annotated[int, Meta(ge=-1, le=MOST)]
    costliest: Count
    owed: list[Owed]
    predictions: list[Predictions]


class State(Struct, frozen=True, array_like=True):
    """Of a queue. Times are ages in ns, for the next process has another clock."""

    version: Literal[1]
    estimates: tuple[list[tuple[Text, Value, Seen]], list[tuple[Text, Text, Value, Seen, int]]]
    pools: list[PoolState]
    speeds: list[tuple[Text, Text, tuple[float, ...]]]
    """Replica, pool and what is known of its speed."""


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(State)


def write(state: State) -> bytes:
    """The state as bytes. What `read` would refuse is cut or left out, so that it does not refuse all."""
    values, apps = state.estimates
    estimates = (
        [(name, min(value, MOST_VALUE), seen) for name, value, seen in values if _short(name)],
        [
            (app, pool, min(value, MOST_VALUE), seen, at)
            for app, pool, value, seen, at in apps
            if _short(app, pool)
        ],
    )
    pools = [
        PoolState(
            pool.name,
            min(pool.price, MOST_VALUE),
            min(pool.mean_run, MOST),
            min(pool.costliest, MOST),
            [each for each in pool.owed if _short(*each[0])],
            pool.predictions,
        )
        for pool in state.pools
        if _short(pool.name)
    ]
    speeds = [each for each in state.speeds if _short(each[0], each[1])]
    return _encode(State(1, estimates, pools, speeds))


def _short(*texts: str) -> bool:
    return max(map(len, texts)) <= MOST_TEXT


def read(data: bytes) -> State | None:
    """The state that bytes tell; None where they tell none. Fails open."""
    if len(data) > MOST_BYTES:
        return None
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def aged(dumped: estimate.Dumped, now: int) -> estimate.Dumped:
    """Estimates with ages for times; and with times for ages, if asked again."""
    pools, apps = dumped
    return pools, [(app, pool, value, seen, now - at) for app, pool, value, seen, at in apps]
