"""Search expressions: what a resource must be like to be found. Pure.

Source: ``SearchExpression``, ``NestedFilters`` and ``Filter`` of SageMaker's API reference.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.api.aws.errors import validation_error
from orchestrator.api.aws.sagemaker.properties import (
    Property,
    list_named,
    member,
    parts_at,
    property_named,
)

if TYPE_CHECKING:
    from orchestrator.api.aws.shapes import Shape

Resource = Mapping[str, Any]
Predicate = Callable[[Resource], bool]
MOST_CONDITIONS = 50
_Compares = Callable[[Any, Any], bool]
_EQUAL: _Compares = operator.eq
_ORDER: dict[str, _Compares] = {
    "GreaterThan": operator.gt,
    "GreaterThanOrEqualTo": operator.ge,
    "LessThan": operator.lt,
    "LessThanOrEqualTo": operator.le,
}
_TEXT_ONLY = frozenset({"Contains", "In"})


class Condition(NamedTuple):
    """What a resource must fit, as far as it is known.

    Attributes:
        needs: The members of the resource that must be known to tell.
        fits: Tells.
    """

    needs: frozenset[str]
    fits: Predicate


def conditions(expression: Mapping[str, Any], shape: Shape) -> list[Condition]:
    """Return what a resource must fit all of: each may be asked as soon as enough is known.

    Args:
        expression: A ``SearchExpression``, valid by the model.
        shape: Of the resource.

    Raises:
        AwsError: It names what the resource has not, compares what cannot be compared, or is too large.
    """
    if _count(expression) > MOST_CONDITIONS:
        raise validation_error(
            f"A search expression can have at most {MOST_CONDITIONS} filters, nested filters and "
            "subexpressions."
        )
    if _contains(expression) > 1:
        raise validation_error("'CONTAINS' operator usage limit of 1 exceeded.")
    return _conditions(expression, shape)


def predicate(expression: Mapping[str, Any], shape: Shape) -> Predicate:
    """Return what tells whether a resource of which all is known fits; see ``conditions``."""
    return _joined(all, conditions(expression, shape)).fits


def _conditions(given: Mapping[str, Any], shape: Shape) -> list[Condition]:
    found = [
        *(
            Condition(_needed(each["Name"]), _filter(each, shape))
            for each in given.get("Filters", ())
        ),
        *(
            Condition(_needed(each["NestedPropertyName"]), _nested(each, shape))
            for each in given.get("NestedFilters", ())
        ),
    ]
    is_or = given.get("Operator") == "Or"
    for each in given.get("SubExpressions", ()):
        parts = _conditions(each, shape)
        found += [_joined(all, parts)] if is_or else parts
    if not found:
        raise validation_error(
            "A search expression needs at least one of Filters, NestedFilters and SubExpressions."
        )
    return [_joined(any, found)] if is_or else found


def _joined(how: Callable[[Iterable[bool]], bool], parts: list[Condition]) -> Condition:
    """Return one condition of several: that all or any of them hold."""
    needs = frozenset[str]().union(*(part.needs for part in parts))
    return Condition(needs, lambda resource: how(part.fits(resource) for part in parts))


def _needed(name: str) -> frozenset[str]:
    return frozenset({member(name)})


def _nested(given: Mapping[str, Any], shape: Shape) -> Predicate:
    """Return what is true when one structure of a list fits all filters."""
    name = given["NestedPropertyName"]
    element = list_named(name, shape)
    inner = [
        _filter(each | {"Name": each["Name"].removeprefix(f"{name}.")}, element)
        for each in given["Filters"]
    ]
    return lambda resource: any(
        all(fits(part) for fits in inner) for part in parts_at(resource, name)
    )


def _filter(given: Mapping[str, Any], shape: Shape) -> Predicate:
    wanted = property_named(given["Name"], shape)
    how = given.get("Operator", "Equals")
    if how in {"Exists", "NotExists"}:
        present = how == "Exists"
        return lambda resource: any(True for _ in wanted.values(resource)) is present
    if "Value" not in given:
        raise validation_error(f"The filter on {wanted.name} needs a Value for operator {how}.")
    if how == "NotEquals":
        equal = _comparison(wanted, "Equals", given["Value"])
        return lambda resource: not any(equal(value) for value in wanted.values(resource))
    fits = _comparison(wanted, how, given["Value"])
    return lambda resource: any(fits(value) for value in wanted.values(resource))


def _comparison(wanted: Property, how: str, text: str) -> Callable[[Any], bool]:
    """Return what tells whether one value of a property fits."""
    if wanted.kind == "part":
        raise validation_error(
            f"Property {wanted.name} has no value to compare; name a part of it."
        )
    if wanted.kind in {"number", "time"}:
        if how in _TEXT_ONLY:
            raise _unsupported(wanted, how)
        limit = _number(wanted, text) if wanted.kind == "number" else _time(wanted, text)
        compares = _ORDER.get(how, _EQUAL)
        return lambda value: compares(value, limit)
    if wanted.kind == "decimal" and how not in _TEXT_ONLY and _decimal(text) is not None:
        return _decimals(how, text)
    if how in _ORDER:
        raise _unsupported(wanted, how)
    if how == "Contains":
        return lambda value: text in _text(value)
    accepted = frozenset(part.strip() for part in text.split(",")) if how == "In" else {text}
    return lambda value: _text(value) in accepted


def _decimals(how: str, text: str) -> Callable[[Any], bool]:
    """Return what compares hyperparameters as numbers: whole ones when the given one is whole."""
    limit = float(text)
    whole = text.strip().lstrip("+-").isdecimal()
    compares = _ORDER.get(how, _EQUAL)

    def fits(value: str) -> bool:
        number = _decimal(value)
        return number is not None and compares(int(number) if whole else number, limit)

    return fits


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _decimal(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) < float("inf") else None


def _number(wanted: Property, text: str) -> float:
    number = _decimal(text)
    if number is None:
        raise validation_error(f"Property {wanted.name} is a number, the filter has '{text}'.")
    return number


def _time(wanted: Property, text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise validation_error(
            f"Property {wanted.name} is a time, the filter has '{text}'; give YYYY-mm-dd'T'HH:MM:SS."
        ) from error
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def _unsupported(wanted: Property, how: str) -> Exception:
    return validation_error(f"Operator {how} is not supported for property {wanted.name}.")


def _count(given: Mapping[str, Any]) -> int:
    nested = given.get("NestedFilters", ())
    inner = given.get("SubExpressions", ())
    return (
        len(given.get("Filters", ()))
        + sum(1 + len(each["Filters"]) for each in nested)
        + sum(1 + _count(each) for each in inner)
    )


def _contains(given: Mapping[str, Any]) -> int:
    nested = (each for group in given.get("NestedFilters", ()) for each in group["Filters"])
    here = [each.get("Operator") for each in (*given.get("Filters", ()), *nested)]
    return here.count("Contains") + sum(
        _contains(each) for each in given.get("SubExpressions", ())
    )
