"""Tables of organisations, people, keys and what is recorded. Times are Unix seconds; 0 means never."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Boolean, Column, ForeignKey, Index, LargeBinary, String, Table, Text

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

people = Table(
    "people",
    metadata,
    Column("id", Text, primary_key=True),
    Column("organisation", Text, ForeignKey(organisations.c.id), nullable=False),
    Column("role", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("region", Text, nullable=False),
    Column("group", Text, nullable=False),
    Column("history", Boolean, nullable=False),
    Column("language", Text, nullable=False),
    Column("sealed_profile", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("seen_on", BigInteger, nullable=False),
    Index(None, "organisation"),
)
"""``sealed_profile``: name and address, sealed with the person's own key. ``seen_on``: a day, not a time."""

deletions = Table(
    "deletions",
    metadata,
    Column("person", Text, primary_key=True),
    Column("at", BigInteger, nullable=False),
)
"""Accounts that were deleted: replayed after a restore."""

identities = Table(
    "identities",
    metadata,
    Column("digest", LargeBinary(32), primary_key=True),
    Column("person", Text, ForeignKey(people.c.id), nullable=False),
    Column("issuer", Text, nullable=False),
    Column("password", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index(None, "person"),
)
"""How a person signs in. ``digest`` is a keyed digest of the issuer and its name for the person."""

sessions = Table(
    "sessions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("digest", LargeBinary(32), nullable=False, unique=True),
    Column("previous", LargeBinary(32), nullable=False),
    Column("person", Text, ForeignKey(people.c.id), nullable=False),
    Column("device", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("rotated_at", BigInteger, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Index(None, "person"),
    Index(None, "previous"),
)
"""``digest`` is SHA-256 of the cookie; ``previous`` that of the one before its rotation (or empty)."""

invitations = Table(
    "invitations",
    metadata,
    Column("digest", LargeBinary(32), primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("role", Text, nullable=False),
    Column("organisation", Text, ForeignKey(organisations.c.id), nullable=False),
    Column("note", Text, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("used_by", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("used_at", BigInteger, nullable=False),
)

reports = Table(
    "reports",
    metadata,
    Column("id", Text, primary_key=True),
    Column("person", Text, nullable=False),
    Column("turn", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("handled_by", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("handled_at", BigInteger, nullable=False),
    Index(None, "state", "created_at"),
)
"""``sealed``: what the reporter showed (question, answer, remark); ``person`` is empty for a guest's."""

looks = Table(
    "looks",
    metadata,
    Column("id", Text, primary_key=True),
    Column("staff", Text, nullable=False),
    Column("person", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("used_at", BigInteger, nullable=False),
    Index(None, "person"),
)
"""Leave that staff took to read one person's text, with the reason that the person is shown."""

audit = Table(
    "audit",
    metadata,
    Column("writer", Text, primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("previous", LargeBinary(32), nullable=False),
    Column("hash", LargeBinary(32), nullable=False),
    Index(None, "at"),
    Index(None, "target"),
)
"""One chain a writer; ``at`` is in microseconds; ``detail`` is canonical JSON without any person's text."""

audit_roots = Table(
    "audit_roots",
    metadata,
    Column("day", Text, primary_key=True),
    Column("heads", Text, nullable=False),
    Column("root", LargeBinary(32), nullable=False),
    Column("key", Text, nullable=False),
    Column("signature", LargeBinary, nullable=False),
)

quotas = Table(
    "quotas",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("tokens", BigInteger, nullable=False),
    Column("each", Text, nullable=False),
    Column("set_by", Text, nullable=False),
    Column("set_at", BigInteger, nullable=False),
)
"""Limits that staff set. ``owner``: the id of an organisation, a key or a subject; ``each``: day or month."""

quota_books = Table(
    "quota_books",
    metadata,
    Column("since", Text, primary_key=True),
    Column("owner", Text, primary_key=True),
    Column("used", BigInteger, nullable=False),
    Column("leases", JSON, nullable=False),
)
"""What was used of a limit in one day or month; ``leases``: by gateway, tokens and until when."""
