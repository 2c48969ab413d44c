"""Compares what a program measured of itself with what the debugger recorded of it."""

from __future__ import annotations

from typing import Any

import pytest
from orchestrator_runtime.trace.record import StepRecord

from tests.runtime.debugger.watched import Run, series, values


def approximately(numbers: Any) -> Any:
    """Within single precision."""
    return pytest.approx(numbers, rel=2e-5, abs=1e-12, nan_ok=True)


def by_optimizer(steps: list[StepRecord]) -> list[list[StepRecord]]:
    """The steps of each optimizer."""
    count = 1 + max((record.optimizer for record in steps), default=-1)
    return [[record for record in steps if record.optimizer == index] for index in range(count)]


def recorded(run: Run) -> dict[str, list[tuple[dict[str, Any], list[StepRecord]]]]:
    """By kind of training: what each optimizer's account says, and its steps in the trace."""
    optimizers = by_optimizer(run.trace.steps)
    found = {}
    for line in run.lines:
        accounts = line["accounts"]
        found[line["kind"]] = list(zip(accounts, optimizers, strict=False))
        assert len(found[line["kind"]]) == len(accounts), line["kind"]
        optimizers = optimizers[len(accounts) :]
    assert not optimizers
    return found


def check(account: dict[str, Any], steps: list[StepRecord]) -> None:
    """Fail unless an optimizer's steps, losses and gradients are those of the account."""
    assert [record.step for record in steps] == list(range(len(account["losses"])))
    assert values(steps, "loss") == approximately(account["losses"])
    executed = [record for record in steps if not record.skipped]
    wanted = [
        norms for record, norms in zip(steps, account["norms"], strict=True) if not record.skipped
    ]
    for seen, own in zip(series(executed, "gradients/l2"), wanted, strict=True):
        assert list(seen) == list(own)
        assert seen == approximately(own)
    for record, own in zip(executed, wanted, strict=True):
        norm = sum(value**2 for value in own.values()) ** 0.5
        assert record.scalars["norm"] == approximately(norm)
