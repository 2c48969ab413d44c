"""Fixtures of the runtime's tests: every test drives the real supervisor in a real process."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.hosts import Host, need_fence

FENCES = ("none", "bubblewrap", "namespaces")


@pytest.fixture
def new_host(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    """Make host directories; what still runs at the end of the test is killed."""
    made: list[Host] = []

    def make(**options: Any) -> Host:
        made.append(Host(tmp_path / f"host{len(made)}" / "algo-1", **options))
        return made[-1]

    yield make
    for host in made:
        host.close()


@pytest.fixture
def host(new_host: Callable[..., Host]) -> Host:
    """A host without a sandbox."""
    return new_host()


@pytest.fixture(params=FENCES)
def fenced(request: pytest.FixtureRequest, new_host: Callable[..., Host]) -> Host:
    """A host in each kind of sandbox."""
    need_fence(request.param)
    return new_host(fence=request.param)


def find_python39() -> str | None:
    """Return a Python 3.9 interpreter, if this machine has one."""
    named = os.environ.get("ORCHESTRATOR_TEST_PYTHON39")
    installed = sorted(glob.glob(os.path.expanduser("~/.pyenv/versions/3.9*/bin/python")))  # noqa: PTH111, PTH207
    candidates = [named, *installed, shutil.which("python3.9")]
    for path in candidates:
        if path and works(path):
            return path
    return None


def works(python: str) -> bool:
    check = "import sys; sys.exit(sys.version_info[:2] != (3, 9))"
    return subprocess.run([python, "-c", check], check=False, capture_output=True).returncode == 0


@pytest.fixture(params=["this", "3.9"])
def interpreter(request: pytest.FixtureRequest) -> str:
    """This interpreter, and the oldest one that the runtime must work with."""
    if request.param == "this":
        return sys.executable
    python = find_python39()
    if python is None:
        pytest.skip("no Python 3.9 here; ORCHESTRATOR_TEST_PYTHON39 may name one")
    return python
