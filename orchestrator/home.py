"""The home directory and the names in it that clients and service share. Loads nothing heavy."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from pathlib import Path

from orchestrator.errors import InvalidSpec

SOCKET_PATH_MAX_BYTES = 100  # sun_path holds 104 (macOS) to 108 (Linux) bytes
TOKEN_FILE = "token"  # noqa: S105  # a file name


def home_directory() -> Path:
    """Return ``$ORCHESTRATOR_HOME``, by default ``~/.orchestrator``."""
    value = os.environ.get("ORCHESTRATOR_HOME")
    return Path(value).expanduser().absolute() if value else Path.home() / ".orchestrator"


def prepare_home(home: Path) -> Path:
    """Create the home directory, readable by its owner only, and return it.

    Raises:
        InvalidSpec: It cannot be used.
    """
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise InvalidSpec(
            f"ORCHESTRATOR_HOME must be a directory that can be written, got {str(home)!r}: "
            f"{error.strerror}; choose another with --home or ORCHESTRATOR_HOME"
        ) from error
    if not os.access(home, os.W_OK | os.X_OK):
        raise InvalidSpec(
            f"ORCHESTRATOR_HOME must be writable, got {str(home)!r}; choose another one"
        )
    return home


def socket_path(home: Path, name: str) -> Path:
    """Return where a unix socket of this home lives.

    In the home directory, unless its path is too long for a socket; then in a directory of the
    same user below the system's temporary directory.
    """
    path = home / name
    if len(os.fsencode(path)) <= SOCKET_PATH_MAX_BYTES:
        return path
    digest = hashlib.sha256(os.fsencode(home.absolute())).hexdigest()[:16]
    directory = Path(tempfile.gettempdir()) / f"orchestrator-{os.getuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    if directory.stat().st_uid != os.getuid():
        raise InvalidSpec(
            f"{directory} must belong to you; remove it, or use a home with a shorter path"
        )
    return directory / f"{digest}-{name}"


def default_python() -> str:
    """Return the interpreter a user means: that of the active virtual environment, else ours."""
    active = os.environ.get("VIRTUAL_ENV")
    candidate = Path(active) / "bin" / "python" if active else None
    return str(candidate) if candidate and candidate.exists() else sys.executable
