"""Finds rules by their names, ours and SageMaker's, and the user's by ``module:Class``."""

from __future__ import annotations

import importlib
from functools import partial
from typing import TYPE_CHECKING, Any

from orchestrator_runtime.rules.engine import Judge
from orchestrator_runtime.rules.parameters import RuleError, nearest
from orchestrator_runtime.rules.rule import Rule

if TYPE_CHECKING:
    from collections.abc import Mapping


LOOKS = ("observe", "observe_array", "observe_system", "waited")
"""Methods by which a rule learns of a run; it has at least one of them."""


def rules() -> dict[str, type[Rule]]:
    """Return all built-in rules by name."""
    from orchestrator_runtime.rules.documented import DOCUMENTED  # noqa: PLC0415
    from orchestrator_runtime.rules.profiler import PROFILER  # noqa: PLC0415
    from orchestrator_runtime.rules.robust import ROBUST  # noqa: PLC0415

    return {rule.name: rule for family in (ROBUST, DOCUMENTED, PROFILER) for rule in family}


def judge_of(
    rule: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    name: str | None = None,
    stop: bool = False,
    save_interval: int | None = None,
) -> Judge:
    """Return the judge for a rule.

    ``save_interval`` is that of the user's collection, in steps; rules that have no use for it
    do not get it.

    Raises:
        RuleError: There is no such rule, or a parameter is wrong.
    """
    kind = custom_rule(rule) if ":" in rule else built_in_rule(rule)
    given = dict(parameters or {})
    if save_interval is not None and kind.saves:
        given["save_interval"] = save_interval
    try:
        made = kind(**given)
        needs = made.needed()
    except RuleError:
        raise
    except Exception as error:  # the user's class may raise anything
        raise RuleError(f"{rule} cannot be made: {type(error).__name__}: {error}") from error
    return Judge(
        name or rule, partial(kind, **given), tuple(needs), stop or made.stops, kind.watches_system
    )


def built_in_rule(name: str) -> type[Rule]:
    """Return a built-in rule.

    Raises:
        RuleError: There is none of that name.
    """
    known = rules()
    found = known.get(name)
    if found is None:
        raise RuleError(f"there is no rule {name!r}{nearest(name, sorted(known))}")
    return found


def custom_rule(place: str) -> type[Rule]:
    """Return a class of the user's source, by ``module:Class``.

    Raises:
        RuleError: It cannot be loaded, or is no rule.
    """
    module, _, attribute = place.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # the user's module may raise anything
        raise RuleError(f"{place} cannot be loaded: {type(error).__name__}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Rule)):
        raise RuleError(
            f"{place} is no subclass of a rule; derive it from orchestrator_runtime.rules.Rule"
        )
    if all(getattr(found, name) is getattr(Rule, name) for name in LOOKS):
        raise RuleError(f"{place} looks at nothing; define one of its methods {', '.join(LOOKS)}")
    return found
