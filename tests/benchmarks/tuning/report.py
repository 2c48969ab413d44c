"""The tables: medians and quartiles of regret, ranks, tests, and how many fewer trials it takes."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.benchmarks.tuning import scores
from tests.benchmarks.tuning.problems import Problem
from tests.benchmarks.tuning.results import Cell, Results

OURS = "ours"
RIVAL = "optuna"
CHANCE = "random"
MARKS = {"better": "+", "worse": "-", "alike": " "}


@dataclass(frozen=True)
class Row:
    """One line: a problem with a number of slots and of training jobs.

    Attributes:
        problem: What was minimised.
        parallel: Slots.
        jobs: Results that count.
        losses: By searcher, of each seed that all searchers have.
    """

    problem: Problem
    parallel: int
    jobs: int
    losses: dict[str, list[list[float]]]

    def regrets(self, searcher: str) -> list[float]:
        """How far each seed's best is from the optimum."""
        return [
            scores.regret(losses, self.jobs, self.problem.optimum)
            for losses in self.losses[searcher]
        ]


def rows_of(
    results: Results,
    problems: Sequence[Problem],
    made: dict[str, tuple[str, int]],
    *,
    parallel: int,
    jobs: int,
    seeds: Sequence[int],
) -> list[Row]:
    """Return the rows of a table, with those seeds that all of its searchers have.

    Args:
        results: All searches.
        problems: A row each.
        made: By searcher, its version and how many training jobs its searches have.
        parallel: Slots.
        jobs: Results that count.
        seeds: Of the searches.
    """
    found = []
    for problem in problems:
        losses: dict[str, list[list[float]]] = {name: [] for name in made}
        for seed in seeds:
            runs = {
                name: results.losses(Cell(problem.name, name, version, parallel, most, seed))
                for name, (version, most) in made.items()
            }
            if all(run is not None for run in runs.values()):
                for name, run in runs.items():
                    losses[name].append(run or [])
        if all(len(each) > 1 for each in losses.values()):
            found.append(Row(problem, parallel, jobs, losses))
    return found


def against(rows: Sequence[Row], rival: str) -> list[scores.Verdict]:
    """Return how ours does beside another, row by row, corrected for the number of rows."""
    pairs = [(row.regrets(OURS), row.regrets(rival)) for row in rows]
    chances = scores.corrected([scores.chance_of(*pair) for pair in pairs])
    return [
        scores.verdict(ours, theirs, chance)
        for (ours, theirs), chance in zip(pairs, chances, strict=True)
    ]


def table(rows: Sequence[Row], verdicts: Sequence[scores.Verdict]) -> Iterator[str]:
    """Yield the lines of one table; `+` and `-` say where ours is better or worse than the rival."""
    names = list(rows[0].losses)
    seeds = min(len(row.losses[OURS]) for row in rows)
    yield f"\n{rows[0].jobs} training jobs, {rows[0].parallel} in parallel, {seeds} seeds"
    yield f"{'regret: median [quartiles]':20}" + "".join(f"{name:>30}" for name in names)
    for row, verdict in zip(rows, verdicts, strict=True):
        cells = [_cell(scores.spread(row.regrets(name))) for name in names]
        yield f"{row.problem.name:19}{MARKS[verdict]:1}" + "".join(f"{c:>30}" for c in cells)
    ranks = mean_ranks(rows)
    yield f"{'mean rank':20}" + "".join(f"{ranks[name]:>30.2f}" for name in names)


def mean_ranks(rows: Sequence[Row]) -> dict[str, float]:
    """Return the mean place of each searcher over problems and seeds."""
    names = list(rows[0].losses)
    found = []
    for row in rows:
        regrets = [row.regrets(name) for name in names]
        found += [dict(zip(names, each, strict=True)) for each in zip(*regrets, strict=True)]
    return scores.mean_ranks(found)


def fewer(row: Row) -> float:
    """Return how many times as many results chance needs for what it reaches in the end.

    The value is the median over seeds of chance's best; ours is the median over seeds of the
    results until there.
    """
    final = statistics.median(min(losses[: row.jobs]) for losses in row.losses[CHANCE])
    needed = statistics.median(
        scores.jobs_until(losses[: row.jobs], final) for losses in row.losses[OURS]
    )
    return row.jobs / needed if math.isfinite(needed) else 0.0


def _cell(spread: scores.Spread) -> str:
    return f"{spread.median:.3g} [{spread.low:.2g} {spread.high:.2g}]"
