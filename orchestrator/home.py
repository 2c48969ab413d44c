"""The home directory and the names in it that clients and service share. Loads nothing heavy."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from orchestrator.errors import InvalidSpec

SOCKET_PATH_MAX_BYTES = 100  # sun_path holds 104 (macOS) to 108 (Linux) bytes
SETTINGS_PREFIX = "ORCHESTRATOR_"
"""Beginning of the names of all variables that set something."""
DRIVER_SOCKET = "driver.sock"
"""Where who drives answers local clients."""
RELAY_DIRECTORY = "relay"
"""Where containers reach the service that is on a loopback address: a socket for each address."""
METRICS_FILE = "metrics.sqlite3"
"""The points of all metrics."""
UNTOLD_DIRECTORY = "untold"
"""A file for each job whose findings may still have to be told to somebody."""
TOKEN_FILE = "token"  # noqa: S105  # a file name
TOKEN_MIN_CHARACTERS = 20


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


def read_token(home: Path) -> str | None:
    """Return the bearer token of a home's service, or None when none was made yet.

    Raises:
        InvalidSpec: The token's file cannot be used.
    """
    path = home / TOKEN_FILE
    try:
        token = path.read_text("ascii").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise _bad_token(path, str(error)) from error
    if len(token) < TOKEN_MIN_CHARACTERS or not token.isprintable() or " " in token:
        raise _bad_token(path, f"{len(token)} characters")
    return token


def ensure_token(home: Path) -> str:
    """Return the bearer token of a home's service; the first call makes it, random, mode 0600.

    Raises:
        InvalidSpec: The token's file cannot be used.
    """
    path = home / TOKEN_FILE
    token = read_token(home)
    if token is None:
        # Written under another name first: nobody may ever read a token that is not whole.
        partial = path.with_name(f".{TOKEN_FILE}.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(partial)
        except FileExistsError:
            pass  # another process was first; its token counts
        finally:
            partial.unlink()
        token = read_token(home)
        assert token is not None
    if path.stat().st_mode & 0o077:
        path.chmod(0o600)
    return token


def _bad_token(path: Path, found: str) -> InvalidSpec:
    return InvalidSpec(
        f"{path} must hold a token of {TOKEN_MIN_CHARACTERS} or more printable characters, got "
        f"{found}; remove the file and start the service again to make a new one"
    )


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


def relay_directory(home: Path) -> Path:
    """Return where the sockets are by which containers reach services of this home; nothing else is."""
    return home / RELAY_DIRECTORY


def relay_name(host: str, port: int) -> str:
    """Return the name in there of the socket of a service on a loopback address."""
    return f"{host}-{port}"


def interpreter(given: str | os.PathLike[str] | None) -> str:
    """Return the absolute path of an interpreter that was named as in a shell.

    A name that is not found stays as it is, for the specification to refuse.
    """
    if given is None:
        return default_python()
    name = os.fspath(given)
    if os.sep in name:
        return str(
            Path(name).expanduser().absolute()
        )  # not resolved: a link may be an environment
    return shutil.which(name) or name


def default_python() -> str:
    """Return the interpreter a user means: that of the active virtual environment, else ours."""
    active = os.environ.get("VIRTUAL_ENV")
    candidate = Path(active) / "bin" / "python" if active else None
    return str(candidate) if candidate and candidate.exists() else sys.executable
