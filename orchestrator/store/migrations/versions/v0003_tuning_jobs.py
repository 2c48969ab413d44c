"""Tuning jobs, and the training jobs that each of them began."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_KEY = sa.Text(collation="C").with_variant(sa.Text(), "sqlite")


def upgrade() -> None:
    """Make both tables."""
    op.create_table(
        "tuning_jobs",
        sa.Column("number", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_key", _KEY, nullable=False),
        sa.Column("arn", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=True),
        sa.Column("live", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_us", _NUMBER, nullable=False),
        sa.Column("modified_us", _NUMBER, nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("fingerprint", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("number"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_tuning_jobs_name_key", "tuning_jobs", ["name_key"], unique=True)
    op.create_index(
        "ix_tuning_jobs_idempotency_key", "tuning_jobs", ["idempotency_key"], unique=True
    )
    op.create_index(
        "ix_tuning_jobs_live",
        "tuning_jobs",
        ["scope", "number"],
        unique=False,
        sqlite_where=sa.text("live = 1"),
        postgresql_where=sa.text("live = 1"),
    )
    op.create_table(
        "tuned_jobs",
        sa.Column("number", _NUMBER, autoincrement=False, nullable=False),
        sa.Column("place", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("job_key", _KEY, nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", "place"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_tuned_jobs_job_key", "tuned_jobs", ["job_key"], unique=False)
