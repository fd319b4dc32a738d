"""Usage that a version from before hours were summed up (0006) still loads into PostgreSQL.

Its loader opens no hour and knows of no day that is closed, so what it brings beside newer ones would be in
no report, or twice. A trigger does both for it. Newer versions say that they do it themselves, and it costs
them nothing. On SQLite nobody loads beside an upgrade (`modu reload` refuses it).
"""

from alembic import op

revision = "0008"
down_revision = "0007"

FUNCTION = """
    CREATE OR REPLACE FUNCTION open_hour() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.at < (SELECT at FROM kept_from WHERE "table" = 'usage' FOR SHARE) THEN
            RAISE check_violation USING MESSAGE = 'the rows of this day are deleted';
        END IF;
        INSERT INTO open_hours VALUES (NEW.at - NEW.at % 3600000000, 'older')
            ON CONFLICT (hour, loader) DO UPDATE SET loader = excluded.loader;
        RETURN NULL;
    END $$
"""
TRIGGER = """
    CREATE TRIGGER open_hour AFTER INSERT ON usage FOR EACH ROW
    WHEN (current_setting('modu.opens_hours', true) IS DISTINCT FROM 'yes') EXECUTE FUNCTION open_hour()
"""


def upgrade() -> None:
    """Make the trigger."""
    if op.get_context().dialect.name == "postgresql":
        op.execute(FUNCTION)
        op.execute(TRIGGER)
