from __future__ import annotations

import pytest
from orchestrator_runtime.hook.include import Include
from orchestrator_runtime.hook.monitor import Monitor
from orchestrator_runtime.hook.plan import DebugPlan, RulePlan
from orchestrator_runtime.trace import read_trace
from orchestrator_runtime.trace.record import Block, StepRecord, Table, Tensor

GRADIENTS = Table(
    "gradients",
    0,
    (Tensor("conv.weight", (2, 2), "matrix"), Tensor("fc.weight", (3,), "vector")),
)
OUTPUTS = Table("outputs", 0, (Tensor("act", (4,), "relu"),))


def record(step=0):
    return StepRecord(
        step,
        1.0,
        scalars={"loss": 2.0},
        blocks={
            "gradients/l2": Block(GRADIENTS, [1.0, None]),
            "gradients/abs_mean": Block(GRADIENTS, [1.0, 0.0]),
            "outputs/zeros": Block(OUTPUTS, [0.5]),
        },
    )


def names(step):
    return {series: block.table.names for series, block in step.blocks.items()}


def test_without_patterns_a_step_is_recorded_as_it_is():
    step = record()
    assert Include(()).part(step) is step


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("^fc", {"gradients/l2": ["fc.weight"], "gradients/abs_mean": ["fc.weight"]}),
        (
            "gradient/conv",
            {"gradients/l2": ["conv.weight"], "gradients/abs_mean": ["conv.weight"]},
        ),
        ("relu_output", {"outputs/zeros": ["act"]}),
        ("outputs/", {"outputs/zeros": ["act"]}),
        ("none", {}),
    ],
)
def test_only_tensors_whose_names_match_are_recorded(pattern, expected):
    part = Include([pattern]).part(record())
    assert names(part) == expected
    assert part.scalars == {"loss": 2.0}


def test_values_stay_with_their_tensors():
    part = Include(["fc"]).part(record())
    assert list(part.blocks["gradients/l2"].values) == [None]
    assert list(part.blocks["gradients/abs_mean"].values) == [0.0]


def test_a_pattern_without_a_tensor_is_named_with_what_there_is():
    include = Include(["conv", "decoder", "("])
    include.part(record())
    assert include.remarks() == [
        "include pattern 'decoder' matches no tensor; there are: act, conv.weight, fc.weight"
    ]
    assert "no regular expression" in include.faults[0]


def test_rules_see_what_the_trace_leaves_out(tmp_path, capsys):
    rule = RulePlan("VanishingGradient", "mine", {}, stop=False)
    unmatched = RulePlan("AllZero", "other", {"tensor_regex": "decoder"}, stop=False)
    plan = DebugPlan(str(tmp_path), (rule, unmatched), include=("conv", "decoder", "("))
    monitor = Monitor(plan)
    monitor.step(record(0))
    monitor.step(record(1))
    monitor.end()
    assert [finding.layers for finding in monitor.findings] == [("fc.weight",)]
    trace = read_trace(str(monitor.trace_path))
    assert all(names(step)["gradients/l2"] == ["conv.weight"] for step in trace.steps)
    notes = [event["text"] for event in trace.events if event["event"] == "note"]
    assert [note.split()[0] for note in notes] == ["'('", "include"]
    (unjudged,) = [event for event in trace.events if event["event"] == "not_evaluated"]
    assert unjudged["rule"] == "other"
    assert "'decoder' matches no tensor" in capsys.readouterr().err


def test_a_run_of_one_step_is_told_at_its_end(tmp_path):
    monitor = Monitor(DebugPlan(str(tmp_path), include=("decoder",)))
    monitor.step(record())
    monitor.end()
    trace = read_trace(str(monitor.trace_path))
    assert [event["event"] for event in trace.events][-2:] == ["note", "end"]
