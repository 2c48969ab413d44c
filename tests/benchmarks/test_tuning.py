"""The bench of tuning: functions are the literature's, tables can be computed again, searches go on."""

from __future__ import annotations

import math
import random

import pytest

from orchestrator.tuner.points import Point, point_at
from tests.benchmarks.tuning import __main__ as bench
from tests.benchmarks.tuning import crashes, functions, halving, report, scores, tasks
from tests.benchmarks.tuning.problems import Problem
from tests.benchmarks.tuning.results import Cell, Results
from tests.benchmarks.tuning.simulate import Search, losses_of

MINIMA = {
    "branin": (math.pi, 2.275),
    "hartmann6": (0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573),
    "ackley5": (0, 0, 0, 0, 0),
    "levy4": (1, 1, 1, 1),
    "rosenbrock4": (1, 1, 1, 1),
    "camel2": (0.0898, -0.7126),
    "hartmann3": (0.114614, 0.555649, 0.852547),
    "styblinski5": (-2.903534,) * 5,
    "zakharov4": (0, 0, 0, 0),
    "dixon-price5": tuple(2 ** -((2**place - 2) / 2**place) for place in range(1, 6)),
    "shekel4": (4.00074, 4.00059, 3.99966, 3.99951),
    "rastrigin4": (0, 0, 0, 0),
    "rastrigin2": (0, 0),
    "schwefel4": (420.968746,) * 4,
    "michalewicz5": (2.202906, 1.570796, 1.284992, 1.923058, 1.720470),
    "griewank5": (0, 0, 0, 0, 0),
}
"""Where the literature says that the smallest value is."""
EVERY = (*functions.BENCHED, *functions.DESIGN)


@pytest.mark.parametrize("name", MINIMA)
def test_the_smallest_value_is_where_the_literature_says(name):
    problem = next(each for each in EVERY if each.name == name)
    values = {f"x{place}": repr(float(x)) for place, x in enumerate(MINIMA[name], start=1)}
    assert problem.loss(values) == pytest.approx(problem.optimum, abs=1e-4)


@pytest.mark.parametrize("problem", EVERY, ids=lambda problem: problem.name)
def test_no_value_is_below_the_optimum(problem):
    drawn = random.Random(1)
    for _ in range(200):
        shares = [drawn.random() for _ in problem.parameters]
        assert problem.loss(point_at(problem.parameters, shares)) >= problem.optimum - 1e-9


@pytest.mark.parametrize("task", tasks.TASKS, ids=lambda task: task.name)
def test_a_table_can_be_computed_again(task):
    assert tasks.differences(task, rows=1) == []


def by_order(problem: Problem, seed: int) -> Search:
    """Go through a function from its low end to its high one."""
    return lambda points: point_at(problem.parameters, [min(len(points) / 20, 0.99)] * 2)


class TestSimulatedTrainingJobs:
    def test_slots_are_full_and_results_come_when_jobs_end(self):
        seen: list[tuple[Point, ...]] = []

        def watched(problem, seed):
            search = by_order(problem, seed)

            def ask(points):
                seen.append(points)
                return search(points)

            return ask

        losses = losses_of(functions.BENCHED[0], watched, seed=3, jobs=12, parallel=4)

        assert len(losses) == 12
        running = [sum(point.losses is None for point in points) for points in seen]
        assert running == [0, 1, 2] + [3] * 9
        told = [point.losses[0] for point in seen[-1] if point.losses]
        assert sorted(told) == sorted(losses[:8])
        assert told != losses[:8], "they end in another order than they began"

    def test_one_at_a_time_knows_all_before(self):
        losses = losses_of(functions.BENCHED[0], by_order, seed=3, jobs=5, parallel=1)
        values = [point_at(functions.BENCHED[0].parameters, [n / 20] * 2) for n in range(5)]
        assert losses == [functions.BENCHED[0].loss(each) for each in values]


class TestSearchesOnDisk:
    CELL = Cell("branin", "ours", "1", 4, 60, 0)

    def test_what_is_there_is_not_made_again(self, tmp_path):
        path = tmp_path / "folder" / "searches.jsonl"
        other = Cell("branin", "ours", "2", 4, 60, 0)
        Results(path).add(self.CELL, [3.0, 2.0])
        again = Results(path)
        assert again.losses(self.CELL) == [3.0, 2.0]
        assert again.missing([self.CELL, other]) == [other], "another version is another search"

    def test_a_line_that_was_cut_off(self, tmp_path):
        path = tmp_path / "searches.jsonl"
        Results(path).add(self.CELL, [3.0, 2.0])
        whole = path.read_text()
        path.write_text(whole + whole[: len(whole) // 2])
        assert Results(path).losses(self.CELL) == [3.0, 2.0]


class TestScores:
    def test_holm(self):
        # Holm 1979: the smallest times 3, the next times 2, never below one before.
        assert scores.corrected([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
        assert scores.corrected([0.9, 0.5]) == [1.0, 1.0]

    def test_ranks_are_shared(self):
        ranks = scores.mean_ranks([{"a": 1.0, "b": 2.0, "c": 2.0}, {"a": 5.0, "b": 4.0, "c": 6.0}])
        assert ranks == {"a": 1.5, "b": 1.75, "c": 2.75}

    def test_a_difference_that_is_always_there_is_one(self):
        ours, theirs = [float(n) for n in range(20)], [n + 1.0 for n in range(20)]
        assert scores.verdict(ours, theirs, scores.chance_of(ours, theirs)) == "better"
        assert scores.verdict(theirs, ours, scores.chance_of(theirs, ours)) == "worse"
        assert scores.verdict(ours, ours, scores.chance_of(ours, ours)) == "alike"

    def test_jobs_until(self):
        assert scores.jobs_until([5.0, 3.0, 4.0, 1.0], 3.5) == 2
        assert scores.jobs_until([5.0, 3.0], 1.0) == math.inf


def test_rows_hold_seeds_that_all_have_and_say_how_many_fewer(tmp_path):
    results = Results(tmp_path / "searches.jsonl")
    names = dict.fromkeys(("ours", "optuna", "random"), ("1", 20))
    for seed in range(3):
        for name in names:
            step = 0.5 if name == "ours" else 0.1
            losses = [10 - step * n for n in range(20)]
            if (name, seed) != ("optuna", 2):
                results.add(Cell("branin", name, "1", 1, 20, seed), losses)
    rows = report.rows_of(
        results, [functions.BENCHED[0]], names, parallel=1, jobs=20, seeds=range(3)
    )
    assert [len(each) for each in rows[0].losses.values()] == [2, 2, 2]
    assert report.fewer(rows[0]) == pytest.approx(20 / 5)  # 10 - 1.9 is there after five
    text = "\n".join(report.table(rows, ["alike"]))
    assert "20 training jobs, 1 in parallel, 2 seeds" in text


def test_the_command_measures_goes_on_and_prints(tmp_path, capsys):
    words = ["--problem", "branin", "--parallel", "10", "--seeds", "2", "--processes", "2"]
    words += ["--results", str(tmp_path / "searches.jsonl")]
    for name in ("random", "optuna"):
        bench.main([*words, "--searcher", name])
    bench.main([*words, "--searcher", "random"])
    assert "2 searches are there, 0 to be made" in capsys.readouterr().out


class TestSuccessiveHalving:
    BAD = [0.9] * halving.EPOCHS

    def jobs_begun(self, *, halves: bool) -> int:
        begun = [0]

        def next_curve():
            begun[0] += 1
            is_good = begun[0] % 9 == 1
            return [0.1] * halving.EPOCHS if is_good else self.BAD

        until = halving.EPOCHS * halving.EPOCH_SECONDS * 2
        found = halving.best_by_time(next_curve, halving.WARM, halves=halves, until=until)
        assert found[0] == (halving.WARM.start_seconds + halving.EPOCH_SECONDS, 0.1)
        return begun[0]

    def test_slots_of_bad_training_jobs_are_given_to_others(self):
        assert self.jobs_begun(halves=False) == 2 * halving.SLOTS
        assert self.jobs_begun(halves=True) > 4 * halving.SLOTS

    def test_both_see_the_same_curves(self):
        without, halved = halving.times(halving.power_law, halving.WARM, seed=1)
        assert halved > 0
        assert 0 < without <= halving.HOURS * 3600


def test_crashes_are_where_values_are_too_large():
    good = {"rate": "0.001", "layers": "8", "batch": "256", "optimizer": "adam"}
    assert crashes.loss(good) == pytest.approx(0.05 * 0.3**2)
    assert crashes.loss(good | {"rate": "0.01"}) is None
    assert crashes.loss(good | {"layers": "12"}) is None
