"""The gateway's own table: switches that staff set, such as the banner and the stop of a model."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, Table, Text

from moduai.store.database import metadata

switches = Table(
    "switches",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", JSON, nullable=False),
    Column("set_by", Text, nullable=False),
    Column("set_at", BigInteger, nullable=False),
)
"""``banner``, ``service``, or ``model:NAME``; a switch that is not set has no row."""
