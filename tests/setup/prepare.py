"""Prepare this machine for the whole test suite, and say what is there, what was installed and what cannot be had.

    python -m tests.setup.prepare [sandbox] [postgres] [browser] [docker]

What is missing here only costs tests (they are skipped with the reason), except under CI=true, where it is an error.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence

from tests.setup import apt, engine
from tests.setup.cache import SetupError, say
from tests.setup.images import ensure_images


def sandbox() -> str:
    """bubblewrap, for the process back end."""
    apt.ensure(["bubblewrap"])
    return "bubblewrap for sandboxed processes"


def postgres() -> str:
    """PostgreSQL's server programs; the tests start a private server themselves."""
    apt.ensure(["postgresql"])
    return "PostgreSQL's server programs"


def browser() -> str:
    """Chromium, which looks at the reports; a font comes with it."""
    apt.ensure(["chromium"])
    return "Chromium, without a screen"


def docker() -> str:
    """An engine and the images."""
    own = engine.start()
    ensure_images()
    return "a Docker engine of our own" if own else "this machine's Docker engine"


STEPS: tuple[Callable[[], str], ...] = (sandbox, postgres, browser, docker)


def main(names: Sequence[str] = ()) -> int:
    """Run the named steps, or all, also after one that failed; returns the number of failed ones."""
    failed = 0
    for step in STEPS:
        if names and step.__name__ not in names:
            continue
        started = time.monotonic()
        try:
            ready = step()
        except SetupError as error:
            failed += 1
            say(f"missing: {error}")
        else:
            say(f"ready: {ready} ({time.monotonic() - started:.1f} s)")
    return failed


if __name__ == "__main__":
    failures = main(sys.argv[1:])
    sys.exit(1 if failures and os.environ.get("CI") == "true" else 0)
