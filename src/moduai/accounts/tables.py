"""Tables of organisations and their keys. Times are Unix seconds; 0 means never."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, ForeignKey, Index, LargeBinary, String, Table, Text

from moduai.store.database import metadata

organisations = Table(
    "organisations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("region", Text, nullable=False),
    Column("zone", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("digest", LargeBinary(32), nullable=False, unique=True),
    Column("prefix", String(12), nullable=False),
    Column("name", Text, nullable=False),
    Column("organisation", Text, ForeignKey(organisations.c.id), nullable=False),
    Column("subject", Text, nullable=False),
    Column("service_class", Text, nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("region", Text, nullable=False),
    Column("zone", Text, nullable=False),
    Column("group", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger, nullable=False),
    Index(None, "organisation"),
    Index(None, "prefix"),
)
"""``digest`` is SHA-256 of the key: the key itself is nowhere. ``prefix`` is its first 12 characters."""
