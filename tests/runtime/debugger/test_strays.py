"""Weights that get gradients but belong to no optimizer."""

from __future__ import annotations

import pytest
from orchestrator_runtime.trace.record import STRAYS_L2

from tests.runtime.debugger.watched import ALL_RULES, both, run, series

pytestmark = pytest.mark.torch


def test_the_part_of_the_model_that_no_optimizer_has_is_told_and_found(tmp_path):
    bare, seen = both(tmp_path, "strays.py", "head", plan={"rules": ALL_RULES})
    found = series(seen.trace.steps, STRAYS_L2)
    assert [sorted(norms) for norms in found] == [["0.bias", "0.weight"]] * 2
    assert all(norm > 0 for norms in found for norm in norms.values())
    assert seen.findings.count("unchanged_weights") == 1
    assert bare.lines == seen.lines


@pytest.mark.parametrize("kind", ["both", "frozen"])
def test_what_another_optimizer_has_or_needs_no_gradient_is_not(tmp_path, kind):
    seen = run(tmp_path, "strays.py", kind, plan={"rules": ALL_RULES})
    assert series(seen.trace.steps, STRAYS_L2) == []
    assert "unchanged_weights" not in seen.findings
