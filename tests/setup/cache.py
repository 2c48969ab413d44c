"""Where the test machine's own things are kept between runs, and the lock that guards them."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class SetupError(Exception):
    """Something the tests want cannot be had on this machine; the message is the reason to show."""


def cache_folder() -> Path:
    """`$ORCHESTRATOR_TEST_CACHE`, else `~/.cache/orchestrator-tests`; made when missing."""
    named = os.environ.get("ORCHESTRATOR_TEST_CACHE")
    folder = Path(named) if named else Path.home() / ".cache" / "orchestrator-tests"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def say(text: str) -> None:
    """Print one line at once, also into a pipe."""
    print(text, flush=True)


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold one machine-wide lock, so that two test runs do not set up the same thing together."""
    with (cache_folder() / f"{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another set-up of {name} ...", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
