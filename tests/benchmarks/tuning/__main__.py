"""`make bench-tuning`: how good the search is, beside chance, Optuna's default and BoTorch.

All searches are kept in a file: what was interrupted goes on, what is there is not repeated. Seeds
are fixed, so that everybody gets the same table.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import importlib.util
import itertools
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.benchmarks.tuning import functions, report, tasks
from tests.benchmarks.tuning.problems import Problem
from tests.benchmarks.tuning.results import Cell, Results

BENCHED: tuple[Problem, ...] = (
    *functions.BENCHED,
    *(tasks.problem_of(task) for task in tasks.TASKS),
)
DESIGN = functions.DESIGN
JOBS = (60, 100)
PARALLEL = (1, 4, 10)
SEEDS = 20
SLOW_SEEDS = 3
"""Of BoTorch, which takes a second for each answer."""
RESULTS = Path("build/bench-tuning/searches.jsonl")
SOURCES = ("strategy.py", "points.py", "model.py", "warp.py")
"""What our answers depend on."""


def arguments(words: list[str] | None) -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.tuning", description=(__doc__ or "").partition("\n")[0]
    )
    names = [problem.name for problem in (*BENCHED, *DESIGN)]
    parser.add_argument("--problem", action="append", choices=names, metavar="NAME")
    parser.add_argument(
        "--design", action="store_true", help="the functions that the default was chosen by"
    )
    parser.add_argument("--parallel", action="append", type=int, choices=PARALLEL)
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"default: {SEEDS}")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--results", type=Path, default=RESULTS, help=f"default: {RESULTS}")
    parser.add_argument("--print", action="store_true", help="measure nothing: what is there")
    return parser.parse_args(words)


def version_of(searcher: str) -> str:
    """Return what a searcher's answers depend on, beside the question."""
    optuna = f"optuna {importlib.metadata.version('optuna')}"
    if searcher == report.OURS:
        return f"{optuna} {_digest()}"
    if searcher == "botorch":
        return f"{optuna} botorch"
    return optuna


def _digest() -> str:
    folder = Path(functions.__file__).parents[3] / "orchestrator" / "tuner"
    found = hashlib.sha256()
    for name in SOURCES:
        found.update((folder / name).read_bytes())
    return found.hexdigest()[:12]


def searched(cell: Cell) -> tuple[Cell, list[float]]:
    """Make one search, in a process of its own."""
    import torch

    from tests.benchmarks.tuning.searchers import SEARCHERS
    from tests.benchmarks.tuning.simulate import losses_of

    torch.set_num_threads(1)
    problem = next(each for each in (*BENCHED, *DESIGN) if each.name == cell.problem)
    losses = losses_of(
        problem,
        SEARCHERS[cell.searcher],
        seed=cell.seed,
        jobs=cell.jobs,
        parallel=cell.parallel,
    )
    return cell, losses


def cells(given: argparse.Namespace, problems: Sequence[Problem]) -> Iterator[Cell]:
    """Yield all searches, those that say most first."""
    plan = [(name, max(JOBS), range(given.seeds)) for name in ("random", "optuna", "ours")]
    if importlib.util.find_spec("optuna_integration") is not None:
        plan.append(("botorch", min(JOBS), range(min(SLOW_SEEDS, given.seeds))))
    for name, jobs, seeds in plan:
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
    started = time.monotonic()
    with ProcessPoolExecutor(processes) as pool:
        for count, (cell, losses) in enumerate(pool.map(searched, missing), start=1):
            results.add(cell, losses)
            if count % 20 == 0 or count == len(missing):
                spent = time.monotonic() - started
                left = spent / count * (len(missing) - count)
                print(f"  {count} of {len(missing)}, {left / 60:.0f} min left", file=sys.stderr)


def tables(
    results: Results, given: argparse.Namespace, problems: Sequence[Problem]
) -> Iterator[str]:
    """Yield the lines of all tables and what comes of them."""
    versions = {name: version_of(name) for name in (report.OURS, report.RIVAL, report.CHANCE)}
    found = [
        rows
        for parallel, jobs in itertools.product(given.parallel or PARALLEL, JOBS)
        if (
            rows := report.rows_of(
                results,
                problems,
                versions,
                parallel=parallel,
                jobs=jobs,
                most=max(JOBS),
                seeds=range(given.seeds),
            )
        )
    ]
    everything = [row for rows in found for row in rows]
    verdicts = iter(report.against(everything, report.RIVAL))
    for rows in found:
        yield from report.table(rows, [next(verdicts) for _ in rows])
        smooth = [row for row in rows if row.problem.is_smooth]
        if smooth:
            cells = ", ".join(f"{row.problem.name} {report.fewer(row):.1f}" for row in smooth)
            yield f"times fewer than chance to its last value: {cells}"
    worse = [
        f"{row.problem.name} ({row.jobs}, {row.parallel} in parallel)"
        for row, verdict in zip(everything, report.against(everything, report.RIVAL), strict=True)
        if verdict == "worse"
    ]
    yield f"\nworse than Optuna's default beyond noise: {'; '.join(worse) or 'nowhere'}"


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
        print(line)


if __name__ == "__main__":
    main()
