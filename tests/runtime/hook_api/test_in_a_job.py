from __future__ import annotations

import json

import pytest
from orchestrator_runtime.trace import read_trace

from tests.runtime.hook_api.test_everything import run

pytestmark = pytest.mark.torch


def test_in_a_watched_job_nothing_is_recorded_twice(tmp_path):
    plan = tmp_path / "plan.json"
    rules = [{"rule": "non_finite", "parameters": {}}]
    plan.write_text(json.dumps({"directory": str(tmp_path), "rules": rules}), encoding="utf-8")
    done = run("in_a_job.py", plan=plan)
    lines = done.stdout.splitlines()
    (trace,) = tmp_path.glob("*.trace")
    assert lines[0].startswith("Finding(rule='non_finite'")
    assert lines[1] == "2 ['non_finite', 'non_finite'] None"
    assert lines[-1] == str(trace)
    first, second = read_trace(str(trace)).steps
    assert first.blocks["gradients/l2"].table.names == ["mine.weight", "mine.bias"]
    assert second.blocks["gradients/l2"].table.names == ["weight", "bias"]
    assert first.scalars["score"] == 7
    assert "the job's own debugger is at work here" in done.stderr
