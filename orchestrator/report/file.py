"""Where a report is put: one file, whole or not at all, for its owner only."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from orchestrator.errors import InvalidSpec

if TYPE_CHECKING:
    from pathlib import Path


def check_place(path: Path) -> None:
    """Check that a file can be put there: no directory is made for it, the name may be mistyped.

    Raises:
        InvalidSpec: Its directory does not exist, or it is one itself.
    """
    if path.is_dir():
        raise InvalidSpec(
            f"a report must be a file, {str(path)!r} is a directory; add the file's name"
        )
    if not path.parent.is_dir():
        raise InvalidSpec(
            f"a report must be put into a directory that exists, got {str(path)!r}; make it first with "
            f"`mkdir -p {shlex.quote(str(path.parent))}`, or choose another place"
        )


def write(path: Path, text: str) -> None:
    """Put a file in place whole, readable by its owner only: logs may say more than they should.

    Raises:
        InvalidSpec: Its directory does not exist.
    """
    check_place(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
