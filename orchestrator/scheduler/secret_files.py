"""Where the values of secrets are while jobs need them; their store and their folders have none."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from orchestrator.backends.staging import read_json
from orchestrator.blobs.files import PARTIAL_MARK, partial_file, sync_directory

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SECRETS_DIRECTORY = "secrets"
"""In the home directory; in it there is a folder for each kind of job."""
_SUFFIX = ".json"


class SecretFiles:
    """A file for each job of one kind that has secrets, readable by the owner only.

    Args:
        directory: Where they are; made when it is needed.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def prepare(self) -> None:
        """Make the directory, closed to others."""
        for directory in (self.directory.parent, self.directory):
            if not directory.is_dir():
                with suppress(FileExistsError):  # another process was first
                    directory.mkdir(mode=0o700)
                sync_directory(directory.parent)

    def write(self, name: str, values: Mapping[str, str]) -> None:
        """Keep the values of a job, or replace them; durable on return."""
        self.prepare()
        target = self._path(name)
        with partial_file(target) as partial:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(dict(values), file)
                file.flush()
                os.fsync(descriptor)
            partial.replace(target)
        sync_directory(self.directory)

    def read(self, name: str) -> dict[str, str]:
        """Return the values of a job; empty when there are none any more."""
        return read_json(self._path(name)) or {}

    def forget(self, name: str) -> None:
        """Remove the values of a job. Idempotent."""
        self._path(name).unlink(missing_ok=True)

    def forget_partial(self) -> None:
        """Remove what was being written when a process was killed; nobody may write meanwhile."""
        for path in self._all():
            if path.name.startswith(f".{PARTIAL_MARK}"):
                path.unlink(missing_ok=True)

    def has(self, name: str) -> bool:
        """Return whether there are values of a job."""
        return self._path(name).exists()

    def names(self) -> list[str]:
        """Return the jobs that there are values of."""
        return sorted(path.stem for path in self._all() if path.suffix == _SUFFIX)

    def is_empty(self) -> bool:
        """Return whether there are values of no job, nor parts of any."""
        return not self.names() and not any(
            path.name.startswith(f".{PARTIAL_MARK}") for path in self._all()
        )

    def _all(self) -> list[Path]:
        return list(self.directory.iterdir()) if self.directory.is_dir() else []

    def _path(self, name: str) -> Path:
        return self.directory / f"{name}{_SUFFIX}"
