"""What detectors say of recorded runs, and how right they are; pure but for reading traces."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from orchestrator_runtime.hook.schedule import Schedule
from orchestrator_runtime.rules import Engine, Finding, Judge
from orchestrator_runtime.trace.record import StepRecord

from tests.debugger_corpus.scenario import Scenario

KINDS: dict[str, frozenset[str]] = {
    "vanishing_gradient": frozenset({"vanishing"}),
    "exploding_gradient": frozenset({"exploding"}),
    "non_finite": frozenset({"non_finite"}),
    "dead_units": frozenset({"dead"}),
    "saturated_activation": frozenset({"saturated"}),
    "unchanged_weights": frozenset({"unchanged"}),
    "poor_initialization": frozenset({"initialization"}),
    "VanishingGradient": frozenset({"vanishing"}),
    "ExplodingTensor": frozenset({"exploding", "non_finite"}),
    "autotrainer_vanishing": frozenset({"vanishing"}),
    "autotrainer_exploding": frozenset({"exploding", "non_finite"}),
    "autotrainer_dying_relu": frozenset({"dead"}),
}
"""Which kinds of fault an alarm names. Rules that are not here only warn: they stop nobody."""

Detector = Callable[[Iterable[StepRecord]], "list[Finding]"]


@dataclass(frozen=True)
class Result:
    """What a detector said of one run: its first alarm, if any."""

    scenario: Scenario
    seed: int
    rule: str | None
    step: int | None

    @property
    def is_alarm(self) -> bool:
        return self.rule is not None

    @property
    def is_unhealthy(self) -> bool:
        return self.scenario.kind not in {"healthy", "plateau"}

    @property
    def is_early(self) -> bool:
        """Whether it alarms before the fault has begun: that is a false alarm."""
        return self.step is not None and self.step < self.scenario.onset

    @property
    def is_right_kind(self) -> bool:
        true = {self.scenario.kind, *self.scenario.also}
        return self.rule is not None and bool(KINDS.get(self.rule, frozenset()) & true)


@dataclass(frozen=True)
class Score:
    """Counts over many runs."""

    hits: int
    missed: int
    false_alarms: int
    healthy: int
    wrong_kind: int
    steps: dict[str, float]
    """Median steps from the fault's onset to the alarm, by kind."""

    @property
    def precision(self) -> float:
        alarms = self.hits + self.false_alarms
        return self.hits / alarms if alarms else 1.0

    @property
    def recall(self) -> float:
        unhealthy = self.hits + self.missed
        return self.hits / unhealthy if unhealthy else 1.0

    @property
    def wrong_kind_rate(self) -> float:
        return self.wrong_kind / self.hits if self.hits else 0.0


def thinned(steps: Iterable[StepRecord], schedule: Schedule) -> Iterable[StepRecord]:
    """Leave out what a schedule would not have recorded."""
    for record in steps:
        due = schedule.due(record.step)
        if record.step == 1:  # activations of step 0 are taken then
            due += tuple(name for name in schedule.due(0) if name.startswith("outputs/"))
        blocks = {name: block for name, block in record.blocks.items() if name in due}
        yield StepRecord(
            record.step,
            record.time,
            record.optimizer,
            skipped=record.skipped,
            scalars=dict(record.scalars),
            blocks=blocks,
        )


def engine_detector(judges: Sequence[Judge]) -> Detector:
    """Return rules of the product as a detector: all of their findings, in order.

    Steps of findings become those of the run: each optimizer counts its own.
    """

    def detect(steps: Iterable[StepRecord]) -> list[Finding]:
        engine = Engine(judges)
        found = [
            finding._replace(step=index)
            for index, record in enumerate(steps)
            for _, finding in engine.observe(record)
        ]
        if engine.failures:
            raise RuntimeError(f"rules failed: {engine.failures}")
        return found

    return detect


def first_alarm(scenario: Scenario, seed: int, findings: Sequence[Finding]) -> Result:
    """Return the first finding that would stop a run; of those of one step, the first said."""
    for finding in findings:
        if finding.rule in KINDS:
            return Result(scenario, seed, finding.rule, finding.step)
    return Result(scenario, seed, None, None)


def score(results: Iterable[Result]) -> Score:
    """Count. An alarm before the onset of a fault is false, and the fault then counts as missed."""
    hits, missed, false_alarms, healthy, wrong = 0, 0, 0, 0, 0
    steps: dict[str, list[int]] = {}
    for result in results:
        if not result.is_unhealthy:
            healthy += 1
            false_alarms += result.is_alarm
            continue
        if not result.is_alarm or result.is_early or result.step is None:
            missed += 1
            false_alarms += result.is_early
            continue
        hits += 1
        wrong += not result.is_right_kind
        steps.setdefault(result.scenario.kind, []).append(result.step - result.scenario.onset)
    medians = {kind: statistics.median(waits) for kind, waits in sorted(steps.items())}
    return Score(hits, missed, false_alarms, healthy, wrong, medians)
