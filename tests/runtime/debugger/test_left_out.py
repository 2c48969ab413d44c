"""Weights that get gradients but belong to no optimizer."""

from __future__ import annotations

import pytest

from tests.runtime.debugger.watched import ALL_RULES, both, run

pytestmark = pytest.mark.torch


def test_the_part_of_the_model_that_no_optimizer_has_is_told_and_found(tmp_path):
    bare, seen = both(tmp_path, "left_out.py", "head", plan={"rules": ALL_RULES})
    shares = {r.step: r.scalars["left_out"] for r in seen.trace.steps if "left_out" in r.scalars}
    assert shares == {50: 0.5, 100: 0.5}
    assert seen.findings.count("unchanged_weights") == 1
    assert bare.lines == seen.lines


@pytest.mark.parametrize("kind", ["both", "frozen"])
def test_what_another_optimizer_has_or_needs_no_gradient_is_not(tmp_path, kind):
    seen = run(tmp_path, "left_out.py", kind, plan={"rules": ALL_RULES})
    assert not any("left_out" in record.scalars for record in seen.trace.steps)
    assert "unchanged_weights" not in seen.findings
