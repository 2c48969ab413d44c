"""Check labels by outcome: ``python -m tests.debugger_corpus.verify dev [NAME ...]``.

Every scenario runs without any debugger under each seed; an unhealthy one together with its
healthy twin. Exit code 1 if a label is not borne out under some seed.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time

from tests.debugger_corpus.catalogue import scenarios
from tests.debugger_corpus.outcome import Outcome, complaint, outcome_of
from tests.debugger_corpus.scenario import Scenario

SEEDS = (1, 2, 3)


def run(scenario: Scenario, seed: int) -> Outcome:
    """Run a scenario to its end."""
    return outcome_of(list(itertools.islice(scenario.train(seed), scenario.steps)))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.debugger_corpus.verify")
    parser.add_argument("half", choices=("dev", "held"))
    parser.add_argument("names", nargs="*")
    parser.add_argument("--framework", choices=("torch", "keras"), default="torch")
    options = parser.parse_args(arguments)
    single_threaded(options.framework)
    known = {scenario.name: scenario for scenario in scenarios(options.half, options.framework)}
    chosen = [known[name] for name in options.names] or list(known.values())
    outcomes: dict[tuple[str, int], Outcome] = {}
    complaints = 0
    for scenario, seed in itertools.product(chosen, SEEDS):
        began = time.process_time()
        for name in (scenario.name, scenario.twin):
            if name is not None and (name, seed) not in outcomes:
                outcomes[name, seed] = run(known[name], seed)
        outcome = outcomes[scenario.name, seed]
        twin = outcomes[scenario.twin, seed] if scenario.twin else None
        why = complaint(scenario, outcome, twin)
        complaints += why is not None
        sys.stdout.write(
            f"{'ok ' if why is None else 'BAD'} {scenario.name:44} {scenario.kind:14} seed {seed} "
            f"{outcome.start:10.4g} -> {outcome.end:10.4g} in {outcome.steps} steps, "
            f"{time.process_time() - began:.2f} s {why or ''}\n"
        )
        sys.stdout.flush()
    return 1 if complaints else 0


def single_threaded(framework: str) -> None:
    """Make runs repeatable: one thread, whatever the machine has."""
    if framework == "torch":
        import torch

        torch.set_num_threads(1)
    else:
        import tensorflow

        tensorflow.config.threading.set_intra_op_parallelism_threads(1)
        tensorflow.config.threading.set_inter_op_parallelism_threads(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
