"""Paths, names, exit codes and record shapes: the one file that service and runtime both read.

The /opt/ml tree and the SM_* names follow the SageMaker training container contract
(AWS developer guide, "How Amazon SageMaker runs your training image").
Importing this file must stay cheap: the supervisor starts once per host and has a budget of
milliseconds.
"""

from __future__ import annotations

TYPE_CHECKING = False  # avoids importing typing at run time; type checkers treat it as True
if TYPE_CHECKING:
    from typing import Literal, TypedDict, Union

    Outcome = Literal[
        "exited",  # the program ended by itself; exit_code or signal says how
        "stopped",  # it ended after a stop was asked for; stop_intent says by whom
        "max_runtime",  # the time limit was reached
        "out_of_memory",  # the memory limit was reached
        "input_failed",  # a channel in Pipe mode could not be streamed
        "disk_quota",  # the host's files take more space than its volume has
        "install_failed",  # requirements could not be installed
        "not_started",  # the program could not be executed at all
        "internal",  # the supervisor itself failed
    ]

    class OptionalLimits(TypedDict, total=False):
        """Limits that a plan may leave out."""

        pids: int  # processes and threads; enforced where a control group can be made

    class Limits(OptionalLimits):
        """What the supervisor enforces, also while the service is down."""

        max_runtime_seconds: float | None
        grace_seconds: float
        log_bytes: int
        memory_bytes: int | None
        cpus: float | None

    class SandboxPlan(TypedDict):
        """How the program is fenced in.

        ``kind`` is ``bubblewrap`` (``prefix``, from the absolute path of bwrap to the ``--chdir``
        that sets the plan's cwd, is put before argv; the supervisor adds ``--json-status-fd``),
        ``namespaces`` (the supervisor's child enters ``namespaces`` itself), ``container`` (the
        supervisor already is inside; its own environment is the base of the program's), or
        ``none``.
        """

        kind: Literal["bubblewrap", "namespaces", "container", "none"]
        prefix: list[str]
        namespaces: NamespacePlan | None

    class NamespacePlan(TypedDict):
        """What a child of the supervisor unshares and mounts; it keeps the plan's cwd.

        Sources are paths outside, targets are absolute paths inside, applied in this order:
        ``hide``, ``tmpfs``, ``binds``. A target below /opt may be missing on the machine.
        """

        binds: list[list[str]]  # [source, target, "ro" or "rw"]
        tmpfs: list[str]  # empty, writable
        hide: list[str]  # covered by an empty read-only directory
        network: bool  # False: a network namespace with nothing but loopback
        hostname: str

    class InstallPlan(TypedDict):
        """The step that installs requirements, run inside the sandbox before the program."""

        argv: list[str]
        environment: dict[str, str]

    class PipePlan(TypedDict):
        """A channel in Pipe mode: what ``input/data/<channel>_<epoch>`` gives.

        ``items`` is a file with a JSON line for each item, a list of its parts, which are
        ``{"file": below root, or "" for root itself, "name": for messages}`` or ``{"text": ...}``.
        """

        channel: str
        items: str
        root: str
        gzip: bool  # files are unpacked
        record_io: bool  # each part becomes a record
        seed: int | None  # shuffles the items anew for every epoch
        share: list[int] | None  # [index of the host, hosts]: shuffled items are dealt out

    class VolumePlan(TypedDict):
        """How much space the files of a host may take."""

        bytes: int
        written: list[str]  # directories that the program writes
        inputs: str | None  # directory of inputs that do not change; links in it take no space

    class RelayPlan(TypedDict):
        """An address inside a container at which the service of its machine answers."""

        host: str
        port: int
        socket: str  # the service's own

    class OptionalPlan(TypedDict, total=False):
        """What a plan may leave out."""

        pipes: list[PipePlan]
        relay: RelayPlan | None
        debug: str | None  # the debugger's plan, as the program sees it; it may ask for a stop
        volume: VolumePlan | None

    class HostPlan(OptionalPlan):
        """``plan.json``: all that the supervisor of one host needs."""

        format: int
        job_name: str
        attempt: int
        host: str
        ml: str  # the tree as the supervisor sees it
        base: str  # the tree as the program sees it: /opt/ml wherever the system allows it
        argv: list[str]
        cwd: str  # as the program sees it
        environment: dict[str, str]  # the program's whole environment, less SM_* and secrets
        secrets: str | None  # file with {name: value}; read, then removed, by the supervisor
        masked: list[str]  # values that are hidden in log and records, beside those of secrets
        install: InstallPlan | None
        sandbox: SandboxPlan
        limits: Limits
        compression: Literal["GZIP", "NONE"]
        notify: str | None  # unix datagram socket that is poked at phases and the end

    class PhaseRecord(TypedDict):
        """One entry of the phase history; ``at`` is epoch seconds."""

        phase: str
        at: float

    class ArtifactRecord(TypedDict):
        """A packed output; ``path`` is relative to the host directory."""

        path: str
        bytes: int
        files: int
        skipped: list[str]  # links that leave the tree, FIFOs, sockets, devices

    class ExitRecord(TypedDict):
        """``exit.json``: written once, last, atomically."""

        format: int
        job_name: str
        attempt: int
        host: str
        outcome: Outcome
        exit_code: int | None
        signal: int | None
        stop_intent: str | None
        failure: str | None  # first 1,024 characters of /opt/ml/output/failure
        message: str  # one sentence for people
        phases: list[PhaseRecord]
        started_at: float | None  # epoch seconds; when the program was started
        ended_at: float
        artifacts: dict[str, ArtifactRecord]  # "model", "output"
        log_bytes: int
        log_truncated: bool
        records_dropped: int  # junk, too long, or over the quota
        peak_memory_bytes: int | None
        limits_by: str  # cgroup-v1, cgroup-v2, pss or none
        sandbox: str

    class ClaimRecord(TypedDict):
        """``claim.json``: who owns the host directory. It appears whole and already locked."""

        pid: int
        start_time: int | None  # clock ticks since boot; None where the system does not say
        boot_id: str
        host: str
        token: str

    class StatusRecord(TypedDict):
        """``status.json``: replaced at each phase change."""

        format: int
        phase: str
        phases: list[PhaseRecord]
        program_pid: int | None  # first process of the sandbox or program, as the machine counts

    class DebugRecord(TypedDict, total=False):
        """A line of ``debugger.jsonl``: what the hook says of itself, and what rules found.

        ``finding``: rule, name, step, optimizer, layers, values, message, cause, remedies, time,
        stop. ``debugger``: state (``watching``, ``ended``, ``unmonitored``, ``rule_error``,
        ``not_evaluated``, or ``idle``: a process that imported a framework and took no step) with
        framework, reason, rule, error, steps, optimizers.
        """

        kind: str
        time: float
        rank: int
        state: str
        rule: str
        name: str
        step: int
        optimizer: int
        layers: list[str]
        values: dict[str, float | str]
        message: str
        cause: str
        remedies: list[str]
        stop: bool

    class StopRequest(TypedDict):
        """``stop.json``: asks for a stop; the deadline is absolute so that it survives restarts."""

        intent: str  # an end reason: user_stop, rule_stop, early_stopped, max_wait, ...
        requested_at: float  # epoch seconds
        grace_seconds: float

    Json = Union[None, bool, int, float, str, "list[Json]", "dict[str, Json]"]

FORMAT = 1

# Where things are for the program.
ML = "/opt/ml"
RUNTIME = "/opt/orchestrator"  # the runtime, read-only; on PYTHONPATH
RECORDS = "/opt/orchestrator.records"  # the FIFO of records, where /opt/ml is served
INPUT = "input"
INPUT_CONFIG = "input/config"
INPUT_DATA = "input/data"
CODE = "code"
MODEL = "model"
OUTPUT = "output"
OUTPUT_DATA = "output/data"
CHECKPOINTS = "checkpoints"
TENSORS = "output/tensors"  # what the debugger records; SageMaker Debugger's own default
DEBUG_PLAN_FILE = "debugger.json"  # in input/config
FAILURE_FILE = "output/failure"
TREE = (INPUT_CONFIG, INPUT_DATA, CODE, MODEL, OUTPUT_DATA, CHECKPOINTS)
FAILURE_MAX_CHARACTERS = 1024

# Files of the host directory (outside the sandbox, except the FIFO).
PLAN_FILE = "plan.json"
CLAIM_FILE = "claim.json"
STATUS_FILE = "status.json"
STOP_FILE = "stop.json"
EXIT_FILE = "exit.json"
LOG_FILE = "log"
LOG_INDEX_FILE = "log.index"
RECORDS_FILE = "records.jsonl"
DEBUG_RECORDS_FILE = "debugger.jsonl"  # records of the kinds in DEBUG_KINDS
RECORDS_FIFO = "records"
ML_DIRECTORY = "ml"
SCRATCH_DIRECTORY = "scratch"
ARTIFACTS_DIRECTORY = "artifacts"
MODEL_ARCHIVE = "model.tar.gz"
OUTPUT_ARCHIVE = "output.tar.gz"

# Environment of the program.
# Path of the FIFO as the program sees it. A plan's environment may say; else it is RECORDS inside
# bubblewrap and namespaces, and the file of the host directory elsewhere.
RECORDS_VARIABLE = "ORCHESTRATOR_RECORDS"
ATTEMPT_VARIABLE = "ORCHESTRATOR_ATTEMPT"
# Path of the debugger's plan (JSON); a program without it is not watched.
DEBUG_VARIABLE = "ORCHESTRATOR_DEBUG"
DEBUG_SITE = (
    "orchestrator_runtime/hook/site"  # on PYTHONPATH of watched programs, below the runtime
)
RECORD_MAX_BYTES = 4096  # PIPE_BUF on Linux: writes up to this size are atomic
DEBUG_KINDS = ("finding", "debugger")
DEBUG_QUOTA_BYTES = 4 * 1024 * 1024  # of debugger.jsonl
RECORDS_QUOTA_BYTES = 256 * 1024 * 1024  # of records.jsonl; what is over is dropped and counted

# Phases that the supervisor reports, in SageMaker's words.
PHASE_DOWNLOADING = "Downloading"
PHASE_TRAINING = "Training"
PHASE_UPLOADING = "Uploading"
PHASE_STOPPING = "Stopping"

# Exit codes of the supervisor process itself (the program's own code is in the exit record).
EXIT_ALREADY_CLAIMED = 75  # another supervisor owns this host directory (EX_TEMPFAIL)
EXIT_CANNOT_CLAIM = 73  # the host directory is missing or cannot be written (EX_CANTCREAT)
EXIT_UNSUPPORTED_PYTHON = 69  # older than 3.9 (EX_UNAVAILABLE)

# Marker line that replaces what was cut from the log at the quota.
LOG_QUOTA_MARKER = b"\n[orchestrator] log quota of %d bytes reached; further output is dropped\n"
