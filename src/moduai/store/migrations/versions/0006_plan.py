"""Proposals to change the country's plan."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "proposals",
        *(_text(name) for name in ("id", "pack")),
        sa.Column("rows", sa.JSON, nullable=False),
        *(_text(name) for name in ("reason", "state", "made_by")),
        _time("made_at"),
        _text("decided_by"),
        _time("decided_at"),
        _text("note"),
        sa.PrimaryKeyConstraint("id", name="pk_proposals"),
    )
    op.create_index("ix_proposals_pack_state", "proposals", ["pack", "state"])


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def _time(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False)
