"""Runs of words have bits of their own in the blocks of names.

What the names of a block have is not read again: it may hold anything, until it is split.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_EMPTY = bytes(1024)
BYTES = 2048


def upgrade() -> None:
    """Write the blocks anew; only SQLite reads them."""
    blocks = sa.table("name_blocks", sa.column("grams", sa.LargeBinary()))
    is_empty = blocks.c.grams == _EMPTY
    op.execute(
        blocks.update().values(grams=sa.case((is_empty, bytes(BYTES)), else_=b"\xff" * BYTES))
    )
