from __future__ import annotations

from orchestrator_runtime.rules import Engine, Finding, Judge, Rule

from tests.unit.rules.steps import sample, step


class Talker(Rule):
    """Finds something at each step and sample."""

    name = "Talker"
    watches_system = True

    def observe(self, record):
        return Finding(self.name, record.step, "step")

    def observe_system(self, sample):
        return Finding(self.name, int(sample.time), "sample")

    def report(self):
        return {"said": 1}


class Chatterbox(Talker):
    repeats = True
    not_evaluated = "it only talks"


class Raiser(Talker):
    repeats = True

    def observe_system(self, sample):
        raise ZeroDivisionError


def test_a_rule_speaks_once_unless_it_repeats():
    engine = Engine([Judge("once", Talker), Judge("always", Chatterbox)])
    said = [[judge.name for judge, _ in engine.observe(step(number))] for number in range(3)]
    assert said == [["once", "always"], ["always"], ["always"]]


def test_samples_are_shown_like_steps():
    engine = Engine([Judge("once", Talker)])
    assert [finding.step for _, finding in engine.observe_system(sample(7))] == [7]
    assert engine.observe_system(sample(8)) == []


def test_a_rule_that_raises_is_out_even_if_it_repeats():
    engine = Engine([Judge("r", Raiser)])
    for seconds in range(2):
        assert engine.observe_system(sample(seconds)) == []
    assert [failure.error for failure in engine.failures] == ["ZeroDivisionError: "]


def test_reports_and_reasons_come_also_from_rules_that_have_spoken():
    engine = Engine([Judge("once", Talker), Judge("always", Chatterbox)])
    assert engine.reports() == {}
    assert engine.not_evaluated() == {}
    engine.observe(step(0))
    assert engine.reports() == {"once": {"said": 1}, "always": {"said": 1}}
    assert engine.not_evaluated() == {"always": "it only talks"}


def test_a_rule_is_evaluated_if_it_was_for_any_optimizer():
    made = iter([Chatterbox, Talker])
    engine = Engine([Judge("mixed", lambda: next(made)())])
    engine.observe(step(0))
    assert engine.not_evaluated() == {"mixed": "it only talks"}
    engine.observe(step(0, optimizer=1))
    assert engine.not_evaluated() == {}
