"""Reads what a container has left in its host directory, all of which may be forged.

A program runs as the same user as its supervisor, so it can write what the supervisor writes.
It may lie about itself; it must not make the service read, publish or hang on anything else:
links are not followed, FIFOs not opened, sizes and shapes are checked.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from orchestrator_runtime import contract

from orchestrator.backends.base import AttemptContext

if TYPE_CHECKING:
    from orchestrator_runtime.contract import (
        ArtifactRecord,
        ExitRecord,
        Outcome,
        PhaseRecord,
        StopRequest,
    )

N = TypeVar("N", int, float)

MAX_BYTES = 1 << 20
MAX_TEXT = 20_000
MAX_ENTRIES = 1000

_ARTIFACTS = {
    "model": (contract.MODEL_ARCHIVE, contract.MODEL),
    "output": (contract.OUTPUT_ARCHIVE, contract.OUTPUT),
}
# Tuples: a forged value need not be hashable.
_PHASES = (
    contract.PHASE_DOWNLOADING,
    contract.PHASE_TRAINING,
    contract.PHASE_UPLOADING,
    contract.PHASE_STOPPING,
)
_OUTCOMES = (
    "exited",
    "stopped",
    "max_runtime",
    "out_of_memory",
    "input_failed",
    "disk_quota",
    "install_failed",
    "not_started",
    "internal",
)
# What stays in a host directory after release.
_KEPT_FILES = {
    contract.PLAN_FILE,
    contract.CLAIM_FILE,
    contract.STATUS_FILE,
    contract.STOP_FILE,
    contract.EXIT_FILE,
    contract.LOG_FILE,
    contract.LOG_INDEX_FILE,
    contract.RECORDS_FILE,
    contract.DEBUG_RECORDS_FILE,
    "supervisor.err",
}


def read_object(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in a regular file; None for anything else."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except OSError:
        return None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_BYTES:
            return None
        value = json.loads(os.read(descriptor, MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    finally:
        os.close(descriptor)
    return value if isinstance(value, dict) else None


def read_phases(directory: Path) -> tuple[PhaseRecord, ...]:
    """Return the phases that a host says it went through."""
    status = read_object(directory / contract.STATUS_FILE) or {}
    return tuple(_phases(status.get("phases")))


def read_stop(directory: Path) -> StopRequest | None:
    """Return the request to stop in a host directory, if there is a sound one."""
    found = read_object(directory / contract.STOP_FILE) or {}
    requested_at = _number(found.get("requested_at"), float)
    grace = _number(found.get("grace_seconds"), float)
    intent = _text(found.get("intent"), 64)
    if requested_at is None or grace is None or intent is None:
        return None
    return {"intent": intent, "requested_at": requested_at, "grace_seconds": grace}


def read_exit(directory: Path, context: AttemptContext, host: str) -> ExitRecord | None:
    """Return a host's exit record; None while there is no sound one.

    Names are the service's own, texts are cut, artifacts that are not what they should be are
    left out.
    """
    found = read_object(directory / contract.EXIT_FILE)
    if found is None or found.get("outcome") not in _OUTCOMES:
        return None
    return {
        "format": contract.FORMAT,
        "job_name": context.spec.training_job_name,
        "attempt": context.attempt,
        "host": host,
        "outcome": cast("Outcome", found["outcome"]),
        "exit_code": _number(found.get("exit_code"), int),
        "signal": _number(found.get("signal"), int),
        "stop_intent": _text(found.get("stop_intent")),
        "failure": _text(found.get("failure"), contract.FAILURE_MAX_CHARACTERS),
        "message": _text(found.get("message")) or str(found["outcome"]),
        "phases": _phases(found.get("phases")),
        "started_at": _number(found.get("started_at"), float),
        "ended_at": _number(found.get("ended_at"), float) or 0.0,
        "artifacts": _artifacts(directory, found.get("artifacts")),
        "log_bytes": _number(found.get("log_bytes"), int) or 0,
        "log_truncated": found.get("log_truncated") is True,
        "records_dropped": _number(found.get("records_dropped"), int) or 0,
        "peak_memory_bytes": _number(found.get("peak_memory_bytes"), int),
        "limits_by": _text(found.get("limits_by"), 32) or "none",
        "sandbox": "container",
    }


def new_exit(
    directory: Path,
    context: AttemptContext,
    host: str,
    *,
    outcome: Outcome,
    message: str,
    ended_at: float,
    exit_code: int | None = None,
    stop_intent: str | None = None,
) -> ExitRecord:
    """Return the record of a host whose supervisor could not leave one."""
    phases = read_phases(directory)
    log = directory / contract.LOG_FILE
    return {
        "format": contract.FORMAT,
        "job_name": context.spec.training_job_name,
        "attempt": context.attempt,
        "host": host,
        "outcome": outcome,
        "exit_code": exit_code,
        "signal": None,
        "stop_intent": stop_intent,
        "failure": None,
        "message": message,
        "phases": list(phases),
        "started_at": next(
            (p["at"] for p in phases if p["phase"] == contract.PHASE_TRAINING), None
        ),
        "ended_at": ended_at,
        "artifacts": {},
        "log_bytes": log.lstat().st_size if log.is_file() and not log.is_symlink() else 0,
        "log_truncated": False,
        "records_dropped": 0,
        "peak_memory_bytes": None,
        "limits_by": "none",
        "sandbox": "container",
    }


def _number(value: Any, kind: Callable[[Any], N]) -> N | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    with suppress(OverflowError):  # a whole number beyond all floats
        return kind(value) if math.isfinite(value) else None
    return None


def _text(value: Any, limit: int = MAX_TEXT) -> str | None:
    return value[:limit] if isinstance(value, str) else None


def _phases(value: Any) -> list[PhaseRecord]:
    phases: list[PhaseRecord] = []
    for item in value[:MAX_ENTRIES] if isinstance(value, list) else ():
        phase, at = (item.get("phase"), item.get("at")) if isinstance(item, dict) else (None, None)
        time = _number(at, float)
        if phase in _PHASES and time is not None and 0 <= time < 1e11:
            phases.append({"phase": phase, "at": time})
    return phases


def _artifacts(directory: Path, value: Any) -> dict[str, ArtifactRecord]:
    claimed = value if isinstance(value, dict) else {}
    accepted: dict[str, ArtifactRecord] = {}
    folder = directory / contract.ARTIFACTS_DIRECTORY
    for kind, names in _ARTIFACTS.items():
        record = claimed.get(kind)
        if not isinstance(record, dict) or folder.is_symlink():
            continue
        name = next((n for n in names if record.get("path") == f"{folder.name}/{n}"), None)
        size = _sound_size(folder / name) if name else None
        if size is not None:
            accepted[kind] = _artifact(record, size)
    return accepted


def _artifact(record: Mapping[str, Any], size: int) -> ArtifactRecord:
    skipped = record.get("skipped")
    return {
        "path": str(record["path"]),
        "bytes": size,
        "files": _number(record.get("files"), int) or 0,
        "skipped": [
            str(item)[:MAX_TEXT]
            for item in (skipped[:MAX_ENTRIES] if isinstance(skipped, list) else ())
        ],
    }


def _sound_size(path: Path) -> int | None:
    """Return the size of a packed output; None unless it is a file or a tree of files."""
    try:
        found = path.lstat()
    except OSError:
        return None
    if stat.S_ISREG(found.st_mode):
        return found.st_size
    return _tree_size(path) if stat.S_ISDIR(found.st_mode) else None


def _tree_size(root: Path) -> int:
    """Return the bytes in a tree, after removing from it what is no file, directory or inner link."""
    size = 0
    inside = f"{os.path.realpath(root)}{os.sep}"
    for folder, folders, names in os.walk(root):
        for name in (*folders, *names):
            path = Path(folder, name)
            found = path.lstat()
            if stat.S_ISREG(found.st_mode):
                size += found.st_size
            elif stat.S_ISLNK(found.st_mode) and os.path.realpath(path).startswith(inside):
                continue
            elif not stat.S_ISDIR(found.st_mode):
                path.unlink()
    return size


def discard_all_but_records(directory: Path) -> None:
    """Remove everything from a host directory that is not known to be kept."""
    if not directory.is_dir():
        return
    for path in directory.iterdir():
        mode = path.lstat().st_mode
        if path.name in _KEPT_FILES and stat.S_ISREG(mode):
            continue
        if path.name == contract.ARTIFACTS_DIRECTORY and stat.S_ISDIR(mode):
            continue
        if stat.S_ISDIR(mode):
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
