"""What the debugger is asked to do in a process: read from the file that a variable names."""

from __future__ import annotations

import json
import os
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator_runtime import contract

if TYPE_CHECKING:
    from collections.abc import Mapping

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class RulePlan(NamedTuple):
    """A rule that judges the run.

    Attributes:
        rule: Its name in the registry, or ``module:Class`` of the user's source.
        name: What the user calls it.
        stop: Whether a finding ends the job.
        save_interval: Steps from one value to the next, as the user's collection has it; the
            rule's own if it is None.
    """

    rule: str
    name: str
    parameters: dict[str, Any]
    stop: bool
    save_interval: int | None = None


class DebugPlan(NamedTuple):
    """All that the hook needs to know.

    Attributes:
        directory: Where traces go; None records nothing.
        findings: A file that gets a JSON line for each finding, if any.
        every: Steps by series; see `schedule.intervals_of`.
        include: Regular expressions of the tensors whose statistics are in the trace; all if there
            are none. Rules see all of them.
        arrays: Whole tensors to keep: by collection a number of steps, or the members of an
            Interval and ``patterns``, regular expressions of their names.
        histograms: The same, for histograms.
        collections: Tensors under a name of the user's: members of an Interval, ``include``
            (regular expressions of their names) and ``statistics``; see `wishes.collected`.
        all_ranks: Record in every process of a distributed run, not in the first alone.
    """

    directory: str | None
    rules: tuple[RulePlan, ...] = ()
    findings: str | None = None
    every: Mapping[str, Any] = _NOTHING
    include: tuple[str, ...] = ()
    arrays: Mapping[str, Any] = _NOTHING
    histograms: Mapping[str, Any] = _NOTHING
    collections: Mapping[str, Any] = _NOTHING
    all_ranks: bool = False
    quota_bytes: int = 512 * 1024 * 1024


def plan_from(value: dict[str, Any]) -> DebugPlan:
    """Read a plan from JSON.

    Raises:
        KeyError: A member is missing.
        TypeError: A member has the wrong type.
        ValueError: An interval is no number.
    """
    rules = tuple(
        RulePlan(
            str(rule["rule"]),
            str(rule.get("name") or rule["rule"]),
            dict(rule.get("parameters", {})),
            bool(rule.get("stop", False)),
            None if rule.get("save_interval") is None else int(rule["save_interval"]),
        )
        for rule in value.get("rules", ())
    )
    known = {name: value[name] for name in DebugPlan._fields if name in value}
    known.update(rules=rules, include=tuple(value.get("include", ())))
    return DebugPlan(**known)


def read_plan() -> DebugPlan | None:
    """Return the plan of this process, None if nobody asked for the debugger.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no plan.
    """
    path = os.environ.get(contract.DEBUG_VARIABLE)
    if not path:
        return None
    with open(path, encoding="utf-8") as file:
        plan = plan_from(json.load(file))
    if plan.directory is None:
        return plan
    # A relative place counts from the plan: where /opt/ml is not served, only that is known.
    return plan._replace(
        directory=os.path.normpath(os.path.join(os.path.dirname(path), plan.directory))
    )
