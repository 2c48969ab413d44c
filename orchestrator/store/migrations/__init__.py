"""Alembic's migrations. Imported only when an older database is upgraded."""
