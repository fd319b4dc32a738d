"""The table of proposals. Times are Unix seconds; 0 means never."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, Index, Table, Text

from moduai.store.database import metadata

proposals = Table(
    "proposals",
    metadata,
    Column("id", Text, primary_key=True),
    Column("pack", Text, nullable=False),
    Column("rows", JSON, nullable=False),
    Column("reason", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("made_at", BigInteger, nullable=False),
    Column("decided_by", Text, nullable=False),
    Column("decided_at", BigInteger, nullable=False),
    Column("note", Text, nullable=False),
    Index(None, "pack", "state"),
)
"""``rows``: kind to the row as the pack's files would have it (``rows.Rows``)."""
