"""When a run is ended early, and which of its checkpoints is kept."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.debugger.best_checkpoint import Entry, best_checkpoint
from orchestrator.debugger.early_stopping import course_of
from orchestrator.metrics.run_values import Value
from orchestrator.spec.early import EarlyStopping


def values(*numbers: float, every: float = 10.0) -> list[Value]:
    """One value every ten seconds; the step counts them."""
    return [Value(number, index * every, index) for index, number in enumerate(numbers)]


def config(**given_: object) -> EarlyStopping:
    return EarlyStopping.parse({"metric": "validation:loss", **given_})


class TestARun:
    def test_that_gets_better_goes_on(self):
        course = course_of(values(5, 4, 3, 2, 1), config(patience=1))
        assert course.ends is None
        assert (course.best, course.since) == (4, 0)

    def test_that_does_not_ends_after_its_patience(self):
        course = course_of(values(3, 2, 2.5, 2.1, 2.2), config(patience=3))
        assert course.ends is not None
        assert "its best is 2 at step 1" in course.ends
        assert course.best == 1

    def test_may_be_better_by_being_larger(self):
        course = course_of(values(0.1, 0.5, 0.4, 0.3), config(mode="maximize", patience=2))
        assert course.ends is not None
        assert course.best == 1

    def test_improves_only_by_more_than_the_least_difference(self):
        course = course_of(values(1.0, 0.99, 0.98), config(patience=2, min_delta=0.05))
        assert course.ends is not None
        assert course.best == 0

    def test_is_not_judged_by_its_first_values(self):
        steady = values(1, 1, 1, 1)
        assert course_of(steady, config(patience=2, start=10)).ends is None
        assert course_of(steady, config(patience=2, start=3)).ends is None
        assert course_of(steady, config(patience=2, start=2)).ends is not None

    def test_gets_no_better_by_what_is_not_finite(self):
        course = course_of(values(2, math.nan, -math.inf), config(patience=2))
        assert course.ends is not None
        assert course.best == 0

    def test_stays_ended(self):
        assert course_of(values(1, 2, 2, 0), config(patience=2)).ends is not None

    def test_overfits_when_training_gets_better_meanwhile(self):
        training = values(1.0, 0.8, 0.6, 0.4)
        asked = config(patience=2, train_metric="train:loss")
        course = course_of(values(1.0, 0.9, 0.95, 0.99), asked, training)
        assert course.ends is not None
        assert "overfits" in course.ends

    @given(st.lists(st.floats(0, 10), min_size=1, max_size=40), st.integers(1, 10))
    def test_ends_exactly_when_its_last_values_are_no_better(self, numbers, patience):
        course = course_of(values(*numbers), config(patience=patience))
        first_end = None
        for end in range(1, len(numbers) + 1):
            seen = numbers[:end]
            best = seen.index(min(seen))
            if end - 1 - best >= patience:
                first_end = (best, end - 1 - best)
                break
        assert (course.ends is None) == (first_end is None)
        if first_end is not None:
            assert (course.best, course.since) == first_end


class TestTheBestCheckpoint:
    NUMBERS = values(3, 1, 2, 2)

    def best(self, *entries: Entry) -> str | None:
        choice = best_checkpoint(entries, self.NUMBERS, 1)
        return ", ".join(choice.names) if choice is not None else None

    def test_is_none_where_there_is_none(self):
        assert self.best() is None

    def test_is_the_one_that_is_called_so(self):
        assert self.best(Entry("last.pt", 35), Entry("Best_model.pt", 12)) == "Best_model.pt"

    def test_is_no_description_of_the_best(self):
        described = Entry("best_params.json", 36)
        assert self.best(described, Entry("epoch=001.ckpt", 15)) == "epoch=001.ckpt"

    def test_is_the_one_with_the_number_of_the_step(self):
        entries = [Entry(f"epoch={n:03}.ckpt", 10.0 * n + 5) for n in range(4)]
        assert self.best(*entries) == "epoch=001.ckpt"

    @pytest.mark.parametrize(("offset", "name"), [(5.0, "b"), (-5.0, "b")])
    def test_is_the_one_of_its_time_whether_saved_before_or_after(self, offset, name):
        entries = [Entry(name, 10.0 * n + offset) for n, name in enumerate("abcd")]
        assert self.best(*entries) == name

    def test_is_the_oldest_that_is_left_when_older_ones_are_gone(self):
        choice = best_checkpoint([Entry("last.pt", 35.0)], self.NUMBERS, 1)
        assert choice is not None
        assert "overwritten" in choice.why

    def test_is_all_files_that_belong_together(self):
        entries = [
            Entry(f"{name}{n}{end}", 10.0 * n + 5)
            for n in range(4)
            for name, end in (("model-", ".pt"), ("optimizer-", ".pt"))
        ]
        assert self.best(*entries) == "model-1.pt, optimizer-1.pt"
        parts = [
            Entry(f"ckpt-{n}{end}", 10.0 * n + 5)
            for n in range(4)
            for end in (".index", ".data-00000-of-00001")
        ]
        assert self.best(*parts) == "ckpt-1.data-00000-of-00001, ckpt-1.index"
        ranks = [Entry(f"rank{r}-{n}.pt", 10.0 * n + 5) for n in range(4) for r in (0, 1)]
        assert self.best(*ranks) == "rank0-1.pt, rank1-1.pt"

    def test_is_all_files_that_each_epoch_overwrites(self):
        settings = Entry("settings.json", -5.0)
        assert self.best(settings, Entry("model.pt", 35), Entry("optimizer.pt", 36)) == (
            "model.pt, optimizer.pt"
        )

    def test_is_no_file_that_is_written_once(self):
        """Settings that are written first do not make a program one that saves first."""
        entries = [Entry(f"state-{'abcd'[n]}", 10.0 * n + 5) for n in range(4)]
        settings = Entry("settings.json", -5.0)
        assert self.best(settings, *entries) == "state-b"

    def test_is_told_by_time_where_a_number_is_that_of_a_network(self):
        entries = [Entry(f"resnet1-{n + 7}.pt", 10.0 * n + 5) for n in range(4)]
        assert self.best(*entries) == "resnet1-8.pt"

    @pytest.mark.parametrize("offset", [-0.004, 0.0, 0.004])
    def test_is_told_though_value_and_file_come_at_once(self, offset):
        entries = [Entry(name, 10.0 * n + offset) for n, name in enumerate("abcd")]
        assert self.best(*entries) == "b"

    @pytest.mark.parametrize(("offset", "name"), [(2.0, "c8"), (-2.0, "c8")])
    def test_is_found_when_the_first_ones_are_gone(self, offset, name):
        numbers = values(9, 8, 7, 1, 2, 2)
        entries = [Entry(f"c{5 + n}", 10.0 * n + offset) for n in (2, 3, 4, 5)]
        choice = best_checkpoint(entries, numbers, 3)
        assert choice is not None
        assert choice.names == (name,)

    @given(st.lists(st.tuples(st.text("ab0123", min_size=1), st.floats(0, 100)), min_size=1))
    def test_is_always_one_of_those_that_are_there(self, entries):
        made = [Entry(*entry) for entry in entries]
        choice = best_checkpoint(made, self.NUMBERS, 1)
        assert choice is not None
        assert choice.entries
        assert set(choice.entries) <= set(made)
