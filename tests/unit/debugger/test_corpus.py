"""The debugger's corpus: what makes its scores believable."""

from __future__ import annotations

import itertools

import pytest

from tests.debugger_corpus.catalogue import scenarios
from tests.debugger_corpus.evaluate import KINDS, Result, score
from tests.debugger_corpus.frozen import changed_since_frozen
from tests.debugger_corpus.outcome import Outcome, complaint
from tests.debugger_corpus.scenario import Half, Scenario

HALVES: tuple[Half, ...] = ("dev", "held")


def test_the_held_half_is_as_it_was_frozen():
    assert changed_since_frozen() == "frozen"


def test_the_halves_share_no_architecture():
    dev, held = ({scenario.architecture for scenario in scenarios(half)} for half in HALVES)
    assert not dev & held


@pytest.mark.parametrize("half", HALVES)
def test_every_unhealthy_run_has_a_healthy_twin(half):
    known = {scenario.name: scenario for scenario in scenarios(half)}
    assert len(known) >= 80
    for scenario in known.values():
        if scenario.kind not in {"healthy", "plateau"}:
            assert scenario.twin is not None
            assert known[scenario.twin].kind == "healthy"


def scenario(kind: str, onset: int = 0) -> Scenario:
    return Scenario("a", "dev", "mlp", kind, lambda _: itertools.repeat(1.0), 10, onset=onset)  # type: ignore[arg-type]


class TestAScore:
    def test_counts_an_alarm_before_the_fault_as_false_and_the_fault_as_missed(self):
        total = score([Result(scenario("exploding", 100), 1, "exploding_gradient", 99)])
        assert (total.hits, total.missed, total.false_alarms) == (0, 1, 1)

    def test_counts_from_the_onset_of_the_fault(self):
        total = score([Result(scenario("exploding", 100), 1, "exploding_gradient", 103)])
        assert (total.hits, total.wrong_kind, total.steps) == (1, 0, {"exploding": 3})

    def test_takes_a_plateau_for_healthy(self):
        total = score([Result(scenario("plateau"), 1, "vanishing_gradient", 30)])
        assert (total.healthy, total.false_alarms, total.precision) == (1, 1, 0.0)

    def test_knows_an_alarm_of_another_kind(self):
        total = score([Result(scenario("vanishing"), 1, "non_finite", 3)])
        assert total.wrong_kind_rate == 1.0
        assert set(KINDS["non_finite"]) == {"non_finite"}


class TestALabel:
    def test_is_not_borne_out_by_a_fault_that_hurts_nobody(self):
        ill, twin = Outcome(2.3, 0.5, 100), Outcome(2.3, 0.4, 100)
        assert complaint(scenario("exploding"), ill, twin) is not None

    def test_is_not_borne_out_without_a_twin_that_learns(self):
        assert complaint(scenario("exploding"), Outcome(2, 9, 9), Outcome(2, 1.9, 9)) is not None

    def test_is_borne_out_by_its_outcome(self):
        ill, twin = Outcome(2.3, float("nan"), 100), Outcome(2.3, 0.4, 100)
        assert complaint(scenario("exploding"), ill, twin) is None
