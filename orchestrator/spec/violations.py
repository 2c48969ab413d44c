"""Broken rules in words: place, rule, value and remedy of each, without repeating secrets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Sized
from typing import Any

from orchestrator.spec.redact import is_secret_name, redacted_hyper_parameters

SHOWN_CHARACTERS = 80
"""Of a value; of a part of a place as well, since users choose some of them."""

_QUIET_PLACES = frozenset({"secrets", "environment", "authorization"})
_HYPER_PARAMETERS = "hyper_parameters"
_WITHOUT_VALUE = frozenset({"missing", "value_error", "extra_forbidden"})
_NO_REMEDY = "correct it"
# Kinds of pydantic's errors; {facts} are those that it gives.
_WORDS = {
    "missing": ("must be given, it is missing", "add it"),
    "extra_forbidden": ("is not known here", "correct its name, or leave it out"),
    "string_too_long": ("must have at most {max_length} characters", "shorten it"),
    "string_too_short": ("must have at least {min_length} character(s)", "give more"),
    "string_pattern_mismatch": ("must match {pattern}", "use other characters"),
    "too_long": ("must have at most {max_length} entries", "leave some out"),
    "too_short": ("must have at least {min_length} entries", "add some, or leave it out"),
    "greater_than": ("must be more than {gt}", "give a larger number"),
    "greater_than_equal": ("must be at least {ge}", "give a larger number"),
    "less_than": ("must be less than {lt}", "give a smaller number"),
    "less_than_equal": ("must be at most {le}", "give a smaller number"),
    "literal_error": ("must be {expected}", "choose one of these"),
    "tuple_type": ("must be a list", "put it in brackets"),
    "enum": ("must be {expected}", "choose one of these"),
}
_BEGINNINGS = {"Input should": "must", "String should": "must"}


def violations_text(errors: Iterable[Any], kind: str) -> str:
    """Return one message for all broken rules.

    Args:
        errors: As pydantic lists them.
        kind: What was wrong: ``specification``, ``request``, …
    """
    lines = [_violation(item) for item in errors]
    rules = "rule" if len(lines) == 1 else "rules"
    return f"{len(lines)} {rules} of the {kind} broken: {'. '.join(lines)}"


def _violation(item: Any) -> str:
    place = [str(part) for part in item["loc"]]
    rule, remedy = _rule(item)
    if place:  # the place says the name already: no `regex: regex must …`
        rule = rule.removeprefix(f"{place[-1]} ")
    value = _value(item, place)
    where = ".".join(_short(part) for part in place) + ": " if place else ""
    return f"{where}{rule}{value}{remedy}"


def _rule(item: Any) -> tuple[str, str]:
    """Return rule and remedy."""
    facts = item.get("ctx") or {}
    if item["type"] == "value_error":
        said = str(item["msg"]).removeprefix("Value error, ")
        return said, ""  # ours: it names the remedy itself
    if item["type"] in _WORDS:
        rule, remedy = _WORDS[item["type"]]
        return rule.format(**facts), f"; {remedy}"
    rule = str(item["msg"])
    for theirs, ours in _BEGINNINGS.items():
        if rule.startswith(theirs):
            rule = ours + rule.removeprefix(theirs)
    return rule, f"; {_NO_REMEDY}"


def _value(item: Any, place: Sequence[str]) -> str:
    given = item.get("input")
    if item["type"] in {"too_long", "too_short"}:
        return f", got {len(given)}" if isinstance(given, Sized) else ""
    if item["type"] == "string_too_long":
        shown = _shown(given, place)
        return f", got {len(given)}" + (f" that begin {_short(shown)!r}" if shown else "")
    if item["type"] in _WITHOUT_VALUE:
        return ""
    shown = _shown(given, place)
    return "" if shown is None else f", got {_short(repr(shown))}"


def _shown(given: Any, place: Sequence[str]) -> Any:
    """Return what may be shown of a value; None where nothing may.

    Of a hyperparameter its name decides; a variable of the environment is never repeated.
    """
    lower = [part.lower() for part in place]
    if not _QUIET_PLACES.isdisjoint(lower):
        return None
    if _HYPER_PARAMETERS not in lower:
        return given
    name = place[lower.index(_HYPER_PARAMETERS) + 1 :][:1]
    if not name or is_secret_name(name[0]) or isinstance(given, list | dict):
        return None
    return (
        redacted_hyper_parameters({name[0]: given})[name[0]] if isinstance(given, str) else given
    )


def _short(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
