"""Tables of conversations. Times are Unix seconds, a turn's in microseconds; 0 means never."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, LargeBinary, Table, Text

from moduai.accounts.tables import people
from moduai.store.database import metadata

conversations = Table(
    "conversations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("person", Text, ForeignKey(people.c.id), nullable=False),
    Column("sealed_title", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("deleted_at", BigInteger, nullable=False),
    Index(None, "person", "updated_at"),
)
"""A deleted one stays as a bare row for a day, so that an answer which still runs cannot bring it back."""

turns = Table(
    "turns",
    metadata,
    Column("id", Text, primary_key=True),
    Column("conversation", Text, ForeignKey(conversations.c.id), nullable=False),
    Column("person", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("model", Text, nullable=False),
    Column("engine", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("consent", Text, nullable=False),
    Column("parent", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Index(None, "conversation", "at"),
    Index(None, "person", "at"),
)
"""``sealed``: question and answer. ``parent``: the turn it follows, empty for the first; an edited
question or a new answer is another turn with the same parent, and the newest of them is shown."""
