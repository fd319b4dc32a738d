"""When a collection of documents was last read, well or badly: from there the next reading is counted."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """What was read came to its end when it was tried."""
    op.add_column("collections", sa.Column("tried_at", sa.BigInteger, nullable=False, server_default="0"))
    op.execute("UPDATE collections SET tried_at = updated_at")
