"""How far the pressure went with each request, in the ledger."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Rows from before say nothing of it."""
    op.add_column("usage", sa.Column("step", sa.Text, nullable=False, server_default=""))
