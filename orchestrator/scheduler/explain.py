"""Why an attempt failed, in words that help: pure functions of the exit record and the log's end."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

from orchestrator.spec.record import Explanation
from orchestrator.spec.state import EndReason

if TYPE_CHECKING:
    from orchestrator_runtime.contract import ExitRecord

    from orchestrator.logs.excerpt import ErrorExcerpt
    from orchestrator.scheduler.outcome import Verdict

_SIGNAL_MEANING = {
    "SIGKILL": "killed from outside the program, often by the system when memory ran out",
    "SIGSEGV": "the program touched memory that is not its own; usually a fault in native code",
    "SIGABRT": "the program aborted itself; native libraries do so on failed assertions",
    "SIGBUS": "bad memory access; with data loaders often a full /dev/shm",
    "SIGILL": "an instruction this processor does not have; the package was built for another one",
    "SIGTERM": "asked to end from outside the program",
    "SIGFPE": "division by zero in native code",
}

_HINTS: tuple[tuple[str, str], ...] = (
    (
        r"ModuleNotFoundError|No module named",
        (
            "the package is not installed where the job runs: add it to requirements.txt, or choose "
            "an interpreter (python=) or image that has it"
        ),
    ),
    (
        r"ImportError",
        (
            "the package is there but does not fit: check its version in requirements.txt against "
            "the interpreter or image"
        ),
    ),
    (
        r"FileNotFoundError|No such file or directory",
        (
            "inputs are read from SM_CHANNEL_<NAME> (/opt/ml/input/data/<name>); pass the path as a "
            "channel, paths of your own machine are not part of the job"
        ),
    ),
    (
        r"Read-only file system|PermissionError",
        (
            "a job may write below /opt/ml/model, /opt/ml/output, /opt/ml/checkpoints and /tmp; "
            "input channels are read-only unless writable=True"
        ),
    ),
    (
        r"No space left on device",
        "the disk is full: free space in the home directory (orchestrator gc) or write less",
    ),
    (
        r"CUDA out of memory|OutOfMemoryError",
        "the GPU's memory is used up: a smaller batch size, gradient accumulation or a larger GPU",
    ),
    (
        r"Address already in use",
        "another process listens on the port: let the program take a free one (port 0)",
    ),
    (
        r"unrecognized arguments|the following arguments are required",
        (
            "hyperparameters arrive as command-line arguments (--name value): make the script's "
            "parser accept them"
        ),
    ),
    (
        r"ConnectionError|Network is unreachable|Temporary failure in name resolution",
        "the job has no network (enable_network_isolation) or the address cannot be reached",
    ),
)


def explain(found: Verdict, record: ExitRecord | None, excerpt: ErrorExcerpt) -> Explanation:
    """Build the explanation that SDK, CLI and REST show first.

    Args:
        found: The end reason with the host that caused it.
        record: That host's exit record; None when it left none.
        excerpt: What its log says.
    """
    code = record["exit_code"] if record else None
    killed_by = _signal_name(record)
    return Explanation(
        reason=found.reason,
        summary=_summary(found, record, excerpt, killed_by),
        host=found.host,
        exit_code=code,
        signal=killed_by,
        exception_type=excerpt.exception_type,
        exception_message=excerpt.message,
        user_frame=excerpt.user_frame,
        log_tail=excerpt.last_lines,
        hint=_hint(found, excerpt, killed_by),
    )


def _signal_name(record: ExitRecord | None) -> str | None:
    if record is None:
        return None
    number = record["signal"]
    code = record["exit_code"]
    if number is None and code is not None and 128 < code < 128 + 65:
        number = code - 128  # how shells and containers report a signal
    try:
        return signal.Signals(number).name if number is not None else None
    except ValueError:
        return None


def _summary(
    found: Verdict, record: ExitRecord | None, excerpt: ErrorExcerpt, killed_by: str | None
) -> str:
    own_words = record["failure"] if record else None
    if own_words:
        return own_words.strip()
    if record is not None and record["outcome"] == "install_failed":
        return _installer_said(excerpt) or found.message.partition("\n")[0]
    if found.reason is EndReason.OUT_OF_MEMORY:
        return found.message or "out of memory: the memory limit was reached"
    if found.reason is EndReason.EXIT_CODE and excerpt.exception_type:
        what = excerpt.exception_type
        if excerpt.message:
            what += f": {excerpt.message}"
        return f"{what} at {excerpt.user_frame}" if excerpt.user_frame else what
    if killed_by in _SIGNAL_MEANING:
        return f"{found.message} ({killed_by}: {_SIGNAL_MEANING[killed_by]})"
    return found.message


def _installer_said(excerpt: ErrorExcerpt) -> str | None:
    """Return the installer's own last sentence, which names the requirement and the remedy."""
    mark = "[orchestrator] "
    said = [line for line in excerpt.last_lines if line.startswith(mark)]
    return said[-1].removeprefix(mark) if said else None


def _hint(found: Verdict, excerpt: ErrorExcerpt, killed_by: str | None) -> str | None:
    if found.reason is EndReason.OUT_OF_MEMORY:
        return "raise resources.memory_gib, or use a smaller batch or fewer data-loader workers"
    if found.reason is EndReason.MAX_RUNTIME:
        return "raise stopping_condition.max_runtime_in_seconds, or resume from the checkpoint"
    where = f"{excerpt.exception_type or ''}: {excerpt.message or ''}"
    tail = "\n".join(excerpt.last_lines)
    for text in (where, tail):
        for pattern, hint in _HINTS:
            if re.search(pattern, text):
                return hint
    return f"look for the cause of {killed_by} in the log" if killed_by else None
