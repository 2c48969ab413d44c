"""What a debugger shall watch in a job, judge, and do."""

from __future__ import annotations

import re
from collections import Counter
from typing import Annotated, Any, Self

from orchestrator_runtime.rules import DEFAULT_RULES, RuleError, judge_of
from orchestrator_runtime.rules.parameters import nearest
from orchestrator_runtime.rules.rule import SERIES
from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from orchestrator.spec.base import Spec
from orchestrator.spec.places import LocalPath, Place
from orchestrator.spec.recorded import FED, KINDS, EveryOr, Pattern, TensorCollection, WholeOr

ALL = "all"
"""In ``stop_on``: every rule that judges the run."""
CUSTOM_RULE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def _web_address(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise ValueError(
            f"webhook must start with http:// or https://, got {text!r}; give the whole address"
        )
    return text


def _somebody(text: str) -> str:
    if not text.startswith(("mailto:", "tel:")) or not text.partition(":")[2]:
        raise ValueError(
            f"notify must hold mailto: or tel: addresses, got {text!r}; write mailto:me@example.com"
        )
    return text


class DebugRule(Spec):
    """One rule that judges a run while it trains."""

    rule: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    """Ours (``vanishing_gradient``), SageMaker's (``VanishingGradient``), or a class of your
    source (``my_rules:LossSpike``)."""
    name: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None
    """What you call it; None = the rule's own name."""
    parameters: dict[str, str | int | float | bool] = Field(default_factory=dict, max_length=100)
    notify: tuple[
        Annotated[str, StringConstraints(max_length=256), AfterValidator(_somebody)], ...
    ] = Field(default=(), max_length=10)
    """Who is told of its findings (``mailto:…``, ``tel:…``), by the service's own webhook
    ``ORCHESTRATOR_WEBHOOK_URL``. SageMaker: the actions Email and SMS."""

    save_interval: int | None = Field(default=None, ge=1)
    """Steps from one value to the next that a rule of SageMaker's sees; None = 500, as there."""

    @property
    def called(self) -> str:
        """What it is called."""
        return self.name or self.rule

    @model_validator(mode="after")
    def _exists(self) -> Self:
        if CUSTOM_RULE.fullmatch(self.rule):
            return self  # only the program's own Python can load it
        if ":" in self.rule:  # it would be imported here
            raise ValueError(f"rule must be module:Class, got {self.rule!r}; correct it")
        try:
            judge_of(self.rule, self.parameters, save_interval=self.save_interval)
        except RuleError as error:
            raise ValueError(str(error)) from error
        return self


Series = Annotated[str, StringConstraints(max_length=256)]
Kind = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][\w.-]*$", max_length=256)]


def _rule_of(value: Any) -> Any:
    return {"rule": value} if isinstance(value, str) else value


class Debugger(Spec):
    """What is recorded of a run, which rules judge it, and which of them end it."""

    rules: tuple[Annotated[DebugRule, BeforeValidator(_rule_of)], ...] = Field(
        default=tuple(DebugRule(rule=rule) for rule in DEFAULT_RULES), max_length=100
    )
    """Rules, or their names; by default all of ours."""
    stop_on: tuple[str, ...] = Field(default=(), max_length=100)
    """Names of the rules whose finding ends the job, or ``all``; one that is not among the rules
    is added."""
    every: dict[Series, EveryOr] = Field(default_factory=dict, max_length=100)
    """Steps between two values of a series, such as ``{"gradients/l2": 10}``, or at which steps
    there are some, ``{"weights/std": {"every": 10, "start": 100}}``; 0 = never."""
    include: tuple[Pattern, ...] = Field(default=(), max_length=100)
    """Regular expressions of the names of tensors whose statistics are recorded; none = all."""
    arrays: dict[Kind, WholeOr] = Field(default_factory=dict, max_length=100)
    """Whole tensors by their kind (``weights``, ``gradients``, ``outputs``, ``inputs``, ``labels``,
    …, or what ``save_tensor`` gives): steps between two, or when and which,
    ``{"weights": {"every": 100, "patterns": ["fc"]}}``. At most 16 MiB each, 64 MiB a step and
    512 MiB a process."""
    histograms: dict[Kind, WholeOr] = Field(default_factory=dict, max_length=100)
    """The same, for histograms of 64 bins."""
    collections: dict[
        Annotated[str, StringConstraints(min_length=1, max_length=256)], TensorCollection
    ] = Field(default_factory=dict, max_length=100)
    """Tensors under names of your own, with what is recorded of them besides all else."""
    local_path: LocalPath = "/opt/ml/output/tensors"
    """Where the program's side of the debugger writes."""
    s3_output_path: Place | None = None
    """Where recorded values are kept as well; None = with the job."""
    all_ranks: bool = False
    """Record every process of a distributed run, not the first alone."""
    webhook: (
        Annotated[str, StringConstraints(max_length=2048), AfterValidator(_web_address)] | None
    ) = None
    """Gets each finding as JSON by POST."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = Counter(rule.called for rule in self.rules)
        twice = [name for name, count in names.items() if count > 1]
        if twice:
            raise ValueError(
                f"names of rules must be unique, got {twice[0]!r} twice; give one another name"
            )
        for name in self.stop_on:
            if name != ALL and name not in names and not _is_rule(name):
                raise ValueError(
                    f"stop_on must name rules, got {name!r}{nearest(name, sorted(names))}"
                )
        for series in self.every:
            if not SERIES.fullmatch(series):
                raise ValueError(
                    f"every must have series as keys, got {series!r}; write collection/statistic, "
                    "such as gradients/l2"
                )
        for name, collection in self.collections.items():
            if not collection.include and name not in (*KINDS, *FED):
                raise ValueError(
                    f"collections must have include, or be called {', '.join((*KINDS, *FED))}, "
                    f"got {name!r} without; add include, regular expressions of its tensors' names"
                )
        return self

    @property
    def tells_somebody(self) -> bool:
        """Whether findings are to be told to anybody."""
        return self.webhook is not None or any(rule.notify for rule in self.rules)

    def judged_by(self) -> tuple[DebugRule, ...]:
        """Return all rules, those that only ``stop_on`` names included."""
        names = {rule.called for rule in self.rules}
        more = (DebugRule(rule=name) for name in self.stop_on if name not in {*names, ALL})
        return (*self.rules, *more)

    def ends_on(self, called: str) -> bool:
        """Return whether a finding of the rule that is called so ends the job."""
        everything = ALL in self.stop_on and all(rule.called != ALL for rule in self.rules)
        return everything or called in self.stop_on


def _is_rule(name: str) -> bool:
    try:
        DebugRule.model_validate({"rule": name})
    except ValueError:
        return False
    return True
