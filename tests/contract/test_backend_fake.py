"""The fake back end keeps the same contract as the real ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.backends.base import AttemptContext, Backend
from orchestrator.testing.backend_contract import (
    BackendContract,
    BackendHarness,
    Program,
    Wish,
    attempt_context,
)
from orchestrator.testing.fake_backend import FakeBackend, FakeEngine, Script

SCRIPTS = {
    Program.SUCCEEDS: Script(log=b"ready\n", artifacts={"model": b"weights"}),
    Program.FAILS: Script(exit_code=3),
    Program.WAITS: Script(exit_code=None, log=b"ready\n"),
    Program.IGNORES_STOP: Script(exit_code=None, log=b"ready\n", on_stop="ignore"),
}


class FakeHarness(BackendHarness):
    """A fake engine whose hosts follow the script of their program."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._number = 0
        self.engine = FakeEngine(script_for=lambda context, _host: self._script(context))
        self.backend: Backend = FakeBackend(self.engine)

    @staticmethod
    def _script(context: AttemptContext) -> Script:
        return SCRIPTS[Program(context.spec.hyper_parameters["program"])]

    def restarted(self) -> Backend:
        return FakeBackend(self.engine)

    def context(self, wish: Wish) -> AttemptContext:
        self._number += 1
        spec = {
            "algorithm_specification": {"container_entrypoint": ["program"]},
            "hyper_parameters": {"program": wish.program.value},
        }
        return attempt_context(self._home / "jobs" / f"job-{self._number}", wish, spec)

    def kill(self, context: AttemptContext, host: str) -> None:
        self.engine.lose(context.spec.training_job_name, host)

    def leftovers(self, context: AttemptContext) -> list[str]:
        name = context.spec.training_job_name
        return [str(key) for key in self.engine.all_living if key[0] == name]


class TestFakeBackend(BackendContract):
    @pytest.fixture
    def harness(self, tmp_path: Path) -> BackendHarness:
        return FakeHarness(tmp_path)
