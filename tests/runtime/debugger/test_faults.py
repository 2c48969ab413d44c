"""Whatever fails in the debugger, and wherever, the program trains as without it."""

from __future__ import annotations

import pytest

from tests.runtime.debugger.watched import ALL_RULES, SAYS, Run, both

pytestmark = pytest.mark.torch

SURROUNDINGS = ["no directory", "quota", "full disk"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    return both(tmp_path_factory.mktemp("faults"), "faults.py", plan={"rules": ALL_RULES})


def test_no_fault_of_any_function_changes_a_result(runs):
    bare, seen = runs
    (line,) = bare.lines
    kinds = [other["kind"] for other in seen.lines]
    assert len(kinds) > 150
    assert {"hook.pytorch.measure.l2", "hook.pytorch.watch.Watch.before"} < set(kinds)
    changed = [
        other["kind"]
        for other in seen.lines
        if other["kind"] != "interrupt" and other["accounts"] != line["accounts"]
    ]
    assert changed == []


def test_the_debugger_gives_up_after_some_faults_and_says_so_in_few_words(runs):
    said = [line for line in runs[1].said if "measure" not in line]
    broken = [line for line in said if "l2 is broken" in line]
    assert 3 <= len(broken) <= 4
    assert sum("unmonitored from here on" in line for line in broken) == 1
    assert "Traceback" not in runs[1].errors


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_a_trace_that_cannot_be_written_is_said_once(runs, name):
    part = runs[1].errors.partition(f"-- {name}\n")[2].partition("-- ")[0]
    (line,) = [line for line in part.splitlines() if SAYS in line]
    assert "nothing more is recorded, rules go on" in line


def test_ctrl_c_reaches_the_program_which_is_watched_afterwards(runs):
    ((interrupted,),) = [line["accounts"] for line in runs[1].lines if line["kind"] == "interrupt"]
    assert interrupted["interrupted"] == [1]
    (trace,) = [trace for trace in runs[1].traces if trace.steps and trace.steps[-1].time == newest(runs[1])]  # fmt: skip
    assert {record.step for record in trace.steps} >= {0, 2}


def newest(run: Run) -> float:
    return max(trace.steps[-1].time for trace in run.traces if trace.steps)
