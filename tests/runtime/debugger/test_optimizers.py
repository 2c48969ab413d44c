"""However a program steps, it trains as without the debugger, and every step is recorded as it was."""

from __future__ import annotations

import pytest

from tests.runtime.debugger.agreement import check, recorded
from tests.runtime.debugger.programs.optimizers import MAKERS
from tests.runtime.debugger.watched import ALL_RULES, Run, both, values

pytestmark = pytest.mark.torch

KINDS = [*MAKERS, "closure", "lbfgs", "gan", "added_group", "resumed", "failing", "copied"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    directory = tmp_path_factory.mktemp("optimizers")
    return both(directory, "optimizers.py", plan={"rules": ALL_RULES})


@pytest.fixture(scope="module")
def found(runs):
    return recorded(runs[1])


def test_all_results_are_identical_and_nothing_is_found(runs):
    bare, seen = runs
    assert [line["kind"] for line in bare.lines] == KINDS
    assert bare.lines == seen.lines
    assert (seen.errors, seen.findings) == (bare.errors, [])
    assert seen.states() == ["watching", "ended"]


@pytest.mark.parametrize("kind", KINDS)
def test_losses_and_gradients_are_those_that_the_program_saw(found, kind):
    for account, steps in found[kind]:
        check(account, steps)


@pytest.mark.parametrize(
    ("kind", "rate"), [("sgd", 0.1), ("fused", 0.01), ("tensor_rate", 0.01), ("gan", 1e-3)]
)
def test_learning_rates(found, kind, rate):
    for _, steps in found[kind]:
        assert values(steps, "learning_rate") == [pytest.approx(rate)] * 12


def test_a_closure_that_is_run_many_times_is_one_step_of_many_passes(found):
    ((account, steps),) = found["lbfgs"]
    assert max(account["calls"]) > 1
    assert [record.scalars.get("backwards", 1) for record in steps] == account["calls"]


def test_the_names_of_a_new_group_come_with_it(found):
    ((_, steps),) = found["added_group"]
    first, last = (record.blocks["gradients/l2"].table.names for record in (steps[6], steps[7]))
    assert first == ["4.weight", "4.bias"]
    assert last == ["0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias"]


def test_copies_and_pickles_bear_no_trace(runs):
    assert runs[1].lines[-1]["marked"] is False
