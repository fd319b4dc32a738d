"""Tables of the ledger: usage rows as in ``row.UsageRow``, their sums by the hour, and how far each segment
is loaded. Times are Unix time in microseconds.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, Table, Text

from moduai.store.database import metadata

usage = Table(
    "usage",
    metadata,
    Column("id", Text, primary_key=True),
    Column("at", BigInteger, primary_key=True),
    Column("subject", Text, nullable=False),
    Column("organisation", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("service_class", Text, nullable=False),
    Column("region", Text, nullable=False),
    Column("zone", Text, nullable=False),
    Column("group", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("engine", Text, nullable=False),
    Column("stream", Boolean, nullable=False),
    Column("tokens_in", BigInteger, nullable=False),
    Column("tokens_cached", BigInteger, nullable=False),
    Column("tokens_out", BigInteger, nullable=False),
    Column("tokens_source", Text, nullable=False),
    Column("queue_us", BigInteger, nullable=False),
    Column("first_token_us", BigInteger, nullable=False),
    Column("duration_us", BigInteger, nullable=False),
    Column("accelerator_us", BigInteger, nullable=False),
    Column("energy_mj", BigInteger, nullable=False),
    Column("status", Integer, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("error", Text, nullable=False),
    Column("step", Text, nullable=False, server_default=""),
    Index(None, "at"),
    Index(None, "key", "at"),
    Index(None, "organisation", "at"),
)
"""On PostgreSQL in parts by ``at`` (``days``), so a key has to have it; on SQLite ``id`` alone is the key. A
request has one time, so a row that comes twice is the same by either.
"""

hours = Table(
    "usage_hours",
    metadata,
    Column("hour", BigInteger, nullable=False),
    *(
        Column(name, Text, nullable=False)
        for name in (
            *("subject", "organisation", "key", "model", "engine"),
            *("region", "group", "outcome", "source"),
        )
    ),
    *(
        Column(name, BigInteger, nullable=False)
        for name in (
            *("requests", "tokens_in", "tokens_cached", "tokens_out", "queue_us", "first_tokens"),
            *("first_token_us", "duration_us", "accelerator_us", "energy_mj"),
        )
    ),
    Index(None, "hour"),
)
"""Sums of the rows of one hour that agree in all texts. ``source`` is where token counts come from,
``first_tokens`` how many requests had a first byte. Of an hour in ``open_hours`` they do not hold.
"""

open_hours = Table(
    "open_hours",
    metadata,
    Column("hour", BigInteger, primary_key=True),
    Column("loader", Text, primary_key=True),
)
"""Hours of which rows came since they were summed up, by the loader that brought them: each has its own
mark, so that loaders do not wait for each other.
"""

kept_from = Table(
    "kept_from",
    metadata,
    Column("table", Text, primary_key=True),
    Column("at", BigInteger, nullable=False),
)
"""Rows of ``usage`` from before this are deleted; one that comes now is refused, for it may be counted."""

segments = Table(
    "segments",
    metadata,
    Column("name", Text, primary_key=True),
    Column("offset", BigInteger, nullable=False),
)
"""Bytes of each segment file that are in ``usage``; written in the transaction of those rows."""
