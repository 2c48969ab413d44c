from __future__ import annotations

import pytest
from orchestrator_runtime.hook.monitor import Monitor
from orchestrator_runtime.hook.plan import DebugPlan, RulePlan, plan_from
from orchestrator_runtime.trace import read_trace

from tests.unit.rules.steps import step


@pytest.fixture
def trace(tmp_path, monkeypatch):
    """What a run of one step with some rules leaves."""

    def run(*names, **options):
        rules = tuple(RulePlan(name, name, {}, False, **options) for name in names)
        monitor = Monitor(DebugPlan(str(tmp_path), rules))
        monitor.step(step(0, loss=1.0, blocks={"gradients/abs_mean": [1.0]}))
        monitor.end()
        (path,) = tmp_path.glob("*.trace")
        return read_trace(str(path))

    return run


def events(trace, kind):
    return {event["rule"]: event for event in trace.events if event["event"] == kind}


def test_what_rules_sum_up_is_in_the_trace(trace):
    found = events(trace("OverallFrameworkMetrics", "VanishingGradient"), "report")
    assert {name: event["report"]["steps"] for name, event in found.items()} == {
        "OverallFrameworkMetrics": 1
    }


def test_rules_that_had_nothing_to_judge_say_so(trace, capsys):
    found = events(trace("TreeDepth", "VanishingGradient", "CPUBottleneck"), "not_evaluated")
    assert set(found) == {"TreeDepth", "CPUBottleneck"}
    assert "rule TreeDepth was not evaluated" in capsys.readouterr().err


def test_the_interval_of_a_collection_reaches_its_rule(tmp_path):
    rule = {"rule": "VanishingGradient", "save_interval": "7"}
    plan = plan_from({"directory": None, "rules": [rule, {"rule": "AllZero"}]})
    assert [each.save_interval for each in plan.rules] == [7, None]
    schedule = Monitor(plan).schedule
    assert "gradients/abs_mean" in schedule.due(7)
    assert "weights/zeros" in schedule.due(500)
    assert "weights/zeros" not in schedule.due(7)


class FewWaits:
    """Instead of the event that ends the watching thread: so many waits are not interrupted."""

    def __init__(self, waits: int) -> None:
        self.waited: list[float] = []
        self._waits = waits

    def wait(self, seconds: float) -> bool:
        self.waited.append(seconds)
        return len(self.waited) > self._waits

    def is_set(self) -> bool:
        return True


def test_gathered_steps_that_none_follows_are_looked_for_each_second():
    monitor = Monitor(plan_from({"directory": None}))
    looks: list[int] = []
    monitor.before_looking(lambda: looks.append(len(waits.waited)))
    waits = FewWaits(3)
    monitor._over = waits  # type: ignore[assignment]
    monitor._watch()
    assert looks == [1, 2, 3]
    assert max(waits.waited) <= 1.0  # a stop follows within two seconds
