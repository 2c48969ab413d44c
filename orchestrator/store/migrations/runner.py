"""Runs migrations on an open transaction; no ini file is needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

if TYPE_CHECKING:
    from sqlalchemy import Connection


def configuration() -> Config:
    """Return Alembic's configuration, for these migrations."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def known_revisions() -> set[str]:
    """Return all revisions that this program knows."""
    script = ScriptDirectory.from_config(configuration())
    return {revision.revision for revision in script.walk_revisions()}


def upgrade(connection: Connection, target: str) -> None:
    """Bring a database to a revision inside the caller's transaction."""
    config = configuration()
    config.attributes["connection"] = connection
    command.upgrade(config, target)
