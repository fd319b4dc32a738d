"""Who is the dispatcher of a cell: a lease with a fencing token.

Rules: one process at a time holds the lease; each new holder has a greater epoch than any before it, also
when the store was emptied meanwhile, for none is below the clock's seconds; a holder that is late goes on
only if nobody came after it, and one that the store took back, for it has forgotten who came, ends when a
gateway tells it. Where the store cannot be asked nobody new can hold it, and who held it goes on:
the gateways heed no older epoch than they have seen, so two can never be heard by one (fails open for who
holds it, closed for all others).

On one machine the lease is a lock on a file, which the kernel gives up with its process. On many it is a key
in Valkey or Redis that expires.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import secrets
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, Protocol, cast

import msgspec
from msgspec import Struct

from moduai.scheduling.state import MOST_BYTES
from moduai.settings import Loaded
from moduai.store.files import read_aged, write

ANSWER_S = 0.5
"""Longest wait for an answer of the store."""
FORGOTTEN = 300_000_000_000
"""A cell that has said nothing for so long (ns) is none any more."""
_FILE, _TOTALS = "cell-", ".totals"


class AwayError(OSError):
    """The store of the lease cannot be asked; the text says why."""


class Owner(Struct, frozen=True):
    """Who holds a lease."""

    epoch: int
    address: str
    """Where its gateways find it."""
    token: str = ""


_owner = msgspec.json.Decoder(Owner).decode


Told = dict[str, tuple[bytes, int]]
"""Totals and their age in ns, by cell."""


class Lease(Protocol):
    """Every method raises AwayError."""

    async def take(self, address: str, least: int) -> int | None:
        """Our epoch, above ``least``, if the lease is ours now; None: somebody else's."""

    async def keep(self) -> bool:
        """Whether it is still ours; asked a few times in each of its terms."""

    async def owner(self) -> Owner | None:
        """Who has it."""

    async def give_up(self, above: int = 0) -> None:
        """Let the next one have it at once, with an epoch greater than ``above``."""

    async def save(self, state: bytes) -> None:
        """Keep what the next holder goes on from."""

    async def saved(self) -> tuple[bytes, int] | None:
        """What was kept last, and its age in ns."""

    async def exchange(self, totals: bytes) -> Told | None:
        """Tell our totals under our lease, hear those of every cell; None: the lease is not ours, and
        nothing was told. What is older than `FORGOTTEN` is left out.
        """

    async def close(self) -> None:
        """Let go of connections."""


class FileLease:
    """On one machine: a lock in the home folder."""

    def __init__(self, home: Path, cell: str) -> None:
        run = home / "run"
        self._lock, self._file, self._state, self._totals = (
            run / f"{_FILE}{cell}{end}" for end in (".lock", ".json", ".state", _TOTALS)
        )
        self._held = -1

    async def take(self, address: str, least: int) -> int | None:  # noqa: D102  (so are all: the protocol's)
        try:
            self._lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise AwayError(str(error)) from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        self._held = handle
        try:
            before = await self.owner()
            epoch = max(least, before.epoch if before else 0) + 1
            write(self._file, msgspec.json.encode(Owner(epoch, address)))
        except OSError as error:
            await self.give_up()
            raise AwayError(str(error)) from None
        return epoch

    async def keep(self) -> bool:  # noqa: D102
        return self._held >= 0

    async def owner(self) -> Owner | None:  # noqa: D102
        try:
            return _owner(self._file.read_bytes())
        except (FileNotFoundError, msgspec.DecodeError):
            return None
        except OSError as error:
            raise AwayError(str(error)) from None

    async def give_up(self, above: int = 0) -> None:  # noqa: D102
        if self._held >= 0:
            with contextlib.suppress(OSError):  # it grows old, then
                self._totals.unlink()
            if above:
                with contextlib.suppress(OSError):  # the next one is told so, then
                    write(self._file, msgspec.json.encode(Owner(above, "")))
            os.close(self._held)
            self._held = -1

    async def save(self, state: bytes) -> None:  # noqa: D102
        try:
            await asyncio.to_thread(write, self._state, state)
        except OSError as error:
            raise AwayError(str(error)) from None

    async def saved(self) -> tuple[bytes, int] | None:  # noqa: D102
        try:
            return read_aged(self._state, MOST_BYTES + 1)
        except OSError as error:
            raise AwayError(str(error)) from None

    async def exchange(self, totals: bytes) -> Told | None:  # noqa: D102
        return await asyncio.to_thread(self._exchange, totals) if self._held >= 0 else None

    def _exchange(self, totals: bytes) -> Told:
        told = {}
        try:
            write(self._totals, totals)
            for file in self._totals.parent.glob(f"{_FILE}*{_TOTALS}"):
                if (found := read_aged(file, MOST_BYTES)) and found[1] < FORGOTTEN:
                    told[file.name[len(_FILE) : -len(_TOTALS)]] = found
        except OSError as error:
            raise AwayError(str(error)) from None
        return told

    async def close(self) -> None:  # noqa: D102
        await self.give_up()


_TAKE = """
local owner = redis.call('GET', KEYS[1])
if owner then return owner end
local epoch = math.max(tonumber(redis.call('GET', KEYS[2]) or '0'), tonumber(ARGV[1])) + 1
local mine = cjson.encode({epoch = epoch, address = ARGV[2], token = ARGV[3]})
redis.call('SET', KEYS[2], epoch)
redis.call('SET', KEYS[1], mine, 'PX', ARGV[4])
return mine
"""
_KEEP = """
local owner = redis.call('GET', KEYS[1])
if owner and cjson.decode(owner).token ~= ARGV[3] then return 0 end
if not owner and tonumber(redis.call('GET', KEYS[2]) or '0') > tonumber(ARGV[1]) then return 0 end
local mine = cjson.encode({epoch = tonumber(ARGV[1]), address = ARGV[2], token = ARGV[3]})
redis.call('SET', KEYS[2], ARGV[1])
redis.call('SET', KEYS[1], mine, 'PX', ARGV[4])
return 1
"""
_GIVE_UP = """
local owner = redis.call('GET', KEYS[1])
if not owner or cjson.decode(owner).token ~= ARGV[1] then return 0 end
redis.call('HDEL', KEYS[2], ARGV[2])
local epoch = tonumber(redis.call('GET', KEYS[3]) or '0')
if tonumber(ARGV[3]) > epoch then redis.call('SET', KEYS[3], ARGV[3]) end
return redis.call('DEL', KEYS[1])
"""
_EXCHANGE = """
local owner = redis.call('GET', KEYS[1])
if not owner or cjson.decode(owner).token ~= ARGV[1] then return false end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
redis.call('HSET', KEYS[2], ARGV[2], string.format('%.0f ', now) .. ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
local told, all = {}, redis.call('HGETALL', KEYS[2])
for at = 1, #all, 2 do
  local said, totals = string.match(all[at + 1], '^(%d+) (.*)$')
  said = tonumber(said)
  if not said or now - said > ARGV[3] * 1000 then
    redis.call('HDEL', KEYS[2], all[at])
  else
    if said > now then -- the clock was set back: it grows old from now on
      said = now
      redis.call('HSET', KEYS[2], all[at], string.format('%.0f ', now) .. totals)
    end
    table.insert(told, {all[at], now - said, totals})
  end
end
return told
"""
_AGE = 8
"""Bytes before a saved state: when it was saved, by the store's clock in µs."""


class RedisLease:
    """On many machines: a key in Valkey or Redis that expires after ``term_s``."""

    def __init__(self, url: str, cell: str, term_s: float) -> None:
        from redis import asyncio as client  # noqa: PLC0415  (an extra: only where it is used)
        from redis.backoff import NoBackoff  # noqa: PLC0415
        from redis.exceptions import RedisError  # noqa: PLC0415

        self._errors = (RedisError, OSError, TimeoutError)
        self._redis = client.Redis.from_url(
            url,
            socket_timeout=ANSWER_S,
            socket_connect_timeout=ANSWER_S,
            retry=client.retry.Retry(NoBackoff(), 0),
        )
        self._cell = cell
        self._keys = [f"modu:cell:{cell}:{name}" for name in ("owner", "epoch")]
        self._totals = [self._keys[0], "modu:totals"]
        self._state = f"modu:cell:{cell}:state"
        self._term = int(term_s * 1000)
        self._token = secrets.token_hex(8)
        self._mine = Owner(0, "")

    async def take(self, address: str, least: int) -> int | None:  # noqa: D102  (so are all: the protocol's)
        found = self._read(await self._run(_TAKE, self._keys, least, address, self._token, self._term))
        if found.token != self._token:
            return None
        self._mine = found
        return found.epoch

    async def keep(self) -> bool:  # noqa: D102
        mine = self._mine
        return bool(await self._run(_KEEP, self._keys, mine.epoch, mine.address, self._token, self._term))

    async def owner(self) -> Owner | None:  # noqa: D102
        found = await self._asked(self._redis.get(self._keys[0]))
        return self._read(found) if found else None

    async def give_up(self, above: int = 0) -> None:  # noqa: D102
        await self._run(_GIVE_UP, [*self._totals, self._keys[1]], self._token, self._cell, above)

    async def save(self, state: bytes) -> None:  # noqa: D102
        await self._asked(self._redis.set(self._state, (await self._now()).to_bytes(_AGE, "big") + state))

    async def saved(self) -> tuple[bytes, int] | None:  # noqa: D102
        found = await self._asked(self._redis.get(self._state))
        if not found:
            return None
        age = await self._now() - int.from_bytes(found[:_AGE], "big")
        return found[_AGE:], max(0, age) * 1000

    async def exchange(self, totals: bytes) -> Told | None:  # noqa: D102
        forgotten = FORGOTTEN // 1_000_000
        found = await self._run(_EXCHANGE, self._totals, self._token, self._cell, forgotten, totals)
        if found is None:
            return None
        return {cell.decode("utf-8", "replace"): (data, age * 1000) for cell, age, data in found}

    async def close(self) -> None:  # noqa: D102
        await self._redis.aclose()

    def _read(self, text: bytes) -> Owner:
        try:
            return _owner(text)
        except msgspec.DecodeError as error:
            raise AwayError(f"{self._keys[0]} holds something else: {error}") from None

    async def _now(self) -> int:
        seconds, micros = await self._asked(self._redis.time())
        return int(seconds) * 1_000_000 + int(micros)

    async def _run(self, script: str, keys: list[str], *values: str | int | bytes) -> Any:
        return await self._asked(self._redis.eval(script, len(keys), *keys, *cast("tuple[str]", values)))

    async def _asked(self, answer: Any) -> Any:
        try:
            return await cast("Awaitable[Any]", answer)
        except self._errors as error:
            raise AwayError(f"{type(error).__name__}: {error}") from None


def open_lease(loaded: Loaded) -> Lease:
    """A key in the store that ``cells.lease`` names; without one a lock in the home folder."""
    cells = loaded.settings.cells
    if cells.lease:
        return RedisLease(cells.lease, cells.name, cells.term_s)
    return FileLease(loaded.home, cells.name)
