"""Bodies of the JSON protocols and query parameters, as Python values of the operation's input.

Members that the model does not know are ignored and nulls are left out, as AWS does. A value of
another type is AWS's SerializationException; what the value may be is checked by ``validate``.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn

from orchestrator.api.aws.errors import AwsError, serialization_error
from orchestrator.api.aws.shapes import Shape
from orchestrator.clock import from_epoch

MOST_DEPTH = 64
MOST_VALUES = 500_000
"""The largest PutMetricData has fewer; ten megabytes of empty structures would take a gigabyte."""
_INTEGERS = {"integer": 1 << 31, "long": 1 << 63}
_NOT_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def load_json(body: bytes) -> Any:
    """Return the document of a body; an empty one is an empty structure.

    Raises:
        AwsError: It is no JSON, nests too deep, or has too many values.
    """
    if not body.strip():
        return {}
    if sum(map(body.count, (b",", b"{", b"["))) > MOST_VALUES:
        raise serialization_error(f"the request has more than {MOST_VALUES:,} values")
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise serialization_error("the request body is not JSON") from error


def _no_constant(text: str) -> NoReturn:
    raise ValueError(text)


def parse_json(document: Any, shape: Shape) -> dict[str, Any]:
    """Return the input of an operation.

    Args:
        document: What ``load_json`` returned.
        shape: The operation's input.

    Raises:
        AwsError: A value has another type than the model says.
    """
    found: dict[str, Any] = _value(document, shape, 0)
    return found


def _value(value: Any, shape: Shape, depth: int) -> Any:
    if depth > MOST_DEPTH:
        raise serialization_error(f"the request nests deeper than {MOST_DEPTH} levels")
    return _READERS[shape.kind](value, shape, depth)


def _structure(value: Any, shape: Shape, depth: int) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _mismatch(value, "Structure")
    found = {}
    for name, member in shape.members.items():
        given = value.get(member.wire_name or name)
        if given is not None:
            found[name] = _value(given, member, depth + 1)
    return found


def _list(value: Any, shape: Shape, depth: int) -> list[Any]:
    if not isinstance(value, list):
        raise _mismatch(value, "List")
    assert shape.element is not None
    element = shape.element
    return [None if item is None else _value(item, element, depth + 1) for item in value]


def _map(value: Any, shape: Shape, depth: int) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _mismatch(value, "Map")
    assert shape.value is not None
    element = shape.value
    return {
        _encodable(key): None if item is None else _value(item, element, depth + 1)
        for key, item in value.items()
    }


def _string(value: Any, _shape: Shape, _depth: int) -> str:
    if not isinstance(value, str):
        raise _mismatch(value, "String")
    return _encodable(value)


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise serialization_error("a text has half of a surrogate pair") from error
    return text


def _integer(value: Any, shape: Shape, _depth: int) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _mismatch(value, shape.kind.title())
    limit = _INTEGERS[shape.kind]
    if not -limit <= value < limit:
        raise serialization_error(f"the number is out of the range of {shape.kind}")
    return value


def _float(value: Any, shape: Shape, _depth: int) -> float:
    if isinstance(value, str) and value in _NOT_NUMBERS:
        return _NOT_NUMBERS[value]
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _mismatch(value, shape.kind.title())
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise serialization_error(f"the number is out of the range of {shape.kind}")
    return number


def _boolean(value: Any, _shape: Shape, _depth: int) -> bool:
    if not isinstance(value, bool):
        raise _mismatch(value, "Boolean")
    return value


def _blob(value: Any, _shape: Shape, _depth: int) -> bytes:
    if not isinstance(value, str):
        raise _mismatch(value, "Blob")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise serialization_error("a blob is not base64") from error


def _timestamp(value: Any, _shape: Shape, _depth: int) -> datetime:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _mismatch(value, "Timestamp")
    try:
        if isinstance(value, str):
            time = datetime.fromisoformat(value)
            return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
        return from_epoch(value)
    except (ValueError, OverflowError, OSError) as error:
        raise serialization_error("a timestamp is not a time") from error


_READERS: Mapping[str, Callable[[Any, Shape, int], Any]] = {
    "structure": _structure,
    "list": _list,
    "map": _map,
    "string": _string,
    "integer": _integer,
    "long": _integer,
    "float": _float,
    "double": _float,
    "boolean": _boolean,
    "blob": _blob,
    "timestamp": _timestamp,
}
_TOKENS: Mapping[type, str] = {dict: "START_OBJECT", list: "START_ARRAY", str: "STRING_VALUE"}


def _mismatch(value: Any, wanted: str) -> AwsError:
    if isinstance(value, bool):
        token = "TRUE_VALUE" if value else "FALSE_VALUE"
    else:
        token = _TOKENS.get(type(value), "NUMBER_VALUE")
    article = "an" if wanted[0] in "AEIOU" else "a"
    return serialization_error(f"{token} can not be converted to {article} {wanted}")
