"""Public knowledge: collections, their documents, and every version of each."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "collections",
        *(_text(name) for name in ("id", "name", "kind", "address", "licence", "ministry", "state")),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("done", "total")),
        _text("error"),
        sa.Column("refused", sa.JSON, nullable=False),
        *(_number(name) for name in ("created_at", "updated_at")),
        sa.PrimaryKeyConstraint("id", name="pk_collections"),
        sa.UniqueConstraint("name", name="uq_collections_name"),
    )
    op.create_table(
        "documents",
        *(_text(name) for name in ("id", "collection", "key")),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("version", "passages")),
        _text("digest"),
        *(_number(name) for name in ("removed_at", "changed")),
        sa.PrimaryKeyConstraint("id", name="pk_documents"),
        sa.UniqueConstraint("collection", "key", name="uq_documents_collection_key"),
        sa.UniqueConstraint("changed", name="uq_documents_changed"),
    )
    op.create_table(
        "document_versions",
        _text("document"),
        sa.Column("version", sa.Integer, nullable=False),
        _text("digest"),
        _number("retrieved_at"),
        sa.Column("facts", sa.JSON, nullable=False),
        *(sa.Column(name, sa.LargeBinary, nullable=False) for name in ("text", "passages")),
        sa.PrimaryKeyConstraint("document", "version", name="pk_document_versions"),
        sa.ForeignKeyConstraint(
            ["document"], ["documents.id"], name="fk_document_versions_document_documents"
        ),
    )


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False)
