"""Asking an open API: one request after the other, and again where that helps.

Rule: requests go through the outbound guard, no redirect is followed, and answers are bounded in size and
time. The key stands in the address of a request and nowhere else: no error and no log names it. Open APIs
say with status 200, in words, that they refuse: what is not the answer that was asked for is read as a
complaint. Failures that may pass (a broken connection, 5xx, a page in place of data) are tried again after
growing waits; a key that is refused, a quota that is used up and a source that fails one time after the
other end the reading (SourceAwayError). Fails closed.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from types import TracebackType
from typing import NamedTuple, Self, TypeVar
from urllib.parse import quote, unquote

import httpx2

from moduai.knowledge.errors import SourceAwayError, SourceError
from moduai.knowledge.readers import LIMITS
from moduai.knowledge.readers.outline import one_line
from moduai.outbound import Guard, Network, OutboundError, client_options

TRIES = 4
FIRST_WAIT_S = 1.0
"""Between the first try and the second; it doubles."""
GAP_S = 0.2
"""Between two requests: these services are everyone's."""
WITHIN_S = 120.0
"""For one answer as a whole."""
MOST_FAILED = 3
"""Requests in a row that fail for good before the source counts as away."""
MOST_ROWS = 1_000_000
MOST_WORDS = 300
"""Characters of what a source complains of; it is cut after the key was taken out."""

T = TypeVar("T")
Row = dict[str, str]

logging.getLogger("httpx2").setLevel(logging.WARNING)  # it logs addresses, and in ours stands a key

_WORDS = (
    ("key", re.compile(r"검증에 실패|인증키|SERVICE_?KEY|UNREGISTERED|ACCESS_DENIED|DEADLINE_HAS_EXPIRED")),
    ("limit", re.compile(r"LIMITED_NUMBER|트래픽|횟수")),
    ("not_there", re.compile(r"일치하는.*없습니다")),
)
_MARKUP = re.compile(r"<[^<>]*>|[{}\[\]\"]")


class UnexpectedError(ValueError):
    """An answer is not what was asked for."""


class _PassingError(RuntimeError):
    """It failed, and may not the next time."""


class Listed(NamedTuple):
    """One page of a list."""

    total: int
    """Rows of all pages, as the source says."""
    rows: list[Row]


class Client:
    """Asks one site with one key. Use it with ``async with``."""

    def __init__(self, site: str, key_name: str, key: str, private: Iterable[Network] = ()) -> None:
        private = tuple(private)
        self._site = site
        self._key_name = key_name
        self._key = unquote(key.strip())  # data.go.kr hands out keys encoded and plain
        self._turn = asyncio.Lock()
        self._failed = 0
        options = client_options(private) | {
            "transport": Guard(private, LIMITS.bytes),
            "headers": {"accept": "*/*", "accept-encoding": "identity", "user-agent": "modu"},
            "timeout": httpx2.Timeout(WITHIN_S, connect=10.0),
        }
        self._http = httpx2.AsyncClient(**options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def ask(self, url: str, asked: Mapping[str, str], read: Callable[[bytes], T]) -> T:
        """What ``read`` makes of the answer; it raises UnexpectedError for another. Raises SourceError."""
        async with self._turn:
            wait, why = FIRST_WAIT_S, ""
            for number in range(TRIES):
                if number:
                    await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311  (no secret)
                    wait *= 2
                try:
                    found = read_or_complain(await self._once(url, asked), read)
                except _PassingError as error:
                    why = str(error)
                    continue
                except SourceError as error:
                    self._failed = 0
                    raise type(error)(error.code, self._told(str(error))) from None
                self._failed = 0
                await asyncio.sleep(GAP_S)
                return found
        self._failed += 1
        kind = SourceAwayError if self._failed >= MOST_FAILED else SourceError
        raise kind("fetch", self._told(why))

    async def _once(self, url: str, asked: Mapping[str, str]) -> httpx2.Response:
        try:
            async with asyncio.timeout(WITHIN_S):
                return await self._http.get(url, params={**asked, self._key_name: self._key})
        except OutboundError as error:
            raise SourceError("fetch", str(error)) from None
        except (httpx2.HTTPError, TimeoutError) as error:
            raise _PassingError(str(error) or type(error).__name__) from None

    def _told(self, words: str) -> str:
        """For people, and without the key."""
        for form in (self._key, quote(self._key), quote(self._key, safe="")):
            words = words.replace(form, "***") if form else words
        return f"{self._site}: {words[:MOST_WORDS]}"


def read_or_complain(answer: httpx2.Response, read: Callable[[bytes], T]) -> T:
    """What ``read`` makes of an answer; else what the source complains of. Raises SourceError."""
    status = answer.status_code
    if status >= httpx2.codes.INTERNAL_SERVER_ERROR:
        raise _PassingError(f"it answers with status {status}")
    try:
        return read(answer.content)
    except UnexpectedError as error:
        words = complaint(answer.content) or str(error)
    code = next((code for code, pattern in _WORDS if pattern.search(words)), "")
    if status == httpx2.codes.TOO_MANY_REQUESTS:
        code = "limit"
    if code in {"key", "limit"}:
        raise SourceAwayError(code, f"it refuses: {words}")
    if code or status >= httpx2.codes.BAD_REQUEST:
        raise SourceError(code or "refused", f"it answers with status {status}: {words}")
    raise _PassingError(f"it does not answer as it should: {words}")


def complaint(data: bytes) -> str:
    """The words of an answer that is not the one asked for, on one line."""
    text = data[:4_000].decode("utf-8", "replace")
    if re.search(r"<html|<!doctype", text, re.IGNORECASE):
        return "a web page came in place of data"
    return one_line(_MARKUP.sub(" ", text))


async def walk(
    page: Callable[[int], Awaitable[Listed]], serial: Callable[[Row], Hashable]
) -> dict[Hashable, Row]:
    """All rows of a list, page by page from 1. Raises SourceError where it ends early or has no end: of a
    list that is not whole nobody can tell what is gone.
    """
    found: dict[Hashable, Row] = {}
    seen = number = 0
    while True:
        number += 1
        listed = await page(number)
        before = len(found)
        found |= {serial(row): row for row in listed.rows}
        seen += len(listed.rows)
        if listed.total > MOST_ROWS:
            raise SourceError("too_many", f"the list has more than {MOST_ROWS:,} rows")
        if len(found) == before and (listed.rows or seen < listed.total):
            raise SourceError(
                "list", f"the list stops or repeats itself after {before:,} of {listed.total:,}"
            )
        if seen >= listed.total:
            return found
