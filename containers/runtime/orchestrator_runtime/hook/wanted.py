"""From the arguments of ``watch`` to a plan, checked at the call; pure but for the two places."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator_runtime.hook.plan import DebugPlan, RulePlan
from orchestrator_runtime.hook.wishes import compiled_patterns
from orchestrator_runtime.rules import DEFAULT_RULES
from orchestrator_runtime.rules.parameters import RuleError, nearest
from orchestrator_runtime.rules.registry import judge_of
from orchestrator_runtime.rules.rule import SERIES, Rule
from orchestrator_runtime.trace.kinds import BIASES_COLLECTION, KINDS, WHOLE_ONLY

if TYPE_CHECKING:
    from collections.abc import Iterable

ALL = "all"
DEFAULT_SAVE_INTERVAL = 500
"""Steps between two values of a collection's; SageMaker's."""
_MEMBERS = ("every", "start", "end", "steps")


class Wanted(NamedTuple):
    """The arguments of `watch` as they were given."""

    rules: Any = None
    stop_on: Any = ()
    every: Any = None
    directory: Any = None
    findings: Any = None
    include: Any = ()
    arrays: Any = None
    histograms: Any = None
    collections: Any = None


def plan_of(wanted: Wanted) -> DebugPlan:
    """Return the plan.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument has a value that cannot be; RuleError where it is a rule.
    """
    every = _mapping("every", wanted.every)
    for series in every:
        if not isinstance(series, str) or not SERIES.fullmatch(series):
            raise ValueError(
                f"every must be by COLLECTION/STATISTIC, e.g. 'gradients/l2', got {series!r}"
            )
    return DebugPlan(
        directory=_place("directory", wanted.directory),
        rules=_rules(wanted.rules, _words("stop_on", wanted.stop_on)),
        findings=_file(_place("findings", wanted.findings)),
        every={series: _interval(f"every[{series!r}]", wish) for series, wish in every.items()},
        include=_patterns("include", wanted.include),
        arrays=_whole("arrays", wanted.arrays),
        histograms=_whole("histograms", wanted.histograms),
        collections=_collections(wanted.collections),
    )


def _rules(rules: Any, stop_on: tuple[str, ...]) -> tuple[RulePlan, ...]:
    if rules is None:
        rules = DEFAULT_RULES
    if isinstance(rules, (str, type)):
        rules = [rules]
    given = rules if isinstance(rules, Mapping) else dict.fromkeys(rules)
    plans = []
    for rule, parameters in given.items():
        name = _name_of(rule)
        values = dict(_mapping(f"rules[{name!r}]", parameters))
        judge = judge_of(name, values, stop=name in stop_on or ALL in stop_on)
        plans.append(RulePlan(name, name, values, judge.stop))
    names = [plan.name for plan in plans]
    for name in stop_on:
        if name != ALL and name not in names:
            raise RuleError(
                f"stop_on must name rules that judge, got {name!r}{_near(name, names)}"
            )
    return tuple(plans)


def _name_of(rule: Any) -> str:
    if isinstance(rule, str):
        return rule
    if not (inspect.isclass(rule) and issubclass(rule, Rule)):
        raise RuleError(
            f"rules must be names, module:Class or subclasses of Rule, got {rule!r}; "
            "parameters go into a mapping: {'non_finite': {'loss_patience': 5}}"
        )
    if "<locals>" in rule.__qualname__ or "." in rule.__qualname__:
        raise RuleError(f"a rule must be a class of a module, got {rule.__qualname__}; move it")
    built_in = rule.__module__.startswith("orchestrator_runtime.rules.") and rule.name
    return rule.name if built_in else f"{rule.__module__}:{rule.__qualname__}"


def _near(name: str, names: list[str]) -> str:
    return nearest(name, names) if names else "; there are no rules"


def _interval(place: str, wish: Any, members: tuple[str, ...] = _MEMBERS) -> Any:
    if isinstance(wish, Mapping):
        unknown = [member for member in wish if member not in members]
        if unknown:
            raise ValueError(
                f"{place} has no member {unknown[0]!r}; there are: {', '.join(members)}"
            )
        for member in ("every", "start", "end"):
            if wish.get(member) is not None:
                _steps(f"{place}[{member!r}]", wish[member])
        return {**wish, "steps": [_steps(place, step) for step in wish.get("steps", ())]}
    return _steps(place, wish)


def _steps(place: str, number: Any) -> int:
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError(f"{place} must be a whole number of steps, got {number!r}")
    if number < 0:
        raise ValueError(f"{place} must be 0 or more steps, got {number}; 0 leaves it out")
    return number


def _whole(name: str, given: Any) -> dict[str, Any]:
    wishes = {}
    for collection, wish in _mapping(name, given).items():
        if not isinstance(collection, str) or not collection or "/" in collection:
            raise ValueError(f"{name} must be by collection, e.g. 'weights', got {collection!r}")
        place = f"{name}[{collection!r}]"
        wishes[collection] = _interval(place, wish, (*_MEMBERS, "patterns"))
        if isinstance(wish, Mapping):
            wishes[collection]["patterns"] = _patterns(place, wish.get("patterns", ()))
    return wishes


def _collections(given: Any) -> dict[str, Any]:
    wishes = {}
    for name, wish in _mapping("collections", given).items():
        place = f"collections[{name!r}]"
        members = dict(_mapping(place, wish))
        include = _patterns(place, members.get("include", ()))
        if not include and name not in (*KINDS, BIASES_COLLECTION, *WHOLE_ONLY):
            raise ValueError(
                f"{place} must have include, regular expressions of its tensors' names, or be "
                f"called {', '.join(KINDS)}"
            )
        wish = {"every": DEFAULT_SAVE_INTERVAL, **members}
        wishes[name] = _interval(place, wish, (*_MEMBERS, "include", "statistics"))
        wishes[name].update(include=include, statistics=_words(place, wish.get("statistics", ())))
    return wishes


def _patterns(place: str, given: Any) -> tuple[str, ...]:
    words = _words(place, given)
    faults = compiled_patterns(words)[1]
    if faults:
        raise ValueError(f"{place}: {faults[0]}")
    return words


def _words(place: str, given: Iterable[str] | str) -> tuple[str, ...]:
    words = (given,) if isinstance(given, str) else tuple(given)
    for word in words:
        if not isinstance(word, str):
            raise TypeError(f"{place} must be a list of text, got {word!r} in it")
    return words


def _mapping(place: str, given: Any) -> Mapping[Any, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise TypeError(f"{place} must be a mapping, got {type(given).__name__}")
    return given


def _place(name: str, given: Any) -> str | None:
    if given is None:
        return None
    try:
        path = os.fspath(given)
    except TypeError as error:
        raise TypeError(f"{name} must be a path, got {type(given).__name__}") from error
    if not path or not isinstance(path, str):
        raise ValueError(f"{name} must be a path of text, got {path!r}")
    return os.path.abspath(os.path.expanduser(path))


def _file(path: str | None) -> str | None:
    """Make the file, so that it is there whatever is found."""
    if path is None:
        return None
    try:
        with open(path, "a", encoding="utf-8"):
            return path
    except OSError as error:
        raise ValueError(
            f"findings must name a file that can be written, got {path!r}: {error.strerror}; "
            "name another, or make its directory"
        ) from error
