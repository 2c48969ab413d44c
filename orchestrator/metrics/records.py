"""Structured records of user code: one JSON object a line, from a program nobody trusts."""

from __future__ import annotations

import json
import math
from enum import Enum
from typing import Any, TypeGuard

from orchestrator_runtime.contract import RECORD_MAX_BYTES

from orchestrator.metrics.points import MetricPoint, Source

MAX_NAME_CHARACTERS = 255
_INT64 = 2**63
_MAX_RANK = 2**31
_MAX_SECONDS = 253_402_300_800  # the year 10000


class NoPoint(Enum):
    """Why a line is not a point."""

    OTHER = "other"
    """A record of another kind, for somebody else."""
    REJECTED = "rejected"


def parse_record(line: bytes, source: Source, position: int) -> MetricPoint | NoPoint:
    """Return the point of a line of ``records.jsonl``; never raises.

    Args:
        line: Without its newline.
        source: Where it was read.
        position: Its byte offset there.
    """
    if len(line) > RECORD_MAX_BYTES:
        return NoPoint.REJECTED
    try:
        record = json.loads(line.decode())
    except (ValueError, RecursionError):
        return NoPoint.REJECTED
    if not isinstance(record, dict) or not isinstance(record.get("kind"), str):
        return NoPoint.REJECTED
    if record["kind"] != "metric":
        return NoPoint.OTHER
    name, value, step = record.get("name"), _value(record.get("value")), record.get("step")
    time_us, rank = _time_us(record.get("time")), record.get("rank")
    if not _is_name(name) or value is None or time_us is None:
        return NoPoint.REJECTED
    if not _is_whole(step, -_INT64, _INT64) or not _is_whole(rank, 0, _MAX_RANK):
        return NoPoint.REJECTED
    return MetricPoint(name, value, time_us, step, rank, source, position)


def _is_name(name: Any) -> TypeGuard[str]:
    return isinstance(name, str) and 0 < len(name) <= MAX_NAME_CHARACTERS and name.isprintable()


def _value(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:  # a whole number beyond all floats
        return None


def _time_us(seconds: Any) -> int | None:
    number = _value(seconds)
    if number is None or not math.isfinite(number) or not 0 <= number < _MAX_SECONDS:
        return None
    return round(number * 1_000_000)


def _is_whole(number: Any, low: int, end: int) -> bool:
    if number is None:
        return True
    return isinstance(number, int) and not isinstance(number, bool) and low <= number < end
