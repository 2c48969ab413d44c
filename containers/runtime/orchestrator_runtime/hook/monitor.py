"""One process's debugger: takes steps from an adapter, writes them, has them judged, and acts."""

from __future__ import annotations

import atexit
import json
import os
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from orchestrator_runtime import contract, records
from orchestrator_runtime.hook.include import SURE_AFTER, Include
from orchestrator_runtime.hook.schedule import Schedule, intervals_of
from orchestrator_runtime.hook.system import Sampler
from orchestrator_runtime.hook.wishes import Patterns, collected, given_intervals
from orchestrator_runtime.rules.engine import Engine, Judge
from orchestrator_runtime.rules.parameters import RuleError
from orchestrator_runtime.rules.registry import judge_of
from orchestrator_runtime.trace.writer import SUFFIX, Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from orchestrator_runtime.hook.plan import DebugPlan, RulePlan
    from orchestrator_runtime.rules.finding import Finding
    from orchestrator_runtime.trace.record import Array, StepRecord, SystemSample

LOOK_SECONDS = 5.0
"""How often rules are told how long ago the last step was."""
SAMPLE_SECONDS = 1.0
"""How often the host is sampled, if a rule watches it, and gathered steps are looked for that none
follows: a stop may not wait longer."""
GATHER_SECONDS = 0.1
"""For how long short steps may be gathered before they are judged and recorded."""
MOST_FINDINGS = 1000
"""Findings that are kept in memory; a rule may speak often."""


class Monitor:
    """The debugger of one process. Nothing is opened before the first step.

    Attributes:
        schedule: What an adapter has to measure when.
        records: Whether this process writes and judges; the others of a distributed run only take
            part in what needs all of them.
        steps: Steps recorded so far, of all optimizers.
        unrecorded: Steps at which nothing was due.
        backwards: Backward passes seen so far, by the adapter.
        gather_seconds: GATHER_SECONDS, or less for a program that waits for findings.
        patterns: Which tensors are wanted as a whole.
        findings: What rules have found, the first MOST_FINDINGS.
    """

    def __init__(
        self, plan: DebugPlan, on_finding: Callable[[Finding], None] | None = None
    ) -> None:
        self.plan = plan
        self.steps = 0
        self.unrecorded = 0
        self.gather_seconds = GATHER_SECONDS
        self.backwards = 0
        self.framework = ""
        self.rank = records.process_rank(records.LAUNCHED_RANKS)
        self.records = plan.all_ranks or self.rank == 0
        self.findings: list[Finding] = []
        self._said: dict[str, None] = {}
        self._writer: Writer | None = None
        self._path: str | None = None
        judges = [judge for judge in map(self._judge, plan.rules) if judge is not None]
        needs = [need for judge in judges for need in judge.needs]
        self.schedule = Schedule(
            intervals_of(
                given_intervals(plan),
                [(need.series, need.every) for need in needs],
                [(each.series, each.wish) for each in collected(plan)],
            )
        )
        self.patterns = Patterns(plan, needs)
        self._include = Include(plan.include)
        for fault in (*self.patterns.faults, *self._include.faults):
            self.note(fault)
        self._judges = judges
        self._engine = Engine(judges)
        self._watches_system = any(judge.system for judge in judges)
        self.on_finding = on_finding
        self._last: StepRecord | None = None
        self._failures = 0
        self._optimizers = 0
        self._pid = os.getpid()
        self._is_helper = False
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._endings: list[Callable[[], None]] = []
        self._looks: list[Callable[[], None]] = []
        atexit.register(self.end)

    def step(self, record: StepRecord) -> None:
        """Take one step."""
        self.burst([(record, ())])

    def burst(self, steps: Iterable[tuple[StepRecord, Sequence[Array]]]) -> None:
        """Take steps in order, each with whole tensors of it."""
        with self._lock:
            for record, arrays in steps:
                self._step(record)
                for array in arrays:
                    self.array(array, record.optimizer)
            self._write(Writer.flush)

    def _step(self, record: StepRecord) -> None:
        if not self.steps:
            self._begin()
        self.steps += 1
        self._optimizers = max(self._optimizers, record.optimizer + 1)
        self._last = record
        self._write(lambda writer: writer.step(self._include.part(record)))
        if self.steps == SURE_AFTER:
            self._tell_unmatched(final=False)
        found = self._engine.observe(record)
        if found:
            self._act(found)
        if len(self._engine.failures) > self._failures:
            self._tell_failures()

    def array(self, array: Array, optimizer: int = 0) -> None:
        """Take a whole tensor."""
        with self._lock:
            self.patterns.seen(array.collection)
            self._write(lambda writer: writer.array(array))
            self._act(self._engine.observe_array(array, optimizer))

    def note(self, text: str) -> None:
        """Write a remark, once, to standard error and into the trace, and tell the job."""
        if text in self._said or not self.records:
            return
        self._said[text] = None
        say(text)
        self._write(lambda writer: writer.event(event="note", text=text, step=self.steps))
        records.send_record({"kind": "debugger", "state": "note", "reason": text[:1000]})

    @property
    def trace_path(self) -> str | None:
        """Where the trace is, once there is one."""
        return self._path

    def unmonitored(self, reason: str) -> None:
        """Say that nothing is watched here, and why: silence would look like health."""
        say(f"unmonitored: {reason}")
        records.send_record({"kind": "debugger", "state": "unmonitored", "reason": reason[:1000]})

    def is_rank(self, rank: int | None) -> None:
        """Take the rank that the framework knows, before the first step; None changes nothing."""
        if rank is not None and not self.steps:
            self.rank = rank
            self.records = self.plan.all_ranks or rank == 0

    def forked(self) -> None:
        """Begin anew in a child process, which has neither this one's steps nor its threads."""
        if self._writer is not None:
            self._writer.abandon()
            self._writer = None
        self.steps = self.unrecorded = self.backwards = self._failures = self._optimizers = 0
        self._engine = Engine(self._judges)
        self._last = None
        self._pid = os.getpid()
        self._is_helper = True
        self._lock = threading.RLock()
        self._over = threading.Event()

    def before_end(self, ending: Callable[[], None]) -> None:
        """Have something done before the trace is closed."""
        self._endings.append(ending)

    def hurry(self) -> Callable[[], None]:
        """Gather no steps any more; return what undoes that."""
        before, self.gather_seconds = self.gather_seconds, 0.0

        def undo() -> None:
            self.gather_seconds = before

        return undo

    def before_looking(self, look: Callable[[], None]) -> None:
        """Have something done every SAMPLE_SECONDS, in a thread of its own."""
        self._looks.append(look)

    def end(self) -> None:
        """Say how it ended: also that nothing could be watched. Called at exit."""
        if os.getpid() != self._pid or self._over.is_set():
            return
        for ending in self._endings:
            ending()
        self._over.set()
        if not self.records:  # the first process of the distributed run speaks for this one
            return
        if not self.steps and not self.backwards:
            if self._is_helper or _is_helper():  # a worker that loads data
                return
            records.send_record({"kind": "debugger", "state": "idle", "framework": self.framework})
            return
        state: dict[str, Any] = {
            "steps": self.steps + self.unrecorded,
            "backwards": self.backwards,
            "optimizers": self._optimizers,
        }
        if self.steps:
            state["state"] = "ended"
        else:
            self.unmonitored(
                f"{self.backwards} backward passes but no step of an optimizer: weights that a "
                "program changes by itself are not watched"
            )
            return
        with self._lock:  # the watching thread may be writing
            self._tell_unmatched(final=True)
            self._sum_up()
            self._write(lambda writer: writer.event(event="end", **state))
            self._close()
        records.send_record({"kind": "debugger", **state})

    def _tell_unmatched(self, *, final: bool) -> None:
        """Say which patterns have matched nothing; those of tensors at later steps at the end."""
        remarks = self._include.remarks() if self.steps <= SURE_AFTER else []
        absent = self.patterns.absent() if final else []
        for remark in (*remarks, *self.patterns.remarks(final=final), *absent):
            self.note(remark)

    def _sum_up(self) -> None:
        """Write the reports of rules, and which rules had nothing to judge: that is no health."""
        for rule, report in self._engine.reports().items():
            self._report(event="report", rule=rule, report=report)
        for rule, reason in self._engine.not_evaluated().items():
            say(f"rule {rule} was not evaluated: {reason}")
            self._report(event="not_evaluated", rule=rule, reason=reason)
            records.send_record(
                {
                    "kind": "debugger",
                    "state": "not_evaluated",
                    "rule": rule,
                    "reason": reason[:1000],
                }
            )

    def _report(self, **members: Any) -> None:
        self._write(lambda writer: writer.event(**members))

    def _begin(self) -> None:
        """Open the trace and say that the run is watched."""
        started = time.time()
        if self.plan.directory is not None:
            name = f"{socket.gethostname()}-{self.rank}-{time.time_ns() // 1_000_000}-{self._pid}"
            self._writer = Writer(
                os.path.join(self.plan.directory, name + SUFFIX), self.plan.quota_bytes
            )
            self._path = self._writer.path
            start = {
                "framework": self.framework,
                "program": sys.argv,
                "host": socket.gethostname(),
                "rank": self.rank,
                "pid": self._pid,
                "time": started,
                "rules": [rule.name for rule in self.plan.rules],
            }
            self._write(lambda writer: writer.event(event="start", **start))
            for text in self._said:
                self._report(event="note", text=text, step=0)
        records.send_record(
            {"kind": "debugger", "state": "watching", "framework": self.framework, "time": started}
        )
        if _is_helper():  # such a process does not do what is registered with atexit
            sys.modules["multiprocessing.util"].Finalize(None, self.end, exitpriority=0)
        thread = threading.Thread(target=self._watch, name="orchestrator-debugger", daemon=True)
        thread.start()

    def _write(self, write: Callable[[Writer], None]) -> None:
        """Write to the trace; the rules go on without one that cannot be written."""
        writer = self._writer
        if writer is None:
            return
        try:
            write(writer)
            why = "the disk or the trace's quota is full" if writer.full else None
        except OSError as error:
            why = error.strerror
        if why is not None:
            self._close()
            say(f"nothing more is recorded, rules go on: {writer.path}: {why}")

    def _close(self) -> None:
        writer, self._writer = self._writer, None
        if writer is None:
            return
        try:
            writer.close()
        except OSError as error:
            say(f"{writer.path}: {error.strerror}")

    def _watch(self) -> None:
        """Look at the time and, if a rule needs it, at the host, until the end."""
        sampler = Sampler() if self._watches_system else None
        looked = time.monotonic()
        while not self._over.wait(SAMPLE_SECONDS):
            sample = None if sampler is None else sampler.sample()
            late = time.monotonic() - looked >= LOOK_SECONDS
            if late:
                looked = time.monotonic()
            try:
                for look in self._looks:
                    look()
                self._look(sample, late=late)
            except Exception as error:  # noqa: BLE001
                say(f"the host is watched no more: {type(error).__name__}: {error}")
                return

    def _look(self, sample: SystemSample | None, *, late: bool) -> None:
        with self._lock:
            if self._over.is_set():
                return
            if sample is not None:
                self._write(lambda writer: writer.system(sample))
                self._act(self._engine.observe_system(sample))
            if late:
                self._act(self._engine.waited(self._last, time.time()))
            self._tell_failures()

    def _judge(self, rule: RulePlan) -> Judge | None:
        try:
            return judge_of(
                rule.rule,
                rule.parameters,
                name=rule.name,
                stop=rule.stop,
                save_interval=rule.save_interval,
            )
        except RuleError as error:
            self._fail(rule.name, str(error))
            return None

    def _act(self, found: list[tuple[Judge, Finding]]) -> None:
        for judge, finding in found:
            line = finding.to_json()
            line["time"] = time.time()
            line["stop"] = judge.stop
            say(f"{finding.name} at step {finding.step}: {finding.message}")
            self._write(lambda writer, line=line: writer.event(event="finding", **line))  # type: ignore[misc]
            if self.plan.findings is not None:
                _append(self.plan.findings, line)
            records.send_record({"kind": "finding", **_fitting(line)})
            if len(self.findings) < MOST_FINDINGS:
                self.findings.append(finding)
            if self.on_finding is not None:
                self.on_finding(finding)

    def _tell_failures(self) -> None:
        for failure in self._engine.failures[self._failures :]:
            self._fail(failure.name, failure.error)
        self._failures = len(self._engine.failures)

    def _fail(self, rule: str, error: str) -> None:
        say(f"rule {rule} is not evaluated: {error}")
        records.send_record(
            {"kind": "debugger", "state": "rule_error", "rule": rule, "error": error[:1000]}
        )


def _is_helper() -> bool:
    """Return whether this process was started by multiprocessing."""
    process = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None


def say(text: str) -> None:
    """Write a line to standard error, if there is one."""
    try:
        sys.stderr.write(f"[orchestrator debugger] {text}\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        return


def _append(path: str, line: dict[str, Any]) -> None:
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    except OSError as error:
        say(f"the finding could not be written to {path}: {error.strerror}")


def _fitting(line: dict[str, Any]) -> dict[str, Any]:
    """Return as much of a finding as one record can hold."""
    line = dict(line)
    while len(json.dumps(line)) > contract.RECORD_MAX_BYTES - 100 and line["layers"]:
        line["layers"] = line["layers"][: len(line["layers"]) // 2]
    if len(json.dumps(line)) > contract.RECORD_MAX_BYTES - 100:
        line.update(cause="", remedies=[], message=line["message"][:500], values={})
    return line
