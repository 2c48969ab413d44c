"""Reads ``debugger.jsonl`` of all attempts and hosts: what the hook says of itself, and findings.

The program can write anything into these files, through the supervisor: what makes no sense is
counted, everything has a bound.
"""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator_runtime import contract

from orchestrator.backends.base import attempt_directory
from orchestrator.debugger.texts import Text, numbers, shown_text, texts
from orchestrator.spec.findings import Finding
from orchestrator.spec.record import TrainingJobRecord
from orchestrator.spec.redact import masked_values

MOST_BYTES = contract.DEBUG_QUOTA_BYTES + contract.RECORD_MAX_BYTES
MOST_LINE_BYTES = 4 * contract.RECORD_MAX_BYTES  # hiding a short secret makes a line longer
MOST_FINDINGS = 1000
MOST_STATES = 10_000
NAME = 256
SENTENCE = 2000
_STATES = frozenset(
    {"watching", "ended", "idle", "unmonitored", "rule_error", "not_evaluated", "note"}
)
_MOST_STEPS = 1 << 62
_YEAR_2100 = 4_102_444_800.0


@dataclass(frozen=True)
class HookState:
    """What the hook of one process says of itself.

    Attributes:
        state: ``watching``, ``ended``, ``idle`` (a framework was loaded, nothing was trained),
            ``unmonitored``, ``rule_error``, ``not_evaluated`` (a rule had nothing to judge) or
            ``note``.
        text: Why it is unmonitored, what the rule raised, why it had nothing to judge, or a remark.
        rule: Which rule was not evaluated.
    """

    attempt: int
    host: str
    state: str
    at: datetime | None = None
    text: str = ""
    rule: str = ""
    framework: str = ""
    steps: int | None = None


@dataclass(frozen=True)
class Lines:
    """What all attempts and hosts have written so far, in this order.

    Attributes:
        left_out: Findings beyond MOST_FINDINGS.
        ignored: Lines that make no sense.
    """

    states: tuple[HookState, ...] = ()
    findings: tuple[Finding, ...] = ()
    left_out: int = 0
    ignored: int = 0


def read_lines(job_directory: Path, job: TrainingJobRecord) -> Lines:
    """Return what a job's debugger has written so far.

    Args:
        job_directory: The job's folder in the home directory.
        job: Whose attempts and hosts count; folders of others are none of its own.
    """
    shown = shown_text((*masked_values(job.spec),))
    found = _Found(shown)
    for attempt in range(1, job.attempt + 1):
        for host, _, _ in job.spec.hosts:
            directory = attempt_directory(job_directory, attempt) / host
            data = read_regular(directory / contract.DEBUG_RECORDS_FILE, MOST_BYTES)
            *whole, _ = data.split(b"\n")
            for line in whole:
                found.take(attempt, host, line)
    return found.lines()


def read_regular(path: Path, most_bytes: int) -> bytes:
    """Return the beginning of a file; nothing where there is none, or none that is a plain file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return b""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return b""
    with os.fdopen(descriptor, "rb") as file:
        return file.read(most_bytes)


class _Found:
    def __init__(self, shown: Text) -> None:
        self._shown = shown
        self._states: list[HookState] = []
        self._findings: list[Finding] = []
        self._left_out = 0
        self._ignored = 0

    def take(self, attempt: int, host: str, line: bytes) -> None:
        record = _record(line)
        kind = record.get("kind")
        if kind == "finding" and (finding := finding_of(attempt, host, record, self._shown)):
            self._add(finding)
        elif kind == "debugger" and (state := state_of(attempt, host, record, self._shown)):
            if len(self._states) < MOST_STATES:
                self._states.append(state)
        else:
            self._ignored += 1

    def _add(self, finding: Finding) -> None:
        if len(self._findings) < MOST_FINDINGS:
            self._findings.append(finding)
        else:
            self._left_out += 1

    def lines(self) -> Lines:
        return Lines(tuple(self._states), tuple(self._findings), self._left_out, self._ignored)


def _record(line: bytes) -> dict[str, Any]:
    if len(line) > MOST_LINE_BYTES:
        return {}
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def finding_of(attempt: int, host: str, record: dict[str, Any], shown: Text) -> Finding | None:
    """Return the finding of a line; None if it is none."""
    rule, message = shown(record.get("rule"), NAME), shown(record.get("message"), SENTENCE)
    step = _whole(record.get("step"))
    if not rule or step is None:
        return None
    return Finding(
        attempt=attempt,
        host=host,
        rule=rule,
        name=shown(record.get("name"), NAME) or rule,
        step=step,
        optimizer=_whole(record.get("optimizer")) or 0,
        layers=texts(record.get("layers"), shown, most=100, limit=512),
        values=numbers(record.get("values"), shown, most=50, limit=NAME),
        message=message,
        cause=shown(record.get("cause"), SENTENCE),
        remedies=texts(record.get("remedies"), shown, most=20, limit=SENTENCE),
        at=_moment(record.get("time")),
        stop=record.get("stop") is True,
    )


def state_of(attempt: int, host: str, record: dict[str, Any], shown: Text) -> HookState | None:
    """Return what a line says of the hook; None if it says nothing that is known."""
    state = record.get("state")
    if not isinstance(state, str) or state not in _STATES:
        return None
    said = HookState(attempt, host, state, at=_moment(record.get("time")))
    text = shown(record.get("reason") or record.get("error"), SENTENCE)
    return replace(
        said,
        text=text,
        rule=shown(record.get("rule"), NAME),
        framework=shown(record.get("framework"), 64),
        steps=_whole(record.get("steps")),
    )


def _whole(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value < _MOST_STEPS else None


def _moment(value: Any) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return datetime.fromtimestamp(value, UTC) if 0 < value < _YEAR_2100 else None
