"""People: accounts, sign-in, sessions, conversations, reports, audit, switches."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the tables."""
    _people()
    _sign_in()
    _history()
    _care()
    _audit()


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False)


def _people() -> None:
    op.create_table(
        "people",
        *(_text(name) for name in ("id", "organisation", "role", "state", "region", "group")),
        sa.Column("history", sa.Boolean, nullable=False),
        _text("language"),
        sa.Column("sealed_profile", sa.LargeBinary, nullable=False),
        *(_number(name) for name in ("created_at", "seen_on")),
        sa.PrimaryKeyConstraint("id", name="pk_people"),
        sa.ForeignKeyConstraint(
            ["organisation"], ["organisations.id"], name="fk_people_organisation_organisations"
        ),
    )
    op.create_index("ix_people_organisation", "people", ["organisation"])
    op.create_table(
        "deletions",
        _text("person"),
        _number("at"),
        sa.PrimaryKeyConstraint("person", name="pk_deletions"),
    )


def _sign_in() -> None:
    op.create_table(
        "identities",
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        _text("person"),
        _text("issuer"),
        _text("password"),
        _number("created_at"),
        sa.PrimaryKeyConstraint("digest", name="pk_identities"),
        sa.ForeignKeyConstraint(["person"], ["people.id"], name="fk_identities_person_people"),
    )
    op.create_index("ix_identities_person", "identities", ["person"])
    op.create_table(
        "sessions",
        _text("id"),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("previous", sa.LargeBinary(32), nullable=False),
        _text("person"),
        _text("device"),
        *(_number(name) for name in ("created_at", "rotated_at", "seen_at", "expires_at")),
        sa.PrimaryKeyConstraint("id", name="pk_sessions"),
        sa.UniqueConstraint("digest", name="uq_sessions_digest"),
        sa.ForeignKeyConstraint(["person"], ["people.id"], name="fk_sessions_person_people"),
    )
    op.create_index("ix_sessions_person", "sessions", ["person"])
    op.create_index("ix_sessions_previous", "sessions", ["previous"])
    op.create_table(
        "invitations",
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        *(_text(name) for name in ("id", "role", "organisation", "note", "made_by", "used_by")),
        *(_number(name) for name in ("created_at", "expires_at", "used_at")),
        sa.PrimaryKeyConstraint("digest", name="pk_invitations"),
        sa.UniqueConstraint("id", name="uq_invitations_id"),
        sa.ForeignKeyConstraint(
            ["organisation"], ["organisations.id"], name="fk_invitations_organisation_organisations"
        ),
    )


def _history() -> None:
    op.create_table(
        "conversations",
        *(_text(name) for name in ("id", "person")),
        sa.Column("sealed_title", sa.LargeBinary, nullable=False),
        *(_number(name) for name in ("created_at", "updated_at", "deleted_at")),
        sa.PrimaryKeyConstraint("id", name="pk_conversations"),
        sa.ForeignKeyConstraint(["person"], ["people.id"], name="fk_conversations_person_people"),
    )
    op.create_index("ix_conversations_person_updated_at", "conversations", ["person", "updated_at"])
    op.create_table(
        "turns",
        *(_text(name) for name in ("id", "conversation", "person")),
        _number("at"),
        *(_text(name) for name in ("model", "engine", "outcome", "consent", "parent")),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_turns"),
        sa.ForeignKeyConstraint(
            ["conversation"], ["conversations.id"], name="fk_turns_conversation_conversations"
        ),
    )
    op.create_index("ix_turns_conversation_at", "turns", ["conversation", "at"])
    op.create_index("ix_turns_person_at", "turns", ["person", "at"])


def _care() -> None:
    op.create_table(
        "reports",
        *(_text(name) for name in ("id", "person", "turn", "model", "reason", "state", "handled_by", "note")),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        *(_number(name) for name in ("created_at", "handled_at")),
        sa.PrimaryKeyConstraint("id", name="pk_reports"),
    )
    op.create_index("ix_reports_state_created_at", "reports", ["state", "created_at"])
    op.create_table(
        "looks",
        *(_text(name) for name in ("id", "staff", "person", "reason")),
        *(_number(name) for name in ("created_at", "expires_at", "used_at")),
        sa.PrimaryKeyConstraint("id", name="pk_looks"),
    )
    op.create_index("ix_looks_person", "looks", ["person"])
    op.create_table(
        "switches",
        _text("name"),
        sa.Column("value", sa.JSON, nullable=False),
        _text("set_by"),
        _number("set_at"),
        sa.PrimaryKeyConstraint("name", name="pk_switches"),
    )


def _audit() -> None:
    op.create_table(
        "audit",
        _text("writer"),
        _number("number"),
        _number("at"),
        *(_text(name) for name in ("actor", "action", "target", "detail")),
        sa.Column("previous", sa.LargeBinary(32), nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.PrimaryKeyConstraint("writer", "number", name="pk_audit"),
    )
    op.create_index("ix_audit_at", "audit", ["at"])
    op.create_index("ix_audit_target", "audit", ["target"])
    op.create_table(
        "audit_roots",
        _text("day"),
        _text("heads"),
        sa.Column("root", sa.LargeBinary(32), nullable=False),
        _text("key"),
        sa.Column("signature", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("day", name="pk_audit_roots"),
    )
