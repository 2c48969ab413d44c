from __future__ import annotations

import sys
import types
from typing import ClassVar

import pytest
from orchestrator_runtime.rules import Engine, Finding, Need, Parameter, Rule, RuleError, judge_of

from tests.unit.rules.steps import step


class Spike(Rule):
    """A user's rule."""

    name = "Spike"
    parameters: ClassVar = (Parameter("limit", 2.0),)
    needs: ClassVar = (Need("gradients/l2"),)

    def observe(self, record):
        if record.scalars.get("loss", 0) > self.number("limit"):
            return Finding(self.name, record.step, "spike")
        return None


class Broken(Rule):
    def __init__(self, **given):
        raise KeyError("no")

    def observe(self, record):
        return None


class Blind(Rule):
    """It misspelt the method that it meant."""

    def observes(self, record):
        return None


@pytest.fixture
def module(monkeypatch):
    made = types.ModuleType("my_rules")
    vars(made).update(Spike=Spike, Broken=Broken, Blind=Blind, thing=3)
    monkeypatch.setitem(sys.modules, "my_rules", made)


@pytest.mark.usefixtures("module")
class TestCustomRules:
    def test_a_class_of_the_user_is_a_rule(self):
        judge = judge_of("my_rules:Spike", {"limit": "1.5"}, name="mine", stop=True)
        assert judge.needs == (Need("gradients/l2"),)
        (told, finding), *rest = Engine([judge]).observe(step(4, loss=1.6))
        assert not rest
        assert (told.stop, finding.rule, finding.name, finding.step) == (True, "Spike", "mine", 4)

    def test_it_gets_no_interval_that_it_did_not_ask_for(self):
        assert judge_of("my_rules:Spike", save_interval=5).make().values == {"limit": 2.0}

    @pytest.mark.parametrize(
        ("place", "text"),
        [
            ("my_rules:Missing", "cannot be loaded"),
            ("no_such_module:Spike", "ModuleNotFoundError"),
            ("my_rules:thing", "no subclass"),
            ("my_rules:Broken", "cannot be made: KeyError"),
            ("my_rules:", "cannot be loaded"),
            ("my_rules:Blind", "looks at nothing; define one of its methods observe,"),
        ],
    )
    def test_what_is_no_rule_is_explained(self, place, text):
        with pytest.raises(RuleError, match=text):
            judge_of(place)

    def test_its_parameters_are_checked(self):
        with pytest.raises(RuleError, match="did you mean 'limit'"):
            judge_of("my_rules:Spike", {"limits": 1})
