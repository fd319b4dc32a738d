"""Limits for a day or a month, and what was used of them."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Nobody has one."""
    op.create_table(
        "quotas",
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("tokens", sa.BigInteger, nullable=False),
        sa.Column("each", sa.Text, nullable=False),
        sa.Column("set_by", sa.Text, nullable=False),
        sa.Column("set_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("owner", name="pk_quotas"),
    )
    op.create_table(
        "quota_books",
        sa.Column("since", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("used", sa.BigInteger, nullable=False),
        sa.Column("leases", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("since", "owner", name="pk_quota_books"),
    )
