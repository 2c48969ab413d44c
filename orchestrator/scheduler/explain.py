"""Why an attempt failed, in words that help: pure functions of the exit record and the log's end."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

from orchestrator.logs.hints import exit_meaning, hint_for
from orchestrator.spec.record import Explanation
from orchestrator.spec.state import EndReason

if TYPE_CHECKING:
    from orchestrator_runtime.contract import ExitRecord

    from orchestrator.logs.excerpt import ErrorExcerpt
    from orchestrator.scheduler.outcome import Verdict

_PLATFORM_SPEAKS = frozenset({EndReason.DISK_QUOTA, EndReason.INPUT_ERROR})
"""Reasons whose message has the remedy; the program only suffered from what it tells."""
COMPLAINT_LINES = 5
COMPLAINT_CHARACTERS = 300
_COMPLAINS = re.compile(
    r"\b(error|fatal|cannot|can't|failed|failure|denied|refused|not found|no such|invalid|usage)\b",
    re.IGNORECASE,
)
# What SageMaker's SDK leaves of a script that failed: how its driver found out, not why.
_OF_A_DRIVER = re.compile(
    r"Traceback \(most recent call last\):\n(?:.*\n)*?(?:subprocess\.)?CalledProcessError: "
    r"|Training Execution failed\. For more details, see CloudWatch logs"
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
    if found.reason in _PLATFORM_SPEAKS:
        return found.message
    if own_words and not _OF_A_DRIVER.match(own_words):
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
    if record is not None and killed_by is not None:
        return f"{found.message} ({exit_meaning(record['exit_code'], record['signal'])})"
    if found.reason is EndReason.EXIT_CODE and (said := _complaint(excerpt)):
        return f"{found.message}: {said}"
    if found.reason is EndReason.EXIT_CODE and excerpt.last_lines:
        return f"{found.message}; it last printed: {_short(excerpt.last_lines[-1])}"
    return found.message


def _complaint(excerpt: ErrorExcerpt) -> str | None:
    """Return the last line of a log that complains, of a program that shows no exception."""
    for line in reversed(excerpt.last_lines[-COMPLAINT_LINES:]):
        if _COMPLAINS.search(line):
            return _short(line)
    return None


def _short(line: str) -> str:
    return line.strip()[:COMPLAINT_CHARACTERS]


def _installer_said(excerpt: ErrorExcerpt) -> str | None:
    """Return the installer's own last sentence, which names the requirement and the remedy."""
    mark = "[orchestrator] "
    said = [line for line in excerpt.last_lines if line.startswith(mark)]
    return said[-1].removeprefix(mark) if said else None


def _hint(found: Verdict, excerpt: ErrorExcerpt, killed_by: str | None) -> str | None:
    if found.reason is EndReason.OUT_OF_MEMORY:
        return "raise resources.memory_gib, or use a smaller batch or fewer data-loader workers"
    if found.reason in _PLATFORM_SPEAKS:
        return None
    hint = hint_for(excerpt)
    if hint is None and killed_by is not None:
        return f"look for the cause of {killed_by} at the end of the log"
    return hint
