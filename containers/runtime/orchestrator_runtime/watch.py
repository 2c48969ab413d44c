"""The supervisor's one loop: runs a program to the end of its whole process tree."""

from __future__ import annotations

import os
import select
import time

from orchestrator_runtime import contract, signals, stopper, tree
from orchestrator_runtime.child import spawn
from orchestrator_runtime.exitrecord import Ending

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from typing import Callable

    from orchestrator_runtime.child import Child, Launch
    from orchestrator_runtime.contract import Outcome
    from orchestrator_runtime.feed import Feeders
    from orchestrator_runtime.intake import RecordIntake
    from orchestrator_runtime.limits import MemoryWatch
    from orchestrator_runtime.pump import Pump
    from orchestrator_runtime.status import Status
    from orchestrator_runtime.volume import VolumeWatch
else:
    import _signal

LOOK_SECONDS = 5.0
"""How often ``stop.json`` is looked for: a signal may be lost, a request may not."""
KILL_SECONDS = 20.0
"""How long processes may take to disappear after SIGKILL before they are given up."""
DRAIN_SECONDS = 5.0
"""How long output may take to end after every known writer is gone."""


class Watch:
    """Runs one program after the other under one set of limits, one log and one stop."""

    def __init__(
        self,
        directory: str | None,
        *,
        watcher: signals.Signals,
        pump: Pump,
        intake: RecordIntake | None,
        status: Status,
        memory: MemoryWatch,
        volume: VolumeWatch,
        grace_seconds: float,
        max_runtime_seconds: float | None,
        stops_on_findings: bool = False,
    ) -> None:
        self.stop = stopper.Stopper()
        self.peak_child_bytes = 0
        self.unkillable = 0
        self._directory = directory
        self._watcher = watcher
        self._pump = pump
        self._intake = intake
        self._status = status
        self._memory = memory
        self._volume = volume
        self._grace = grace_seconds
        self._stops_on_findings = stops_on_findings
        self._max_runtime = max_runtime_seconds
        self._expires_at = float("inf")
        if max_runtime_seconds is not None:
            self._expires_at = time.monotonic() + max_runtime_seconds
        self._look_at = 0.0
        self._feeders: Feeders | None = None

    def may_start(self) -> bool:
        """Look for a stop, or a full volume, before a program is started; False if there was one."""
        self._on_signals()
        self._look_for_stop()
        self._on_volume(self._volume.measure())
        return self.stop.outcome is None

    def run(self, launch: Launch, feeders: Feeders | None = None) -> Ending:
        """Run one program; return when nothing of it is left, nor of what feeds it."""
        ending = Ending()
        ending.sandboxed = launch.kind == "bubblewrap"
        self._feeders = feeders
        self._pump.open_pipe()
        try:
            if feeders is not None:
                feeders.start()
            child = spawn(launch, self._pump.writer)
        except OSError as error:
            self._pump.close_pipe()
            if feeders is not None:
                feeders.close()
            ending.error = f"no process could be started: {error.strerror}"
            return ending
        self._pump.close_writer()
        if child.info < 0:
            self._status.program_pid = child.pid
            self._status.write()
        try:
            while not child.ended:
                self._turn(child)
            if self.stop.outcome is None:
                self._on_volume(self._volume.measure())  # whenever the last look was
            if feeders is not None:
                feeders.look()
            self._on_feeders()  # who fails says so before the program can see the stream's end
        finally:
            self._clear(child)
        ending.status, ending.error = child.status, child.error
        if child.inner_status is not None:
            ending.status = child.inner_status
        if ending.sandboxed and self._never_executed(child):
            ending.error = self._sandbox_error()
        ending.out_of_memory_kills = self._memory.kills()
        return ending

    def _turn(self, child: Child) -> None:
        sources = self._sources(child)
        ready, _, _ = select.select(list(sources), (), (), self._timeout())
        for descriptor in ready:
            sources[descriptor]()
        self._reap(child)
        if not child.ended:
            self._on_time(child)

    def _sources(self, child: Child) -> dict[int, Callable[[], object]]:
        sources: dict[int, Callable[[], object]] = {
            self._watcher.descriptor: self._on_signals,
        }
        if self._intake is not None:
            sources[self._intake.descriptor] = self._on_records
        if self._pump.reader >= 0:
            sources[self._pump.reader] = self._on_output
        if self._feeders is not None and self._feeders.report >= 0:
            sources[self._feeders.report] = self._on_feeders
        if child.report >= 0:
            sources[child.report] = child.read_report
        if child.info >= 0:
            sources[child.info] = lambda: self._on_info(child)
        return sources

    def _timeout(self) -> float:
        due = [self._look_at, self._expires_at, self._memory.due_at, self._volume.due_at]
        if self.stop.wake_at is not None:
            due.append(self.stop.wake_at)
        return max(min(due) - time.monotonic(), 0.0)

    def _on_output(self) -> None:
        if not self._pump.read():
            self._pump.close_pipe()  # the program closed its output; it may still run

    def _on_records(self) -> None:
        if self._intake is None:
            return
        self._intake.read()
        if self._stops_on_findings and self._intake.stop is not None:
            self._ask("stopped", "rule_stop", self._grace)

    def _on_info(self, child: Child) -> None:
        if child.read_info():
            self._status.program_pid = child.program_pid
            self._status.write()

    def _on_feeders(self) -> None:
        if self._feeders is not None and self._feeders.read():
            self._ask("input_failed", None, 0.0)

    def _on_volume(self, exceeded: bool) -> None:
        if exceeded:
            self._ask("disk_quota", None, 0.0)

    def _on_signals(self) -> None:
        if self._watcher.take() & signals.STOP and not self._look_for_stop():
            self._ask("stopped", "interrupted", self._grace)

    def _look_for_stop(self) -> bool:
        self._look_at = time.monotonic() + LOOK_SECONDS
        request = stopper.read_request(self._directory)
        if request is not None:
            self._ask("stopped", request["intent"], stopper.seconds_left(request))
        return request is not None

    def _ask(self, outcome: Outcome, intent: str | None, grace: float) -> None:
        if self.stop.ask(outcome, intent, grace):
            self._status.enter(contract.PHASE_STOPPING)

    def _on_time(self, child: Child) -> None:
        moment = time.monotonic()
        if moment >= self._look_at:
            self._look_for_stop()
        if moment >= self._expires_at:
            self._expires_at = float("inf")
            self._ask("max_runtime", None, self._grace)
        if moment >= self._memory.due_at and self._memory.exceeded():
            self._ask("out_of_memory", None, 0.0)
        if moment >= self._volume.due_at:
            self._on_volume(self._volume.exceeded())
        self._on_feeders()
        if self.stop.outcome is not None and self.stop.tick(child.pid):
            tree.kill_everything(child.pid)

    def _reap(self, child: Child | None) -> None:
        while True:
            try:
                pid, status, usage = os.wait3(os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self.peak_child_bytes = max(self.peak_child_bytes, peak_bytes(usage.ru_maxrss))
            if child is not None and pid == child.pid:
                child.status = status
            if self._feeders is not None:
                self._feeders.forget(pid)

    def _clear(self, child: Child) -> None:
        """Kill what the program left behind, and read the last of its output."""
        child.close()
        deadline = time.monotonic() + KILL_SECONDS
        while True:
            alive = self._memory.kill() + tree.kill_everything(child.pid) + self._inner(child)
            if not alive:
                break
            if time.monotonic() > deadline:
                self.unkillable = alive
                break
            select.select((), (), (), 0.002)
            self._reap(child)
        self._reap(child)
        if self._feeders is not None:
            self._feeders.close()
        self._drain()

    def _inner(self, child: Child) -> int:
        """Kill the first process inside a sandbox; return whether it is still there."""
        if child.program_pid is None or not tree.is_alive(child.program_pid):
            return 0
        tree.send((child.program_pid,), _signal.SIGKILL)
        return 1

    def _drain(self) -> None:
        deadline = time.monotonic() + DRAIN_SECONDS
        while self._pump.reader >= 0 and time.monotonic() < deadline:
            ready, _, _ = select.select((self._pump.reader,), (), (), 0.05)
            if ready and not self._pump.read():
                break
        self._pump.close_pipe()

    def _never_executed(self, child: Child) -> bool:
        """Return whether bubblewrap gave up by itself, before the program: it ends with 1 then."""
        status = child.status
        if status is None or child.inner_exit is not None or self.stop.outcome is not None:
            return False
        return os.WIFEXITED(status) and os.WEXITSTATUS(status) == 1

    def _sandbox_error(self) -> str:
        lines = self._pump.tail.decode("utf-8", "replace").splitlines()
        said = [line for line in lines if line.startswith("bwrap:")]
        return said[-1] if said else "the sandbox could not be set up"


def peak_bytes(maxrss: int) -> int:
    """Convert ``ru_maxrss``, which is in KiB except on macOS."""
    return maxrss if os.uname().sysname == "Darwin" else maxrss * 1024
