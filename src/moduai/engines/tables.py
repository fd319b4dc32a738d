"""The table of engines: the fields of ``record.Engine``, with the key sealed."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Boolean, Column, Integer, LargeBinary, Table, Text

from moduai.store.database import metadata

engines = Table(
    "engines",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("sealed_key", LargeBinary),
    Column("state", Text, nullable=False),
    Column("concurrency", Integer, nullable=False),
    Column("hardware", JSON, nullable=False),
    Column("models", JSON, nullable=False),
    Column("follows", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)
"""``sealed_key`` is NULL where an engine needs none. Times are Unix seconds. A removed engine keeps
its row, because usage rows name it.
"""
