"""Usage by day on PostgreSQL, and summed by the hour on both.

No row is rewritten. On PostgreSQL the table as it was becomes the part of everything before the day after
tomorrow. What takes time there is one unique index and one look at each row; both may be made beforehand,
while the service runs (docs/operate/retention.md).
"""

import time

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

DAY = 86_400_000_000
INDEXES = {"ix_usage_at": "at", "ix_usage_key_at": "key, at", "ix_usage_organisation_at": "organisation, at"}

OPEN = """
    WITH RECURSIVE hours (at) AS (
        SELECT min(at) FROM usage
        UNION ALL
        SELECT (SELECT min(u.at) FROM usage u WHERE u.at >= hours.at - hours.at % 3600000000 + 3600000000)
        FROM hours WHERE hours.at IS NOT NULL
    )
    INSERT INTO open_hours SELECT at - at % 3600000000, 'upgrade' FROM hours WHERE at IS NOT NULL
"""
"""The hours that have rows, found from one to the next by the index, not by reading every row."""


def upgrade() -> None:
    """Every hour that has rows is open: it is summed up later, by the metering process."""
    if op.get_context().dialect.name == "postgresql":
        _by_day()
    texts = ("subject", "organisation", "key", "model", "engine", "region", "group", "outcome", "source")
    sums = (
        *("requests", "tokens_in", "tokens_cached", "tokens_out", "queue_us", "first_tokens"),
        *("first_token_us", "duration_us", "accelerator_us", "energy_mj"),
    )
    op.create_table(
        "usage_hours",
        _number("hour"),
        *(sa.Column(name, sa.Text, nullable=False) for name in texts),
        *(_number(name) for name in sums),
    )
    op.create_index("ix_usage_hours_hour", "usage_hours", ["hour"])
    op.create_table(
        "open_hours",
        _number("hour"),
        sa.Column("loader", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("hour", "loader", name="pk_open_hours"),
    )
    op.execute(OPEN)
    op.create_table(
        "kept_from",
        sa.Column("table", sa.Text, nullable=False),
        _number("at"),
        sa.PrimaryKeyConstraint("table", name="pk_kept_from"),
    )
    op.execute("INSERT INTO kept_from VALUES ('usage', 0)")


def _by_day() -> None:
    """``usage`` in parts: all there is, a day each (made by the metering process), and what fits in none."""
    latest = op.get_bind().execute(sa.text("SELECT coalesce(max(at), 0) FROM usage")).scalar_one()
    end = max(int(time.time() * 1_000_000) + DAY, latest) // DAY * DAY + DAY
    past = "usage_to_" + time.strftime("%Y%m%d", time.gmtime(end // 1_000_000))
    op.execute(f"ALTER TABLE usage RENAME TO {past}")
    for name in INDEXES:
        op.execute(f"ALTER INDEX {name} RENAME TO {name}_past")
    op.execute(f"CREATE UNIQUE INDEX IF NOT EXISTS usage_id_at ON {past} (id, at)")
    op.execute(f"ALTER TABLE {past} DROP CONSTRAINT pk_usage")
    op.execute(f"ALTER TABLE {past} ADD CONSTRAINT pk_usage_past PRIMARY KEY USING INDEX usage_id_at")
    op.execute(f"CREATE TABLE usage (LIKE {past} INCLUDING DEFAULTS) PARTITION BY RANGE (at)")
    op.execute("ALTER TABLE usage ADD CONSTRAINT pk_usage PRIMARY KEY (id, at)")
    for name, columns in INDEXES.items():
        op.execute(f"CREATE INDEX {name} ON usage ({columns})")
    op.execute(f"ALTER TABLE usage ATTACH PARTITION {past} FOR VALUES FROM (MINVALUE) TO ({end})")
    op.execute("CREATE TABLE usage_default PARTITION OF usage DEFAULT")


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False)
