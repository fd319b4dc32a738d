"""Tables of the ledger: usage rows as in ``row.UsageRow``, and how far each segment is loaded."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, Table, Text

from moduai.store.database import metadata

usage = Table(
    "usage",
    metadata,
    Column("id", Text, primary_key=True),
    Column("at", BigInteger, nullable=False),
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

segments = Table(
    "segments",
    metadata,
    Column("name", Text, primary_key=True),
    Column("offset", BigInteger, nullable=False),
)
"""Bytes of each segment file that are in ``usage``; written in the transaction of those rows."""
