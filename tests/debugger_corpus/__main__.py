"""Score detectors on the corpus: ``make corpus``, or ``python -m tests.debugger_corpus [dev|held]``.

Runs are recorded once, under the real hook, and kept in ``build/corpus``; every detector reads the
same records. Keras runs need the TensorFlow environment: they are recorded by
``.venv-tensorflow/bin/python -m tests.debugger_corpus --record``.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from orchestrator_runtime.hook.schedule import Schedule, intervals_of
from orchestrator_runtime.rules import DEFAULT_RULES, judge_of

from tests.debugger_corpus.baselines import autotrainer, documented
from tests.debugger_corpus.catalogue import scenarios
from tests.debugger_corpus.evaluate import (
    Detector,
    Result,
    Score,
    engine_detector,
    first_alarm,
    score,
    thinned,
)
from tests.debugger_corpus.frozen import changed_since_frozen
from tests.debugger_corpus.record import record, steps_of, trace_path
from tests.debugger_corpus.scenario import Half

DIRECTORY = Path("build/corpus")
SEEDS = (1, 2, 3)
HALVES: tuple[Half, ...] = ("dev", "held")


def main(arguments: Sequence[str]) -> int:
    """Record what is missing, and print the scores."""
    parser = argparse.ArgumentParser(prog="python -m tests.debugger_corpus")
    parser.add_argument("halves", nargs="*", help="dev, held; both by default")
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)))
    parser.add_argument("--framework", choices=("torch", "keras"), default="torch")
    parser.add_argument("--record", action="store_true", help="only record")
    parser.add_argument("--fresh", action="store_true", help="record everything again")
    parser.add_argument("--list", action="store_true", help="show every wrong verdict of ours")
    options = parser.parse_args(arguments)
    halves = options.halves or HALVES
    seeds = [int(seed) for seed in options.seeds.split(",")]
    if options.fresh:
        shutil.rmtree(DIRECTORY, ignore_errors=True)
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    failed = [run for half in halves for run in record(half, options.framework, seeds, DIRECTORY)]
    if failed:
        sys.stderr.write(f"could not be recorded: {', '.join(failed)}\n")
    if not options.record:
        for half in halves:
            _print_half(half, seeds, show=options.list)
    return 1 if failed else 0


def _print_half(half: Half, seeds: Sequence[int], *, show: bool) -> None:
    state = f" ({changed_since_frozen()})" if half == "held" else ""
    say(f"\n{half}{state}, seeds {', '.join(map(str, seeds))}")
    say(
        f"{'detector':34} {'runs':>5} {'prec.':>6} {'recall':>6} {'wrong':>6} "
        f"{'false':>9} {'missed':>6}  median steps from onset to alarm"
    )
    for name, detector in _detectors():
        results = list(_results(half, seeds, detector))
        say(_row(name, results, score(results)))
        if show and name == "orchestrator":
            for result in results:
                _print_if_wrong(result)


def _detectors() -> Iterator[tuple[str, Detector]]:
    judges = [judge_of(rule) for rule in DEFAULT_RULES]
    needs = [(need.series, need.every) for judge in judges for need in judge.needs]
    schedule, ours = Schedule(intervals_of({}, needs)), engine_detector(judges)
    yield "orchestrator", lambda steps: ours(thinned(steps, schedule))
    yield "SageMaker's rules, every step", documented(1)
    yield "SageMaker's rules, every 500", documented(500)
    yield "AUTOTRAINER's conditions", autotrainer


def _results(half: Half, seeds: Sequence[int], detector: Detector) -> Iterator[Result]:
    for scenario in scenarios(half):
        for seed in seeds:
            path = trace_path(DIRECTORY, scenario.name, seed)
            if path.exists():
                yield first_alarm(scenario, seed, detector(steps_of(path)))


def _row(name: str, results: Sequence[Result], total: Score) -> str:
    steps = ", ".join(f"{kind} {median:g}" for kind, median in total.steps.items())
    return (
        f"{name:34} {len(results):5} {total.precision:6.3f} {total.recall:6.3f} "
        f"{total.wrong_kind_rate:6.3f} {total.false_alarms:4}/{total.healthy:4} "
        f"{total.missed:6}  {steps}"
    )


def _print_if_wrong(result: Result) -> None:
    if not result.is_unhealthy:
        word = "FALSE ALARM" if result.is_alarm else ""
    elif not result.is_alarm:
        word = "MISSED"
    elif result.is_early:
        word = "TOO EARLY"
    else:
        word = "" if result.is_right_kind else "WRONG KIND"
    if word:
        say(
            f"    {word:11} {result.scenario.name} seed {result.seed}: {result.scenario.kind} "
            f"from step {result.scenario.onset}; {result.rule} at {result.step}"
        )


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
