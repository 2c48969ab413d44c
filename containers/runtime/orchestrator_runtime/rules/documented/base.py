"""What all rules that follow SageMaker's documentation share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from orchestrator_runtime.rules.finding import MOST_LAYERS, Finding
from orchestrator_runtime.rules.parameters import Parameter
from orchestrator_runtime.rules.rule import Rule

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchestrator_runtime.rules.documented.tensors import Selection
    from orchestrator_runtime.trace.record import StepRecord

SAVE_INTERVAL = 500
"""Steps from one saved value to the next where the user says nothing, as in SageMaker."""

BASE_TRIAL = Parameter("base_trial", None, "str", help="ignored: a rule judges its own run")
COLLECTION_NAMES = Parameter("collection_names", None, "names", help="collections to look at")
TENSOR_REGEX = Parameter("tensor_regex", None, "patterns", help="names to look at as well")
_INTERVAL = Parameter("save_interval", SAVE_INTERVAL, "int", 1)


class DocumentedRule(Rule):
    """A rule by the documentation of SageMaker Debugger: its name, parameters and defaults.

    It judges only the steps that SageMaker would have saved.

    Attributes:
        cause: What a finding means.
        remedies: What to try.
        every: Steps from one saved value to the next.
        selection: The tensors that are looked at, for rules over tensors.
        own_series: Whether only this rule has its series recorded: all their values are judged
            then, also those of the step behind, where the recorder was late.
    """

    cause: ClassVar[str] = ""
    remedies: ClassVar[tuple[str, ...]] = ()
    saves = True
    selection: Selection | None = None
    own_series: ClassVar[bool] = False

    def __init__(self, *, save_interval: int | str = SAVE_INTERVAL, **given: Any) -> None:
        """Take parameters by their names.

        Raises:
            RuleError: One is unknown or out of range.
        """
        super().__init__(**given)
        self.every = cast("int", _INTERVAL.parse(self.name, save_interval))

    @property
    def not_evaluated(self) -> str | None:
        """Why nothing was judged."""
        if self.selection is None or self.selection.seen:
            return None
        series = ", ".join(need.series for need in self.needed())
        return f"{self.name}: no tensor of its names has a value of {series or 'losses'}"

    def observe(self, record: StepRecord) -> Finding | None:
        """Look at one step, if it is one that is saved."""
        if record.skipped or (record.step % self.every and not self.own_series):
            return None
        return self.judge(record)

    def judge(self, record: StepRecord) -> Finding | None:  # noqa: ARG002
        """Look at a saved step."""
        return None

    def words(self, name: str) -> tuple[str, ...]:
        """Return a parameter that holds any number of words."""
        return cast("tuple[str, ...]", self.values[name] or ())

    def found(
        self,
        step: int,
        message: str,
        layers: Iterable[str] = (),
        values: Mapping[str, float] | None = None,
    ) -> Finding:
        """Return a finding with this rule's cause and remedies."""
        return Finding(
            self.name,
            step,
            message,
            self.cause,
            self.remedies,
            tuple(layers)[:MOST_LAYERS],
            {} if values is None else values,
        )
