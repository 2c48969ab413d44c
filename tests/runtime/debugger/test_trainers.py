"""The training loops of Lightning, Transformers and Accelerate, which hide the usual one."""

from __future__ import annotations

import pytest

from tests.runtime.debugger.agreement import approximately, by_optimizer
from tests.runtime.debugger.watched import ALL_RULES, Run, both, series, values

pytestmark = [pytest.mark.trainers, pytest.mark.timeout(240)]

TRAINERS = ["lightning", "transformers", "accelerate"]
KINDS = [f"{trainer}{ending}" for trainer in TRAINERS for ending in ("", " broken")]


@pytest.fixture(scope="module")
def runs(tmp_path_factory, trainers_python) -> tuple[Run, Run]:
    directory = tmp_path_factory.mktemp("trainers")
    return both(directory, "trainers.py", plan={"rules": ALL_RULES}, python=trainers_python)


@pytest.fixture(scope="module")
def found(runs):
    """By kind: what the program says, its optimizer's steps, and what was found."""
    _, seen = runs
    lines = {line["kind"]: line for line in seen.lines if isinstance(line, dict)}
    assert list(lines) == KINDS
    findings = [event for event in seen.trace.events if event["event"] == "finding"]
    optimizers = enumerate(by_optimizer(seen.trace.steps))
    return {
        kind: (line, steps, [each for each in findings if each["optimizer"] == index])
        for (kind, line), (index, steps) in zip(lines.items(), optimizers, strict=True)
    }


def test_all_results_are_identical(runs):
    bare, seen = runs
    assert str(bare.lines) == str(seen.lines)  # there are NaN among them


@pytest.mark.parametrize("trainer", TRAINERS)
def test_steps_losses_and_clipping_are_those_that_the_program_saw(found, trainer):
    line, steps, findings = found[trainer]
    (account,) = line["accounts"]
    assert findings == []
    assert len(steps) == line["steps"] == 12
    assert values(steps, "loss") == approximately(account["losses"])
    assert values(steps, "backwards") == [4.0] * 12
    own = account.get("before") or [
        sum(norm**2 for norm in norms.values()) ** 0.5 for norms in account["norms"]
    ]
    assert values(steps, "norm_before_clip") == approximately(own)
    assert all(record.scalars["clip"] < 0.9 for record in steps)
    assert list(series(steps, "gradients/l2")[0]) == account["names"]


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_training_that_is_broken_is_found(runs, found, trainer):
    _, steps, findings = found[f"{trainer} broken"]
    assert len(steps) == 12
    assert findings
    assert [line for line in runs[1].said if findings[0]["message"] in line]
