"""data.go.kr: the public services of the country and its municipalities (보조금24), by the open API gov24.

All services with what they give, to whom and how one applies come in a few long pages, so a reading takes
some dozen requests, within a day's quota, and what reads as before is not read again. Filters are those of
the API's list of services.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from urllib.parse import quote

import msgspec
from msgspec import Struct

from moduai.knowledge.connectors.client import Client, Listed, Row, UnexpectedError, walk
from moduai.knowledge.item import Item

SITE = "data.go.kr"
API = "https://api.odcloud.kr/api/gov24/v3"
PAGES = "https://www.gov.kr/portal/rcvfvrSvc/dtlEx/"
LICENCE = "공공데이터포털: 이용허락범위 제한 없음"
FILTERS = {"gov24": frozenset({"서비스명", "서비스분야", "소관기관유형", "사용자구분"})}
PER_PAGE = 500
_ID, _TITLE, _ADDRESS = "서비스ID", "서비스명", "상세조회URL"


class _Page(Struct):
    """A page of either list."""

    data: list[dict[str, str | int | float | None]]
    totalCount: int  # noqa: N815  (the API's name)
    matchCount: int | None = None  # noqa: N815


async def listed(client: Client, what: str, filters: Mapping[str, str]) -> list[Item]:
    """The services. Raises SourceError."""
    chosen = await _rows(client, "serviceList", filters) if filters else None
    found = await _rows(client, "serviceDetail", {})
    return [_item(row) for key, row in found.items() if key and (chosen is None or key in chosen)]


async def _rows(client: Client, name: str, filters: Mapping[str, str]) -> dict[object, Row]:
    asked = {"returnType": "JSON", "perPage": str(PER_PAGE)}
    asked |= {f"cond[{field}::LIKE]": value for field, value in filters.items()}

    async def page(number: int) -> Listed:
        return await client.ask(f"{API}/{name}", {**asked, "page": str(number)}, rows)

    return dict(await walk(page, lambda row: row.get(_ID, "")))


def rows(data: bytes) -> Listed:
    """A page of a list. Raises UnexpectedError."""
    try:
        page = msgspec.json.decode(data, type=_Page)
    except (msgspec.DecodeError, RecursionError) as error:
        raise UnexpectedError(f"it is no list: {error}") from None
    total = page.totalCount if page.matchCount is None else page.matchCount
    return Listed(total, [_row(row) for row in page.data])


def _row(said: Mapping[str, str | int | float | None]) -> Row:
    """What a row says, a line for each of several things in a field."""
    return {
        name: str(value).replace("\r", "").replace("||", "\n").strip()
        for name, value in said.items()
        if value not in {None, ""}
    }


def _item(row: Row) -> Item:
    key = row[_ID]
    row = {_ADDRESS: PAGES + quote(key, safe=""), **row}
    data = msgspec.json.encode(row)
    return Item(
        key=key,
        name=f"{row.get(_TITLE, key)}.json",
        address=row[_ADDRESS],
        read=partial(bytes, data),
    )
