"""Parameters of rules: declared once, checked where they arrive, explained when they are wrong."""

from __future__ import annotations

import difflib
import math
import re
from typing import TYPE_CHECKING, Any, NamedTuple, Union

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Parser = Callable[["Parameter", Any], "Value"]

Value = Union[None, bool, int, float, str, "tuple[str, ...]"]

_MOST_NAMES = 12


class RuleError(ValueError):
    """A rule or parameter that does not exist or cannot be: rule, value and remedy."""


class Parameter(NamedTuple):
    """One parameter of a rule.

    Attributes:
        type: ``float``, ``int``, ``bool``, ``str``, ``pattern`` (a regular expression),
            ``names`` (words separated by commas), ``patterns`` (regular expressions separated
            by commas) or ``choice``.
        low: Smallest value, for numbers.
        high: Largest value, for numbers.
    """

    name: str
    default: Value
    type: str = "float"
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()
    help: str = ""

    def parse(self, rule: str, value: Any) -> Value:
        """Return a value of the parameter's type. On the wire all values are text.

        Raises:
            RuleError: It is none.
        """
        if value is None or (self.default is None and value in ("", "None")):
            return self.default
        try:
            return _PARSERS[self.type](self, value)
        except (TypeError, ValueError, OverflowError, re.error) as error:
            raise RuleError(f"{rule}: parameter {self.name!r} is {value!r}: {error}") from error


def parse_parameters(
    rule: str, known: Sequence[Parameter], given: Mapping[str, Any]
) -> dict[str, Value]:
    """Return a value for each known parameter.

    Raises:
        RuleError: A parameter is unknown or has a value that cannot be.
    """
    names = [parameter.name for parameter in known]
    for name in given:
        if name not in names:
            raise RuleError(f"{rule} has no parameter {name!r}{nearest(name, names)}")
    return {
        parameter.name: parameter.parse(rule, given.get(parameter.name, parameter.default))
        for parameter in known
    }


def some(names: Iterable[str]) -> str:
    """Return the first names for a message."""
    listed = sorted(names)
    more = ", ..." if len(listed) > _MOST_NAMES else ""
    return ", ".join(listed[:_MOST_NAMES]) + more or "none"


def nearest(word: str, words: Sequence[str]) -> str:
    """Return ``; did you mean ...?`` or ``; there are ...``."""
    close = difflib.get_close_matches(word, words, 1, 0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there are: {', '.join(words)}" if words else "; it has none"


def _number(parameter: Parameter, value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError("a number is needed")
    try:
        number = float(value)
    except ValueError:  # Python's own words name no remedy
        number = math.nan
    if math.isnan(number):
        raise ValueError("a number is needed")
    if not parameter.low <= number <= parameter.high:
        raise ValueError(_range(parameter))
    return number


def _range(parameter: Parameter) -> str:
    if parameter.high == math.inf:
        return f"it must be at least {parameter.low:g}"
    if parameter.low == -math.inf:
        return f"it must be at most {parameter.high:g}"
    return f"it must be from {parameter.low:g} to {parameter.high:g}"


def _whole(parameter: Parameter, value: Any) -> int:
    number = _number(parameter, value)
    if number != int(number):
        raise ValueError("a whole number is needed")
    return int(number)


def _truth(_: Parameter, value: Any) -> bool:
    known = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}
    truth = known.get(str(value).strip().lower())
    if truth is None:
        raise ValueError("it must be true or false")
    return truth


def _text(_: Parameter, value: Any) -> str:
    return str(value)


def _pattern(_: Parameter, value: Any) -> str:
    re.compile(str(value))
    return str(value)


def _names(_: Parameter, value: Any) -> tuple[str, ...]:
    words = value.split(",") if isinstance(value, str) else list(value)
    return tuple(str(word).strip() for word in words if str(word).strip())


def _patterns(parameter: Parameter, value: Any) -> tuple[str, ...]:
    words = _names(parameter, value)
    try:
        for word in words:
            re.compile(word)
    except re.error:  # a comma may also be part of an expression, e.g. of {1,3}
        return (_pattern(parameter, value),)
    return words


def _choice(parameter: Parameter, value: Any) -> str:
    if value not in parameter.choices:
        raise ValueError(f"it must be one of: {', '.join(parameter.choices)}")
    return str(value)


_PARSERS: dict[str, Parser] = {
    "float": _number,
    "int": _whole,
    "bool": _truth,
    "str": _text,
    "pattern": _pattern,
    "names": _names,
    "patterns": _patterns,
    "choice": _choice,
}


def optional_text(value: Value) -> str | None:
    """Return the text of a parameter that may be left out."""
    return None if value is None else str(value)
