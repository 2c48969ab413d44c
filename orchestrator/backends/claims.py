"""The host directory as seen from outside: who owns it, whether it lives, how it ended.

A host directory is claimed once, by creating ``claim.json`` exclusively; whoever creates it
decides what becomes of the host. The supervisor keeps the file locked while it lives, so that
neither a reused process id nor a reboot can be taken for a living supervisor.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator_runtime import contract

from orchestrator.backends import staging
from orchestrator.backends.base import AttemptContext, HostStatus, Observation

# In a container a program can put anything in the claim's place: never follow, never block.
_LOOK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


def is_claimed(directory: Path) -> bool:
    """Return whether somebody decides over this host directory already."""
    return (directory / contract.CLAIM_FILE).exists()


def living_supervisor(directory: Path) -> int | None:
    """Return the process id of the supervisor that holds the claim, or None."""
    try:
        descriptor = os.open(directory / contract.CLAIM_FILE, _LOOK)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _claimed_pid(descriptor)
    finally:
        os.close(descriptor)
    return None


def _claimed_pid(descriptor: int) -> int | None:
    try:
        return int(json.loads(os.pread(descriptor, 65536, 0))["pid"])
    except (ValueError, KeyError):
        return None  # just being written; the next look sees it


def is_alive(directory: Path) -> bool:
    """Return whether the claim is locked by its owner."""
    try:
        descriptor = os.open(directory / contract.CLAIM_FILE, _LOOK)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def observe(directory: Path, host: str) -> Observation:
    """Return what the files of one host directory say."""
    alive = is_alive(directory)
    # The exit record is written before the lock goes, so it must be read after the lock was seen.
    record = staging.read_json(directory / contract.EXIT_FILE)
    if record is not None:
        return Observation(host, HostStatus.EXITED, tuple(record["phases"]), exit=record)
    status = staging.read_json(directory / contract.STATUS_FILE) or {}
    phases = tuple(status.get("phases", ()))
    if alive:
        return Observation(host, HostStatus.RUNNING, phases)
    if is_claimed(directory):
        return Observation(
            host, HostStatus.LOST, phases, detail="its supervisor ended without an exit record"
        )
    return Observation(host, HostStatus.ABSENT)


def claim_stopped(
    directory: Path, context: AttemptContext, host: str, request: contract.StopRequest
) -> bool:
    """Claim a host that was never started, so that it never will be; False when it was.

    Leaves the exit record of a host that was stopped before it began.
    """
    try:
        descriptor = os.open(directory / contract.CLAIM_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w") as claim:
        json.dump({"pid": os.getpid(), "host": host, "stopped": True}, claim)
    staging.write_json(directory / contract.EXIT_FILE, _never_started(context, host, request))
    return True


def never_starts(directory: Path) -> bool:
    """Return whether a host was claimed by ``claim_stopped``."""
    try:
        descriptor = os.open(directory / contract.CLAIM_FILE, _LOOK)
    except OSError:
        return False
    try:
        claim = json.loads(os.pread(descriptor, 65536, 0))
    except ValueError:
        return False  # just being written
    finally:
        os.close(descriptor)
    return isinstance(claim, dict) and claim.get("stopped") is True


def _never_started(
    context: AttemptContext, host: str, request: contract.StopRequest
) -> contract.ExitRecord:
    return {
        "format": contract.FORMAT,
        "job_name": context.spec.training_job_name,
        "attempt": context.attempt,
        "host": host,
        "outcome": "stopped",
        "exit_code": None,
        "signal": None,
        "stop_intent": request["intent"],
        "failure": None,
        "message": "stopped before the program was started",
        "phases": [],
        "started_at": None,
        "ended_at": request["requested_at"],
        "artifacts": {},
        "log_bytes": 0,
        "log_truncated": False,
        "records_dropped": 0,
        "peak_memory_bytes": None,
        "limits_by": "none",
        "sandbox": "none",
    }


def kill_strays(directory: Path, proc: Path = Path("/proc")) -> list[int]:
    """Kill what a dead supervisor left running; return the process ids.

    Only unsandboxed jobs can leave anything: a sandbox dies with its supervisor. The processes
    are known by the records variable in their environment, which names the host directory.
    """
    fifo = str(directory / contract.RECORDS_FIFO)
    killed: list[int] = []
    for pid, named in _reporting(proc):
        if named == fifo:
            with suppress(OSError):  # gone meanwhile
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
    return killed


def _reporting(proc: Path) -> Iterator[tuple[int, str]]:
    """Yield every process whose environment has the records variable, and what it says."""
    mark = f"{contract.RECORDS_VARIABLE}=".encode()
    for entry in proc.iterdir() if proc.is_dir() else ():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):  # gone meanwhile, or another user's
            for variable in (entry / "environ").read_bytes().split(b"\0"):
                if variable.startswith(mark):
                    yield int(entry.name), os.fsdecode(variable.removeprefix(mark))


# -- folders of which nothing else is known ----------------------------------------------------


@dataclass(frozen=True)
class Living:
    """What still runs of a host.

    Attributes:
        pid: Of its supervisor, or of what a dead one left; in a container, as counted there.
    """

    directory: Path
    pid: int
    in_container: bool


def living_in(attempts: Path, proc: Path = Path("/proc")) -> list[Living]:
    """Return what still runs of all hosts of a job, whoever started it."""
    found = [
        Living(directory, living_supervisor(directory) or 0, _is_in_container(directory))
        for directory in sorted(attempts.glob("*/*"))
        if is_alive(directory)
    ]
    if not attempts.is_dir():
        return found
    for pid, fifo in _reporting(proc):
        directory = Path(fifo).parent
        if directory.is_relative_to(attempts):
            found.append(Living(directory, pid, in_container=False))
    return found


def _is_in_container(directory: Path) -> bool:
    plan = staging.read_json(directory / contract.PLAN_FILE)
    sandbox = plan.get("sandbox") if isinstance(plan, dict) else None
    return isinstance(sandbox, dict) and sandbox.get("kind") == "container"
