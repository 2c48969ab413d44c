"""What a rule is: it says which values it needs, looks at each step, and may find something."""

from __future__ import annotations

import re
from abc import ABC
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from orchestrator_runtime.rules.parameters import Parameter, Value, parse_parameters

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator_runtime.rules.finding import Finding
    from orchestrator_runtime.trace.record import Array, StepRecord, SystemSample

SERIES = re.compile(r"[A-Za-z_][\w.-]*/[a-z0-9_]+(:[^:/]+)*")
"""What a series may be called: ``collection/statistic``, and arguments behind colons."""


class Need(NamedTuple):
    """A series that a rule reads.

    Attributes:
        series: ``collection/statistic``, e.g. ``gradients/l2``.
        every: At least each so many steps; the recorder may give it more often.
        pattern: Regular expression of the names that matter; None for all.
    """

    series: str
    every: int = 1
    pattern: str | None = None


class Rule(ABC):  # noqa: B024 -- what a rule looks at differs; see `registry.custom_rule`
    """Base of all rules. A rule is made for one optimizer and sees its steps in order.

    A custom rule is a subclass in the user's source; ``parameters`` and ``needs`` may be left out.

    Attributes:
        evaluated: Whether it can find anything at all; some are only known by name.
        repeats: Whether it may find several things: it is asked on after a finding.
        watches_system: Whether the host must be sampled for it; see `observe_system`.
        saves: Whether its constructor takes ``save_interval``, a number of steps.
    """

    name: ClassVar[str] = ""
    parameters: ClassVar[tuple[Parameter, ...]] = ()
    needs: ClassVar[tuple[Need, ...]] = ()
    evaluated: ClassVar[bool] = True
    repeats: ClassVar[bool] = False
    watches_system: ClassVar[bool] = False
    saves: ClassVar[bool] = False

    def __init__(self, **given: Any) -> None:
        """Take parameters by their names.

        Raises:
            RuleError: One is unknown or out of range.
        """
        self.values: Mapping[str, Value] = parse_parameters(
            self.name or type(self).__name__, self.parameters, given
        )

    def number(self, name: str) -> float:
        """Return the value of a parameter that is a number."""
        value = self.values[name]
        assert isinstance(value, (int, float))
        return value

    def whole(self, name: str) -> int:
        """Return the value of a parameter that is a whole number."""
        value = self.values[name]
        assert isinstance(value, int)
        return value

    @property
    def not_evaluated(self) -> str | None:
        """Why this rule has had nothing to judge so far, None if it had."""
        return None

    @property
    def stops(self) -> bool:
        """Whether its parameters say that a finding ends the job."""
        return False

    def needed(self) -> tuple[Need, ...]:
        """Return what must be recorded for this rule; by default the class's ``needs``."""
        return self.needs

    def share(self, shared: dict[str, Any]) -> None:  # noqa: B027 -- most rules share nothing
        """Take part in what the rules of one optimizer derive together; called once, first."""

    def observe(self, record: StepRecord) -> Finding | None:  # noqa: ARG002
        """Look at one step."""
        return None

    def observe_array(self, array: Array) -> Finding | None:  # noqa: ARG002
        """Look at a whole tensor, if ``needed`` asked for one."""
        return None

    def waited(self, last: StepRecord | None, now: float) -> Finding | None:  # noqa: ARG002
        """Look at the time since the last step; called now and then, also before the first."""
        return None

    def observe_system(self, sample: SystemSample) -> Finding | None:  # noqa: ARG002
        """Look at the host; called about once a second if the class ``watches_system``."""
        return None

    def report(self) -> dict[str, Any] | None:
        """Return a summary of what was seen, as JSON can hold it; None if there is none."""
        return None
