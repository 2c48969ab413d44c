"""One run: environment, install step, program, packing, record."""

from __future__ import annotations

import os

from orchestrator_runtime import cgroups, contract, exitrecord, files, tree
from orchestrator_runtime.child import Launch
from orchestrator_runtime.environment import program_environment, read_config, take_secrets
from orchestrator_runtime.intake import RecordIntake
from orchestrator_runtime.limits import MemoryWatch
from orchestrator_runtime.mask import Masker
from orchestrator_runtime.pump import LogPump, last_lines
from orchestrator_runtime.scratch import Scratch
from orchestrator_runtime.status import Status, now
from orchestrator_runtime.volume import VolumeWatch
from orchestrator_runtime.watch import Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orchestrator_runtime.contract import ArtifactRecord, ExitRecord, HostPlan, Outcome
    from orchestrator_runtime.exitrecord import Ending
    from orchestrator_runtime.feed import Feeders
    from orchestrator_runtime.signals import Signals


class HostRun:
    """Runs one host's plan once."""

    def __init__(self, directory: str, plan: HostPlan, watcher: Signals, status: Status) -> None:
        self._directory = directory
        self._plan = plan
        self._status = status
        limits, secrets = plan["limits"], take_secrets(plan)
        self._masker = Masker([*secrets.values(), *plan["masked"]])
        self._scratch: Scratch | None = None
        if plan["sandbox"]["kind"] == "none":
            self._scratch = Scratch(os.path.join(directory, contract.SCRATCH_DIRECTORY))
        self._environment = program_environment(
            plan,
            directory,
            read_config(plan["ml"]),
            secrets,
            self._scratch.path if self._scratch is not None else None,
        )
        self._pump = LogPump(directory, limits["log_bytes"], self._masker)
        self._intake = RecordIntake(directory, self._masker, contract.RECORDS_QUOTA_BYTES)
        name = f"{cgroups.PREFIX}{plan['job_name']}-{plan['attempt']}-{plan['host']}-{os.getpid()}"
        self._group = cgroups.create(name, limits)
        self._memory = MemoryWatch(limits["memory_bytes"], self._group)
        self._volume = VolumeWatch(plan.get("volume"))
        self._watch = Watch(
            directory,
            watcher=watcher,
            pump=self._pump,
            intake=self._intake,
            status=status,
            memory=self._memory,
            volume=self._volume,
            grace_seconds=limits["grace_seconds"],
            max_runtime_seconds=limits["max_runtime_seconds"],
            stops_on_findings=plan.get("debug") is not None,
        )
        self._started_at: float | None = None
        self._feeders: Feeders | None = None
        for name in ("SM_HPS", "SM_TRAINING_ENV"):
            if name not in self._environment:
                self._pump.note(f"{name} is longer than the system allows and is not set")
        if plan["sandbox"]["kind"] != "bubblewrap":
            tree.adopt_orphans()

    def run(self) -> ExitRecord:
        """Run to the end and return what to record."""
        ending = exitrecord.Ending()
        installing = False
        try:
            if self._plan["install"] is not None and self._watch.may_start():
                installing = True
                ending = self._install()
                installing = ending.error is not None or bool(ending.status)
            if not installing and self._watch.may_start():
                ending = self._train()
        finally:
            self._memory.close()
            if self._scratch is not None:
                self._scratch.close()
        self._intake.drain()
        self._tell_unseen()
        self._status.enter(contract.PHASE_UPLOADING, tell=False)
        artifacts, problem = self._pack()
        self._pump.sync()
        self._intake.sync()
        return self._record(ending, installing, artifacts, problem)

    def _install(self) -> Ending:
        step = self._plan["install"]
        assert step is not None
        self._status.enter(contract.PHASE_DOWNLOADING)
        environment = {**self._environment, **step["environment"]}
        return self._watch.run(self._launch(step["argv"], environment))

    def _train(self) -> Ending:
        self._status.enter(contract.PHASE_TRAINING)
        self._started_at = now()
        if self._plan.get("pipes"):
            from orchestrator_runtime.feed import Feeders  # noqa: PLC0415 -- only where needed

            self._feeders = Feeders(self._plan["pipes"], self._plan["ml"])
        self._start_relay()
        launch = self._launch(self._plan["argv"], self._environment)
        return self._watch.run(launch, self._feeders)

    def _tell_unseen(self) -> None:
        """Say why nothing was watched, where the program's hook has said nothing at all."""
        if (
            self._plan.get("debug") is None
            or self._started_at is None
            or self._intake.knows_debugger
        ):
            return
        from orchestrator_runtime.watched.account import why_unseen  # noqa: PLC0415 -- seldom

        argv = self._plan["argv"]
        ours = contract.RUNTIME in argv  # `train` of the runtime, which runs the program as it is
        self._intake.unmonitored(why_unseen(argv[:1] if ours else argv), now())

    def _start_relay(self) -> None:
        """Let the program reach the service; it ends with the program, as all below this process."""
        plan = self._plan.get("relay")
        if plan is None:
            return
        from orchestrator_runtime import relay  # noqa: PLC0415 -- only where needed

        try:
            relay.start(plan)
        except OSError as error:
            self._pump.note(
                f"the service cannot be reached from here: {plan['host']}:{plan['port']} cannot be "
                f"listened on: {error.strerror}; serve on another port"
            )

    def _launch(self, argv: list[str], environment: dict[str, str]) -> Launch:
        plan = self._plan
        return Launch(argv, environment, plan["cwd"], plan["sandbox"], self._group)

    def _pack(self) -> tuple[dict[str, ArtifactRecord], str]:
        """Pack what there is, whatever the end was; return it, and what went wrong."""
        artifacts: dict[str, ArtifactRecord] = {}
        problems = []
        for key, source, name in (
            ("model", contract.MODEL, contract.MODEL_ARCHIVE),
            ("output", contract.OUTPUT_DATA, contract.OUTPUT_ARCHIVE),
        ):
            try:
                record = self._pack_one(source, name)
            except OSError as error:
                problems.append(f"{source} could not be packed: {error.strerror or error}")
                continue
            if record is not None:
                artifacts[key] = record
        return artifacts, "; ".join(problems)

    def _pack_one(self, source: str, name: str) -> ArtifactRecord | None:
        if _is_empty(os.path.join(self._plan["ml"], source)):
            return None
        from orchestrator_runtime.archive import Packer  # noqa: PLC0415 -- only when needed

        directory = os.path.join(self._directory, contract.ARTIFACTS_DIRECTORY)
        os.makedirs(directory, mode=0o700, exist_ok=True)
        packer = Packer(self._plan["ml"], source, self._plan["base"])
        if self._plan["compression"] == "NONE":
            name = name.partition(".")[0]
            size = packer.copy(os.path.join(directory, name))
        else:
            size = packer.archive(os.path.join(directory, name))
        return packer.record(f"{contract.ARTIFACTS_DIRECTORY}/{name}", size)

    def _record(
        self, ending: Ending, installing: bool, artifacts: dict[str, ArtifactRecord], problem: str
    ) -> ExitRecord:
        stop = self._watch.stop
        outcome = exitrecord.outcome_of(ending, stop.outcome)
        if outcome in ("exited", "not_started") and installing:
            outcome = "install_failed"
        code, signal = ending.code_and_signal()
        message = self._message(outcome, ending)
        if self._watch.unkillable:
            message += f"; {self._watch.unkillable} of its processes did not end when killed"
        if problem:
            message = f"{message}; {problem}"
            outcome = "internal" if outcome == "exited" and code == 0 else outcome
        failure = files.read_head(self._plan["ml"], contract.FAILURE_FILE, 4096)
        return {
            "format": contract.FORMAT,
            "job_name": self._plan["job_name"],
            "attempt": self._plan["attempt"],
            "host": self._plan["host"],
            "outcome": outcome,
            "exit_code": code,
            "signal": signal,
            "stop_intent": stop.intent,
            "failure": self._failure_text(failure),
            "message": self._masker.text(message),
            "phases": self._status.phases,
            "started_at": self._started_at,
            "ended_at": now(),
            "artifacts": artifacts,
            "log_bytes": self._pump.bytes,
            "log_truncated": self._pump.truncated,
            "records_dropped": self._intake.dropped,
            "peak_memory_bytes": self._peak_memory(),
            "limits_by": self._memory.by,
            "sandbox": self._plan["sandbox"]["kind"],
        }

    def _peak_memory(self) -> int | None:
        """Return the peak of the control group, or the largest that was seen otherwise."""
        measured = self._memory.peak()
        if self._group is None or not measured:
            measured = max(measured, self._watch.peak_child_bytes)
        return measured or None

    def _failure_text(self, head: bytes | None) -> str | None:
        if head is None:
            return None
        text = self._masker.text(head.decode("utf-8", "replace"))
        return text[: contract.FAILURE_MAX_CHARACTERS]

    def _message(self, outcome: Outcome, ending: Ending) -> str:
        told = exitrecord.sentence(*ending.code_and_signal())
        limits = self._plan["limits"]
        if outcome == "not_started":
            message = (
                f"entry program '{self._plan['argv'][0]}' could not be executed: {ending.error}"
            )
        elif outcome == "install_failed":
            reason = ending.error or told.replace("the program", "the installer")
            message = f"requirements could not be installed: {reason}\n"
            message += last_lines(self._pump.tail, 20)
        elif outcome == "stopped":
            message = self._stopped_message(told)
        elif outcome == "max_runtime":
            message = f"the time limit of {limits['max_runtime_seconds']:g} s was reached: {told}"
        elif outcome == "input_failed" and self._feeders is not None:
            message = self._feeders.failure or told
        elif outcome == "disk_quota":
            message = self._volume.message
        elif outcome == "out_of_memory":
            message = f"the memory limit of {limits['memory_bytes']} bytes was reached: {told}"
        else:
            message = told
            if ending.out_of_memory_kills:
                message += (
                    f"; {ending.out_of_memory_kills} of its child processes had been killed at the "
                    f"memory limit of {limits['memory_bytes']} bytes"
                )
        return message

    def _stopped_message(self, told: str) -> str:
        finding = self._intake.stop
        if self._watch.stop.intent != "rule_stop" or finding is None:
            return f"stopped ({self._watch.stop.intent}): {told}"
        rule, step = str(finding.get("name", "a rule")), finding.get("step")
        return f"{rule} at step {step}: {str(finding.get('message', ''))[:700]}; {told}"


def failed_record(
    directory: str,
    message: str,
    plan: HostPlan | None = None,
    status: Status | None = None,
) -> ExitRecord:
    """Return the record of a host whose supervisor itself failed."""
    return {
        "format": contract.FORMAT,
        "job_name": plan["job_name"] if plan else "",
        "attempt": plan["attempt"] if plan else 0,
        "host": plan["host"] if plan else os.path.basename(directory),
        "outcome": "internal",
        "exit_code": None,
        "signal": None,
        "stop_intent": None,
        "failure": None,
        "message": message,
        "phases": status.phases if status else [],
        "started_at": None,
        "ended_at": now(),
        "artifacts": {},
        "log_bytes": 0,
        "log_truncated": False,
        "records_dropped": 0,
        "peak_memory_bytes": None,
        "limits_by": "none",
        "sandbox": plan["sandbox"]["kind"] if plan else "none",
    }


def _is_empty(directory: str) -> bool:
    """Return whether there is nothing to pack for sure; what is odd is left to the packer."""
    try:
        with os.scandir(directory) as entries:
            return next(entries, None) is None
    except OSError:
        return not os.path.lexists(directory)
