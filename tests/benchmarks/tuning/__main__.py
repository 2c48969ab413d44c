"""`make bench-tuning`: how good the search is, beside chance, Optuna's default and BoTorch.

All searches are kept in a file: what was interrupted goes on, what is there is not repeated. Seeds
are fixed, so that everybody gets the same table.
"""

from __future__ import annotations

import argparse
import functools
import importlib.metadata
import itertools
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.benchmarks.tuning import crashes, halving, report, searchers, tasks
from tests.benchmarks.tuning import functions as known
from tests.benchmarks.tuning.problems import Problem
from tests.benchmarks.tuning.results import Cell, Results

BENCHED: tuple[Problem, ...] = (
    *known.BENCHED,
    *(tasks.problem_of(task) for task in tasks.TASKS),
)
DESIGN = known.DESIGN
JOBS = (60, 100)
PARALLEL = (1, 4, 10)
SEEDS = 20
SLOW_SEEDS = 3
"""Of BoTorch, which takes a second for each answer."""
REAL_CURVES = 150
"""Real trainings that ASHA is tried on."""
TELL_SECONDS = 30.0
RESULTS = Path("build/bench-tuning/searches.jsonl")


def arguments(words: list[str] | None) -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.tuning", description=(__doc__ or "").partition("\n")[0]
    )
    names = [problem.name for problem in (*BENCHED, *DESIGN)]
    parser.add_argument("--problem", action="append", choices=names, metavar="NAME")
    parser.add_argument(
        "--searcher", action="append", choices=list(searchers.SEARCHERS), metavar="NAME"
    )
    parser.add_argument(
        "--design", action="store_true", help="the functions that the default was chosen by"
    )
    parser.add_argument("--parallel", action="append", type=int, choices=PARALLEL)
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"default: {SEEDS}")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--results", type=Path, default=RESULTS, help=f"default: {RESULTS}")
    parser.add_argument("--print", action="store_true", help="measure nothing: what is there")
    return parser.parse_args(words)


@functools.cache
def version_of(searcher: str) -> str:
    """Return what a searcher's answers depend on, beside the question."""
    optuna = f"optuna {importlib.metadata.version('optuna')}"
    if searcher.startswith(report.OURS):
        return f"{optuna} {searchers.fingerprint()}"
    if searcher == "botorch":
        return f"{optuna} botorch {importlib.metadata.version('botorch')}"
    return optuna


def searched(cell: Cell) -> tuple[Cell, list[float]]:
    """Make one search, in a process of its own."""
    import torch

    from tests.benchmarks.tuning.simulate import losses_of

    torch.set_num_threads(1)
    problem = next(each for each in (*BENCHED, *DESIGN) if each.name == cell.problem)
    losses = losses_of(
        problem,
        searchers.SEARCHERS[cell.searcher],
        seed=cell.seed,
        jobs=cell.jobs,
        parallel=cell.parallel,
    )
    return cell, losses


def cells(given: argparse.Namespace, problems: Sequence[Problem]) -> Iterator[Cell]:
    """Yield all searches, those that say most first."""
    for name in given.searcher or ("random", "optuna", "ours"):
        is_slow = name == "botorch"
        jobs, seeds = min(JOBS) if is_slow else max(JOBS), range(given.seeds)
        if is_slow:
            seeds = seeds[:SLOW_SEEDS]
        for seed, problem, parallel in itertools.product(
            seeds, problems, given.parallel or PARALLEL
        ):
            yield Cell(problem.name, name, version_of(name), parallel, jobs, seed)


def measure(results: Results, wanted: Sequence[Cell], processes: int) -> None:
    """Make the searches that are missing; says how far it is."""
    missing = results.missing(wanted)
    print(
        f"{len(wanted) - len(missing)} searches are there, {len(missing)} to be made", flush=True
    )
    started = told = time.monotonic()
    with ProcessPoolExecutor(processes) as pool:
        for count, (cell, losses) in enumerate(pool.map(searched, missing), start=1):
            results.add(cell, losses)
            now = time.monotonic()
            if now - told >= TELL_SECONDS:
                told = now
                print(
                    f"  {count} of {len(missing)} after {(now - started) / 60:.0f} min",
                    file=sys.stderr,
                )


def tables(
    results: Results, given: argparse.Namespace, problems: Sequence[Problem]
) -> Iterator[str]:
    """Yield the lines of all tables and what comes of them."""
    made = {
        name: (version_of(name), max(JOBS)) for name in (report.OURS, report.RIVAL, report.CHANCE)
    }
    found = []
    for parallel, jobs in itertools.product(given.parallel or PARALLEL, JOBS):
        rows = report.rows_of(
            results, problems, made, parallel=parallel, jobs=jobs, seeds=range(given.seeds)
        )
        if rows:
            found.append(rows)
    everything = [row for rows in found for row in rows]
    verdicts = report.against(everything, report.RIVAL)
    left = iter(verdicts)
    for rows in found:
        yield from report.table(rows, [next(left) for _ in rows])
        smooth = [row for row in rows if row.problem.is_smooth]
        if smooth:
            cells = ", ".join(f"{row.problem.name} {report.fewer(row):.1f}" for row in smooth)
            yield f"times fewer than chance to its last value: {cells}"
    worse = [
        f"{row.problem.name} ({row.jobs}, {row.parallel} in parallel)"
        for row, verdict in zip(everything, verdicts, strict=True)
        if verdict == "worse"
    ]
    yield f"\nworse than Optuna's default beyond noise: {'; '.join(worse) or 'nowhere'}"
    yield from _with_slow_ones(results, given, problems, made)


def _with_slow_ones(
    results: Results,
    given: argparse.Namespace,
    problems: Sequence[Problem],
    made: dict[str, tuple[str, int]],
) -> Iterator[str]:
    version = results.newest_version("botorch")
    if version is None:
        return
    everyone = {**made, "botorch": (version, min(JOBS))}
    for parallel in given.parallel or PARALLEL:
        rows = report.rows_of(
            results,
            problems,
            everyone,
            parallel=parallel,
            jobs=min(JOBS),
            seeds=range(SLOW_SEEDS),
        )
        if rows:
            yield from report.table(rows, ["alike"] * len(rows))


def main(words: list[str] | None = None) -> None:
    """Measure and print."""
    given = arguments(words)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    problems = DESIGN if given.design else BENCHED
    if given.problem:
        problems = tuple(each for each in (*BENCHED, *DESIGN) if each.name in given.problem)
    results = Results(given.results)
    if not given.print:
        measure(results, list(cells(given, problems)), given.processes)
    for line in tables(results, given, problems):
        print(line, flush=True)
    if not (given.design or given.problem or given.searcher or given.print):
        for line in itertools.chain(crashes.lines(), halving.lines(REAL_CURVES)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
