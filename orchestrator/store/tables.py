"""The rows. Times are microseconds since the epoch; JSON is text.

``jobs`` holds what lists, filters and the driver need, in short rows; what only the description
of one job needs is in ``job_details``. A migration goes with every change here; a test compares
the two.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)

REVISION = "0003"
"""The newest migration."""
BLOCK_SIZE = 1024
"""Jobs per row of ``job_blocks``."""

METADATA = MetaData()

_Number = BigInteger().with_variant(Integer(), "sqlite")
_Time = BigInteger().with_variant(Integer(), "sqlite")
# Bytewise order in both databases.
_Key = Text(collation="C").with_variant(Text(), "sqlite")

meta = Table(
    "meta",
    METADATA,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

# Jobs per status, and the last number given out.
counters = Table(
    "counters",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

jobs = Table(
    "jobs",
    METADATA,
    Column("number", _Number, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("name_key", _Key, nullable=False),
    Column("arn", Text, nullable=False),
    Column("backend", Text, nullable=False),
    Column("turn", Integer, nullable=False),  # lower first: minus the priority
    Column("scope", Text),
    Column("live", Integer, nullable=False),  # 1 until the job has ended
    Column("status", _Key, nullable=False),
    Column("secondary_status", Text, nullable=False),
    Column("end_reason", Text),
    Column("failure_reason", Text),
    Column("message", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("stop_intent", Text),
    Column("stop_requested_us", _Time),
    Column("stop_grace_seconds", Float),
    Column("created_us", _Time, nullable=False),
    Column("created_max_us", _Time, nullable=False),  # of this job and all before it
    Column("modified_us", _Time, nullable=False),
    Column("training_started_us", _Time),
    Column("training_ended_us", _Time),
    Column("ended_us", _Time),
    Column("accept_id", BigInteger, nullable=False),  # tells our own lost commit from another's
    Index("ix_jobs_name_key", "name_key", unique=True),
    Index("ix_jobs_status_number", "status", "number"),
    Index("ix_jobs_status_name_key", "status", "name_key"),
    Index("ix_jobs_created_max", "created_max_us", "number"),
    Index("ix_jobs_modified", "modified_us", "number"),
    Index(
        "ix_jobs_live",
        "scope",
        "turn",
        "number",
        sqlite_where=text("live = 1"),
    ),
)

job_details = Table(
    "job_details",
    METADATA,
    Column("number", _Number, primary_key=True, autoincrement=False),
    Column("spec", Text, nullable=False),
    Column("notes", Text),
    Column("artifacts", Text),
    Column("final_metrics", Text),
    Column("explanation", Text),
)

# The newest modification among BLOCK_SIZE jobs with neighbouring numbers: lets a list skip them.
job_blocks = Table(
    "job_blocks",
    METADATA,
    Column("block", _Number, primary_key=True, autoincrement=False),
    Column("modified_max_us", _Time, nullable=False),
)

# What a stretch of the names, in their order, may hold: see name_blocks.py.
name_blocks = Table(
    "name_blocks",
    METADATA,
    Column("first_key", _Key, primary_key=True),
    Column("first_number", _Number, nullable=False),
    Column("last_number", _Number, nullable=False),
    Column("grams", LargeBinary, nullable=False),
)

transitions = Table(
    "transitions",
    METADATA,
    Column("number", _Number, primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("status", Text, nullable=False),
    Column("started_us", _Time, nullable=False),
    Column("ended_us", _Time),
    Column("message", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    sqlite_with_rowid=False,
)

hosts = Table(
    "hosts",
    METADATA,
    Column("number", _Number, primary_key=True, autoincrement=False),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("rank", Integer, primary_key=True, autoincrement=False),
    Column("host", Text, nullable=False),
    Column("instance_group", Text, nullable=False),
    Column("instance_type", Text, nullable=False),
    Column("engine", Text),
    Column("handle", Text),
    Column("gpus", Text, nullable=False),
    Column("outcome", Text),
    Column("exit_code", Integer),
    sqlite_with_rowid=False,
)

tags = Table(
    "tags",
    METADATA,
    Column("number", _Number, primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("key", Text, nullable=False),
    Column("value", Text, nullable=False),
    sqlite_with_rowid=False,
)

idempotency_keys = Table(
    "idempotency_keys",
    METADATA,
    Column("key", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("number", _Number, nullable=False),
    Index("ix_idempotency_keys_number", "number"),
)

drivers = Table(
    "drivers",
    METADATA,
    Column("scope", Text, primary_key=True),
    Column("owner", Text),  # NULL: nobody
    Column("token", BigInteger, nullable=False),
    Column("expires_us", _Time, nullable=False),
    Column("applies", BigInteger, nullable=False),  # transactions of apply, counted
)

resource_leases = Table(
    "resource_leases",
    METADATA,
    Column("id", _Number, primary_key=True),
    Column("scope", Text, nullable=False),
    Column("number", _Number, nullable=False),
    Column("rank", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("unit", Integer, nullable=False),
    Column("amount", Float, nullable=False),
    Column("shared", Integer, nullable=False),
    Index("ix_resource_leases_number", "number"),
    Index("ix_resource_leases_scope", "scope"),
    Index(
        "ix_resource_leases_one_gpu",
        "scope",
        "unit",
        unique=True,
        sqlite_where=text("kind = 'gpu' AND shared = 0"),
    ),
)

# Few, and short-lived: what is not asked for by lists is in one JSON text.
tuning_jobs = Table(
    "tuning_jobs",
    METADATA,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("name", Text, nullable=False),
    Column("name_key", _Key, nullable=False),
    Column("arn", Text, nullable=False),
    Column("scope", Text),
    Column("live", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("created_us", _Time, nullable=False),
    Column("modified_us", _Time, nullable=False),
    Column("spec", Text, nullable=False),
    Column("details", Text, nullable=False),
    Column("idempotency_key", Text),
    Column("fingerprint", Text),
    Index("ix_tuning_jobs_name_key", "name_key", unique=True),
    Index("ix_tuning_jobs_idempotency_key", "idempotency_key", unique=True),
    Index("ix_tuning_jobs_live", "scope", "number", sqlite_where=text("live = 1")),
    sqlite_autoincrement=True,  # numbers are never used again
)

# The training jobs that a tuning job began.
tuned_jobs = Table(
    "tuned_jobs",
    METADATA,
    Column("number", _Number, primary_key=True, autoincrement=False),
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("job_key", _Key, nullable=False),
    Column("details", Text, nullable=False),
    Index("ix_tuned_jobs_job_key", "job_key"),
    sqlite_with_rowid=False,
)

GRAMS = "job_grams"
_GRAMS_SQLITE = (
    f"CREATE VIRTUAL TABLE {GRAMS} USING fts5(grams, content='', detail=none, columnsize=0, "
    "tokenize=\"ascii tokenchars '-'\")"
)
_GRAMS_POSTGRESQL = "CREATE INDEX ix_jobs_name_trigrams ON jobs USING gin (name_key gin_trgm_ops)"


def complete_for_postgresql() -> None:
    """Say for PostgreSQL which indexes are partial; to say so above would load its dialect."""
    for table in METADATA.tables.values():
        for index in table.indexes:
            where = index.dialect_options["sqlite"]["where"]
            if where is not None:
                index.dialect_options["postgresql"]["where"] = where


def create_name_search(connection: Connection) -> None:
    """Make what finds parts of names: n-grams in FTS5; pg_trgm where it may be used."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(_GRAMS_SQLITE)
        return
    available = connection.exec_driver_sql(
        "SELECT 1 FROM pg_available_extensions WHERE name = 'pg_trgm'"
    ).first()
    may = connection.exec_driver_sql(
        "SELECT has_database_privilege(current_database(), 'CREATE')"
    ).scalar()
    if available and may:
        connection.exec_driver_sql("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        connection.exec_driver_sql(_GRAMS_POSTGRESQL)
