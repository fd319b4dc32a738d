"""Tables of public knowledge. Times are Unix seconds; 0 means never."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
)

from moduai.store.database import metadata

collections = Table(
    "collections",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("licence", Text, nullable=False),
    Column("ministry", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("done", Integer, nullable=False),
    Column("total", Integer, nullable=False),
    Column("error", Text, nullable=False),
    Column("refused", JSON, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("tried_at", BigInteger, nullable=False),
)
"""``done`` of ``total`` documents of the reading that runs, or ran last; ``refused`` is what it could not
read (at most ``store.MOST_REFUSED``); ``updated_at`` is when one last came to its end, ``tried_at`` when one
last ended, well or badly.
"""

documents = Table(
    "documents",
    metadata,
    Column("id", Text, primary_key=True),
    Column("collection", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("passages", Integer, nullable=False),
    Column("digest", Text, nullable=False),
    Column("removed_at", BigInteger, nullable=False),
    Column("changed", BigInteger, nullable=False, unique=True),
    UniqueConstraint("collection", "key"),
)
"""``digest`` is of the bytes that were read last, or their source's own mark. ``changed`` grows with every
change of any document. A removed one keeps its bare row, without any text, so that who follows the changes
hears of it, and so that its version numbers are never used again.
"""

versions = Table(
    "document_versions",
    metadata,
    Column("document", Text, ForeignKey(documents.c.id), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("retrieved_at", BigInteger, nullable=False),
    Column("facts", JSON, nullable=False),
    Column("text", LargeBinary, nullable=False),
    Column("passages", LargeBinary, nullable=False),
)
"""``text`` (UTF-8) and ``passages`` (msgpack) are compressed with zlib. Rows are never changed."""
