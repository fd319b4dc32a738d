"""The store's own table."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Table, Text

from moduai.store.database import metadata

changes = Table(
    "changes",
    metadata,
    Column("topic", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
)
"""How often each topic changed: one row a topic, so it never grows."""
