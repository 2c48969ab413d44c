"""What our rules share: the course of the run, kept once for all of them."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from orchestrator_runtime.rules.robust.run import Run
from orchestrator_runtime.rules.rule import Rule

if TYPE_CHECKING:
    from orchestrator_runtime.rules.finding import Finding
    from orchestrator_runtime.trace.record import StepRecord


class CourseRule(Rule):
    """A rule that judges a step by the course of the run up to it."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._run = Run()

    def share(self, shared: dict[str, Any]) -> None:
        """Use the course that the other rules of this optimizer use."""
        self._run = Run.shared(shared)

    def observe(self, record: StepRecord) -> Finding | None:
        """Take a step into the course, and judge it."""
        self._run.take(record)
        return self.judge(record)

    @abstractmethod
    def judge(self, record: StepRecord) -> Finding | None:
        """Look at one step, which the course has already."""
