"""Which replica already holds the beginning of a prompt.

A prompt is told as chained hashes of its blocks: block ``i`` stands for everything up to its end, so a
replica that holds it holds all before it. What a replica was sent last is what its prefix cache most likely
still has. Each replica's blocks stand in a young and an old half; when the young one is full, the old one
is dropped with all that was not asked for since: the replica's own least-recently-used order, roughly.

It is a guess in both directions, and used as one: to choose a replica, never to charge. The charge follows
from what the engine reports.
"""

from __future__ import annotations

from collections.abc import Iterable

BLOCK = 1024
"""Bytes of the raw prompt that make a block: about 250 tokens."""
MOST_BLOCKS = 16_384
"""Blocks that are remembered of a replica whose room is not known: about 4 million tokens."""


class _Cache:
    __slots__ = ("half", "old", "young")

    def __init__(self, half: int) -> None:
        self.half = half
        self.old: set[int] = set()
        self.young: set[int] = set()


class PrefixIndex:
    """The blocks of every replica's prefix cache, as far as can be known from here."""

    __slots__ = ("_caches",)

    def __init__(self) -> None:
        self._caches: dict[str, _Cache] = {}

    def resize(self, replica: str, most: int) -> None:
        """A replica's cache has room for ``most`` blocks; asked at any time."""
        self._caches.setdefault(replica, _Cache(0)).half = max(1, most // 2)

    def forget(self, replica: str) -> None:
        """The replica has gone, or begins anew with an empty cache."""
        self._caches.pop(replica, None)

    def touch(self, blocks: tuple[int, ...], replica: str) -> None:
        """The replica was sent this prompt."""
        if not blocks:
            return
        cache = self._caches.get(replica)
        if cache is None:
            cache = self._caches[replica] = _Cache(MOST_BLOCKS // 2)
        if len(cache.young) >= cache.half:
            cache.old, cache.young = cache.young, set()
        cache.young.update(blocks)

    def held(self, blocks: tuple[int, ...], replica: str) -> int:
        """How many leading blocks of a prompt the replica holds."""
        cache = self._caches.get(replica)
        if cache is None or not blocks:
            return 0
        young, old = cache.young, cache.old
        low, high = 0, len(blocks)
        middle = 0  # most often not even the first block is held
        while low < high:
            if blocks[middle] in young or blocks[middle] in old:
                low = middle + 1
            else:
                high = middle
            middle = (low + high) // 2
        return low

    def best(self, blocks: tuple[int, ...], replicas: Iterable[str]) -> tuple[int, str]:
        """The most leading blocks that one of the replicas holds, and which; (0, "") if none does."""
        most, name = 0, ""
        if not blocks:
            return most, name
        first, caches = blocks[0], self._caches
        for replica in replicas:
            cache = caches.get(replica)
            if cache is not None and (first in cache.young or first in cache.old):
                held = self.held(blocks, replica)
                if held > most:
                    most, name = held, replica
        return most, name


def uncached(tokens: int, blocks: tuple[int, ...], held: int) -> int:
    """Tokens of a prompt that a replica has to compute that holds ``held`` of its blocks.

    The last block is followed by what did not fill another one: on average half a block.
    """
    parts = 2 * len(blocks) + 1
    return tokens * (parts - 2 * held) // parts
