"""``--debug``, ``--rule`` and ``--stop-on`` of ``orchestrator run``."""

from __future__ import annotations

import pytest
from orchestrator_runtime.rules import DEFAULT_RULES

from orchestrator.cli.debug_options import wished
from orchestrator.errors import InvalidSpec
from orchestrator.spec.debug import Debugger

SPIKE = "my_rules:LossSpike"


def parameters(debugger: Debugger | None) -> dict[str, dict[str, object]]:
    assert debugger is not None
    return {rule.called: dict(rule.parameters) for rule in debugger.rules}


def test_without_an_option_the_job_file_decides() -> None:
    given = Debugger.parse({"stop_on": ["non_finite"]})
    assert wished(given, None, None) is given
    assert wished(None, None, None) is None


def test_a_rule_with_parameters_watches_by_all_of_ours() -> None:
    found = parameters(wished(None, None, None, ["non_finite:loss_patience=5,skip_patience=2"]))
    assert list(found) == list(DEFAULT_RULES)
    assert found.pop("non_finite") == {"loss_patience": "5", "skip_patience": "2"}
    assert not any(found.values())


def test_a_rule_with_parameters_joins_those_of_debug() -> None:
    found = wished(None, "overfit", None, ["non_finite", "overfit:patience=3"])
    assert parameters(found) == {"overfit": {"patience": "3"}, "non_finite": {}}


def test_it_tunes_the_rule_of_the_job_file_that_is_called_so() -> None:
    rules = [{"rule": "non_finite", "name": "nan", "parameters": {"loss_patience": 1}}, "overfit"]
    given = Debugger.parse({"rules": rules, "stop_on": ["nan"]})
    found = wished(given, None, None, ["overfit:patience=4", f"{SPIKE}:factor=2,layers=a,b"])
    assert parameters(found) == {
        "nan": {"loss_patience": 1},
        "overfit": {"patience": "4"},
        SPIKE: {"factor": "2", "layers": "a,b"},
    }
    assert found is not None
    assert found.stop_on == ("nan",)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("non_finite=5", "--rule must be RULE:NAME=VALUE"),
        ("non_finite:paitence=5", "patience"),
        ("nonfinite:patience=5", "non_finite"),
        ("", "--rule must be RULE:NAME=VALUE"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(text: str, told: str) -> None:
    with pytest.raises(InvalidSpec, match=told):
        wished(None, None, None, [text])


def test_parameters_in_other_options_are_refused_with_the_right_one() -> None:
    with pytest.raises(InvalidSpec, match=r"give --rule 'non_finite:patience=5' beside it"):
        wished(None, "non_finite:patience=5", None)
