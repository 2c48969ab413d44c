"""The heart of the runtime's tests again, with the oldest Python that images may bring."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.conftest import find_python39
from tests.runtime.hosts import Host, need_fence
from tests.runtime.test_archive import TestAnArchive  # noqa: F401 -- collected again
from tests.runtime.test_environment import TestTheProgram  # noqa: F401
from tests.runtime.test_exit import TestAnExitRecord  # noqa: F401
from tests.runtime.test_feed import TestEpochs, TestFailures, TestForms, TestTheEnd  # noqa: F401
from tests.runtime.test_limits import TestWithAControlGroup, groups_work  # noqa: F401
from tests.runtime.test_log import TestInstallation, TestTheLog  # noqa: F401
from tests.runtime.test_records import TestInAJob  # noqa: F401
from tests.runtime.test_starter import Starter, TestAForkedSupervisor  # noqa: F401
from tests.runtime.test_stop import TestMaxRuntime, TestWhenTheProgramHasEnded  # noqa: F401
from tests.runtime.test_volume import TestAJob  # noqa: F401


@pytest.fixture(scope="module")
def python39() -> str:
    python = find_python39()
    if python is None:
        pytest.skip("no Python 3.9 here; ORCHESTRATOR_TEST_PYTHON39 may name one")
    return python


@pytest.fixture
def new_host(tmp_path: Path, python39: str) -> Iterator[Callable[..., Host]]:
    """Make host directories whose supervisor and program run on Python 3.9."""
    made: list[Host] = []

    def make(**options: Any) -> Host:
        directory = tmp_path / f"host{len(made)}" / "algo-1"
        made.append(Host(directory, python=python39, **options))
        return made[-1]

    yield make
    for host in made:
        host.close()


@pytest.fixture
def starter(tmp_path: Path, python39: str) -> Iterator[Starter]:
    """Forks supervisors, on Python 3.9 too."""
    starter = Starter(tmp_path, python=python39)
    yield starter
    starter.end()


@pytest.fixture(params=["none", "namespaces"])
def fenced(request: pytest.FixtureRequest, new_host: Callable[..., Host]) -> Host:
    """A host in each kind of sandbox that is built in Python."""
    need_fence(request.param)
    return new_host(fence=request.param)
