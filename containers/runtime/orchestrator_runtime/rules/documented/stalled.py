"""A rule over the time between steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator_runtime.rules.documented.base import BASE_TRIAL, DocumentedRule
from orchestrator_runtime.rules.parameters import Parameter

if TYPE_CHECKING:
    from orchestrator_runtime.rules.finding import Finding
    from orchestrator_runtime.trace.record import StepRecord


class StalledTrainingRule(DocumentedRule):
    """Fires when no step has come for ``threshold`` seconds."""

    name = "StalledTrainingRule"
    parameters = (
        BASE_TRIAL,
        Parameter("threshold", 1800, "float", 0.0),
        Parameter("stop_training_on_fire", False, "bool"),
        Parameter("training_job_name_prefix", None, "str", help="ignored: the job is this one"),
    )
    cause = "The program waits for something, or works on something that is no training."
    remedies = (
        "Look for a deadlock of data loaders or of collective operations between processes.",
        "Raise the threshold if evaluation or saving takes so long.",
    )

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._since: float | None = None

    @property
    def stops(self) -> bool:
        """Whether a finding ends the job."""
        return bool(self.values["stop_training_on_fire"])

    def observe(self, record: StepRecord) -> Finding | None:
        """Look at the time since the step before: all that a trace has of a wait."""
        since, self._since = self._since, record.time
        return None if since is None else self._compare(record.step, since, record.time)

    def waited(self, last: StepRecord | None, now: float) -> Finding | None:
        """Look at the time since the last step, or since the first question."""
        if self._since is None or (last is not None and last.time > self._since):
            self._since = now if last is None else last.time
        return self._compare(-1 if last is None else last.step, self._since, now)

    def _compare(self, step: int, since: float, now: float) -> Finding | None:
        if now - since < self.number("threshold"):
            return None
        return self.found(
            max(step, 0),
            f"no step for {now - since:.0f} s; the threshold is {self.number('threshold'):g} s",
            values={"seconds": now - since},
        )
