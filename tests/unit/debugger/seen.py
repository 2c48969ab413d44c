"""Jobs with a debugger, and lines as its hook writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from orchestrator.spec.record import TrainingJobRecord
from tests.unit.cli.records import START, record

WATCHING = {"kind": "debugger", "state": "watching", "framework": "torch", "rank": 0}
ENDED = {"kind": "debugger", "state": "ended", "steps": 40, "backwards": 40, "rank": 0}
UNMONITORED = {"kind": "debugger", "state": "unmonitored", "reason": "no step of an optimizer"}
RUNNING: dict[str, Any] = {
    "status": "InProgress",
    "secondary_status": "Training",
    "end_reason": None,
    "ended_at": None,
    "training_ended_at": None,
}


def moment(seconds: float) -> float:
    """Epoch seconds after the start of every job."""
    return START.timestamp() + seconds


def finding(rule: Any = "non_finite", **more: Any) -> dict[str, Any]:
    """A line of a rule that found something."""
    return {
        "kind": "finding",
        "rule": rule,
        "name": rule,
        "step": 7,
        "optimizer": 0,
        "layers": ["fc1.weight"],
        "values": {"l2": "nan", "loss": 2.5},
        "message": "a gradient is not finite",
        "cause": "the learning rate is too high",
        "remedies": ["lower it"],
        "time": moment(2.5),
        "stop": False,
        **more,
    }


def watched(debugger: dict[str, Any] | None = None, **changes: Any) -> TrainingJobRecord:
    """A job with a debugger of two rules."""
    rules = {"rules": ["non_finite", "vanishing_gradient"]} if debugger is None else debugger
    spec = {"debugger": rules, **changes.pop("spec", {})}
    return record(spec=spec, **changes)


def write(
    folder: Path, *lines: Any, attempt: int = 1, host: str = "algo-1", tail: bytes = b""
) -> None:
    """Append lines to the file of a host: values as JSON, bytes as they are."""
    directory = folder / "attempts" / str(attempt) / host
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "debugger.jsonl").open("ab") as file:
        for line in lines:
            file.write(line if isinstance(line, bytes) else json.dumps(line).encode())
            file.write(b"\n")
        file.write(tail)
