"""A whole service without processes and threads: real use cases, store and driver over a fake engine and a clock that is told to move."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from orchestrator.backends.base import AttemptContext
from orchestrator.blobs.local import LocalBlobStore
from orchestrator.debugger.early_end import EarlyEnds
from orchestrator.scheduler.effects import Effects
from orchestrator.scheduler.loop import Driver
from orchestrator.scheduler.recover import release_leftovers
from orchestrator.scheduler.workspace import Workspace
from orchestrator.service.admission import Admission
from orchestrator.service.changes import Changes
from orchestrator.service.findings import FindingService
from orchestrator.service.jobs import JobService
from orchestrator.service.logs import LogService
from orchestrator.service.methods import methods
from orchestrator.service.metrics import MetricService
from orchestrator.service.rpc import answer
from orchestrator.store.base import Store
from orchestrator.testing.fake_backend import FakeBackend, FakeEngine, Script
from tests.unit.scheduler.simulation import MACHINE, SCOPE, Deferred, SteppedClock


def log_of(number: int) -> bytes:
    """What the hosts of a job print: always as long, never the same."""
    return f"hello\nscore={number:06d}\nbye\n".encode()


LOG = log_of(0)


def _archive() -> bytes:
    """A model as a supervisor packs it."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        member = tarfile.TarInfo("weights")
        member.size = len(LOG)
        archive.addfile(member, io.BytesIO(LOG))
    return packed.getvalue()


MODEL = {"model": _archive()}
PROGRAMS = {
    "ends": Script(exit_code=0, looks=2, artifacts=MODEL),
    "fails": Script(exit_code=3, looks=1),
    "waits": Script(exit_code=None, artifacts=MODEL),
    "deaf": Script(exit_code=None, on_stop="ignore"),
}
"""What a job's hyperparameter ``program`` makes its hosts do."""


class Refused(Exception):
    """What the API answered instead of a result."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class World:
    """One home with its service; the driver moves only when it is told to.

    Args:
        home: The home directory.
        make_store: Opens the store; called again after a restart where the store is durable.
    """

    def __init__(self, home: Path, make_store: Callable[[SteppedClock], Store]) -> None:
        self.home = home
        self.clock = SteppedClock()
        self.engine = FakeEngine(self.clock, self._script)
        self._make_store = make_store
        self.open()

    def open(self) -> None:
        """Start the service and its driver."""
        self.store = self._make_store(self.clock)
        self.workspace = Workspace(self.home)
        self.blobs = LocalBlobStore(self.home / "blobs")
        self.changes = Changes()
        self.metrics = MetricService(self.home / "metrics.sqlite3", self.store, self.workspace)
        self.backends = {"process": FakeBackend(self.engine)}
        self.jobs = JobService(
            self.store,
            self.workspace,
            Admission(self.home, self.backends, MACHINE),
            self.changes,
            self.clock,
            lambda: None,
            lambda: 0.0,
            self.metrics.delete,
            patience_seconds=0,
        )
        self.logs = LogService(self.store, self.workspace, self.changes, self.clock)
        self.findings = FindingService(self.store, self.workspace)
        self._methods = methods(cast("Any", self))
        self.take_over()

    def take_over(self, executor: Executor | None = None) -> None:
        """Begin to drive, whoever drives now; what that one had still to do is not done.

        Args:
            executor: Does what is to be done; by default it waits until ``act``.
        """
        lease = self.store.acquire_driver(
            SCOPE, owner="test", now=self.clock.now(), ttl_seconds=60, force=True
        )
        assert lease is not None
        self.executor = Deferred()
        release_leftovers(self.store, self.workspace, self.backends)
        self.jobs.secrets.sweep()
        self.driver = Driver(
            store=self.store,
            effects=Effects(
                self.backends,
                self.workspace,
                self.blobs,
                self.metrics,
                EarlyEnds(self.metrics, self.clock),
                self.jobs.secrets.let_go,
            ),
            machine=MACHINE,
            lease=lease,
            clock=self.clock,
            executor=executor or self.executor,
            wake=lambda: None,
            changed=self.changes.notify,
            ended=lambda _names: None,
            gpus_of=lambda job: job.spec.resources.gpus or 0,
            backends=self.backends,
        )

    @staticmethod
    def _script(context: AttemptContext, host: str) -> Script:
        del host
        script = PROGRAMS[context.spec.hyper_parameters["program"]]
        return replace(script, log=log_of(context.number))

    def close(self) -> None:
        """Close what is open."""
        self.metrics.close()
        self.store.close()

    # -- the API ---------------------------------------------------------------------------

    def info(self) -> dict[str, Any]:
        """Nothing is asked here."""
        return {}

    def call(self, method: str, **params: Any) -> Any:
        """Call the API as clients do: text goes in and out.

        Raises:
            Refused: It answered with an error of ours; any other one fails the test.
        """
        request = json.dumps({"method": method, "params": params}).encode()
        said = json.loads(json.dumps(answer(self._methods, request)))
        if "error" not in said:
            return said["result"]
        error = said["error"]
        assert error["code"] != "internal", error["message"]
        raise Refused(error["code"], error["message"])

    # -- what the driver does --------------------------------------------------------------

    def act(self, index: int = 0) -> None:
        """Do one of the driver's actions that wait."""
        if self.executor.waiting:
            self.executor.waiting.pop(index % len(self.executor.waiting))()

    def round(self) -> None:
        """Let the driver tick once and do all that follows."""
        self.driver.tick()
        while self.executor.waiting:
            self.act()
