"""Losses and gradients between two steps: the loss that was meant, the norm that was, what is skipped."""

from __future__ import annotations

import pytest

from tests.runtime.debugger.agreement import approximately, check, recorded
from tests.runtime.debugger.programs.gradients import CLIPS
from tests.runtime.debugger.watched import ALL_RULES, Run, both, values

pytestmark = pytest.mark.torch

CLIPPED = [kind for kind in CLIPS if kind != "clipped_by_value"]
SCALED = ["scaled", "scaled_fused"]
SCALED_CLIPPED = ["scaled_clipped", "scaled_fused_clipped"]
OTHERS = ["scaled_off", "checkpointed", "two_losses", "within_a_mode", "evaluated"]
KINDS = ["accumulated", *CLIPS, "clipped_over_two", *SCALED, *SCALED_CLIPPED, *OTHERS]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    return both(tmp_path_factory.mktemp("gradients"), "gradients.py", plan={"rules": ALL_RULES})


@pytest.fixture(scope="module")
def found(runs):
    return recorded(runs[1])


def test_all_results_are_identical_and_nothing_is_found(runs):
    bare, seen = runs
    assert [line["kind"] for line in bare.lines] == KINDS
    assert bare.lines == seen.lines
    assert (seen.errors, seen.findings) == (bare.errors, [])


@pytest.mark.parametrize("kind", KINDS)
def test_losses_and_gradients_are_those_that_the_program_saw(found, kind):
    for account, steps in found[kind]:
        check(account, steps)


def test_parts_of_a_batch_are_counted(found):
    ((_, steps),) = found["accumulated"]
    assert values(steps, "backwards") == [4.0] * 12


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in {"accumulated"}])
def test_one_pass_goes_without_saying(found, kind):
    for _, steps in found[kind]:
        if kind != "clipped_over_two":  # where the second optimizer has none of its own
            assert values(steps, "backwards") == [None] * 12


@pytest.mark.parametrize("kind", [*CLIPPED, "clipped_over_two", *SCALED_CLIPPED])
def test_the_norm_before_clipping_and_what_clipping_did(found, kind):
    for account, steps in found[kind]:
        for record, before in zip(steps, account["before"], strict=True):
            if record.skipped:
                continue
            assert record.scalars["norm_before_clip"] == approximately(before)
            clip = min(1.0, record.scalars["norm"] / before)
            assert record.scalars["clip"] == approximately(clip)
            assert (clip < 0.9) == (kind != "clipped_in_vain")


@pytest.mark.parametrize("kind", ["clipped_by_value", "accumulated", *SCALED, *OTHERS])
def test_without_clipping_by_norm_there_is_no_norm_before(found, kind):
    for _, steps in found[kind]:
        assert values(steps, "norm_before_clip") == [None] * 12


@pytest.mark.parametrize("kind", [*SCALED, *SCALED_CLIPPED])
def test_steps_that_a_scaler_leaves_out_are_marked_and_have_no_gradients(found, kind):
    ((account, steps),) = found[kind]
    assert 0 < sum(account["skips"]) < 12
    assert [record.skipped for record in steps] == account["skips"]
    assert all(not record.blocks for record in steps if record.skipped)
