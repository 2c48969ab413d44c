"""What Alembic runs: on the connection it was given, in the transaction that is open there."""

from __future__ import annotations

from alembic import context

from orchestrator.store.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    transactional_ddl=False,  # the caller commits
)
context.run_migrations()
