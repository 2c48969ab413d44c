"""The process back end keeps the contract of all back ends, in every kind of fence."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import orchestrator_runtime
import pytest
from orchestrator_runtime import contract

from orchestrator.backends.base import AttemptContext, Backend
from orchestrator.backends.inputs import Fetch
from orchestrator.backends.process import ProcessBackend
from orchestrator.backends.process_plan import ProcessSettings
from orchestrator.service.runtime import install_runtime
from orchestrator.testing.backend_contract import (
    BackendContract,
    BackendHarness,
    Wish,
    attempt_context,
    write_source,
)


def no_fetch(wanted: Fetch) -> None:
    """No test here has an object channel."""
    raise AssertionError(wanted)


class ProcessHarness(BackendHarness):
    """One home on this machine."""

    def __init__(self, home: Path, isolation: str) -> None:
        self.home = home
        self._jobs = 0
        self._made: list[ProcessBackend] = []  # a replaced driver's children are still ours
        self._settings = ProcessSettings(
            home=home,
            runtime=install_runtime(Path(orchestrator_runtime.__file__).parent, home),
            python=sys.executable,
            isolation=isolation,
        )
        self.backend: Backend = self._new()

    def _new(self) -> ProcessBackend:
        self._made.append(ProcessBackend(self._settings, no_fetch))
        return self._made[-1]

    def restarted(self) -> Backend:
        return self._new()

    def close(self) -> None:
        """Let go of the supervisors of all drivers there were."""
        for backend in self._made:
            backend.close()

    def context(self, wish: Wish) -> AttemptContext:
        self._jobs += 1
        directory = self.home / "jobs" / f"job-{self._jobs}"
        spec = {"source_code": {"digest": "0" * 64, "entry_script": "train.py"}}
        context = attempt_context(directory, wish, spec, number=self._jobs)
        archive = write_source(directory / "source.tar.gz", {"train.py": wish.program.source})
        return AttemptContext(**{**vars(context), "source_archive": archive})

    def kill(self, context: AttemptContext, host: str) -> None:
        claim = context.host_directory(host) / contract.CLAIM_FILE
        os.kill(json.loads(claim.read_bytes())["pid"], signal.SIGKILL)

    def leftovers(self, context: AttemptContext) -> list[str]:
        mark = os.fsencode(context.job_directory) + b"/"
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                words = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:
                continue
            if mark in words:
                found.append(entry.name)
        return found


def isolations() -> list[str]:
    """The fences that work here; a bare one always does."""
    best = ProcessBackend(
        ProcessSettings(home=Path("/nonexistent"), runtime=Path("/nonexistent")), no_fetch
    ).isolation
    return [best, "none"] if best != "none" else ["none"]


@pytest.mark.e2e
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
class TestProcessBackend(BackendContract):
    @pytest.fixture(params=isolations())
    def harness(self, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[BackendHarness]:
        harness = ProcessHarness(tmp_path, request.param)
        yield harness
        harness.close()
