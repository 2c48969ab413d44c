"""Outputs and errors, as each protocol writes them.

Nulls are left out: clients take a null for a value. Times are epoch seconds in JSON and ISO 8601 in
XML, with milliseconds where there are any.
"""

from __future__ import annotations

import base64
import html
import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from orchestrator.api.aws.errors import AwsError
from orchestrator.api.aws.shapes import Shape


def json_document(value: Mapping[str, Any], shape: Shape | None) -> bytes:
    """Return an output as a JSON document.

    Raises:
        ValueError: The output has a member that the model does not know: a fault of the handler.
    """
    if shape is None:
        return b"{}"
    return json.dumps(_jsonable(value, shape), separators=(",", ":"), allow_nan=False).encode()


def json_error(error: AwsError) -> bytes:
    """Return the body of an error in the JSON protocols."""
    return json.dumps({"__type": error.code, "message": error.message}).encode()


def _jsonable(value: Any, shape: Shape) -> Any:
    if shape.kind == "structure":
        return {
            member.wire_name or name: _jsonable(item, member)
            for name, member, item in _members(value, shape)
        }
    if shape.kind == "list":
        assert shape.element is not None
        element = shape.element
        return [_jsonable(item, element) for item in value]
    if shape.kind == "map":
        assert shape.value is not None
        element = shape.value
        return {key: _jsonable(item, element) for key, item in value.items() if item is not None}
    if shape.kind == "timestamp":
        return _epoch(value)
    if shape.kind == "blob":
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, float) and not math.isfinite(value):
        return _not_a_number(value)
    return value


def _members(value: Mapping[str, Any], shape: Shape) -> list[tuple[str, Shape, Any]]:
    unknown = value.keys() - shape.members.keys()
    if unknown:
        raise ValueError(f"{shape.name} has no members {sorted(unknown)}")
    return [(name, shape.members[name], item) for name, item in value.items() if item is not None]


def _epoch(time: datetime) -> float:
    seconds = round(time.timestamp(), 3)
    return int(seconds) if seconds.is_integer() else seconds


def _not_a_number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


# -- XML -----------------------------------------------------------------------------------------


def query_document(
    operation: str, value: Mapping[str, Any], shape: Shape | None, namespace: str, request_id: str
) -> bytes:
    """Return an output as the query protocol writes it."""
    result = ""
    if shape is not None:
        inner = "".join(_xml(name, item, member) for name, member, item in _members(value, shape))
        result = f"<{shape.wrapper}>{inner}</{shape.wrapper}>" if shape.wrapper else inner
    metadata = _element("ResponseMetadata", _element("RequestId", _escaped(request_id)))
    xmlns = f' xmlns="{_escaped(namespace)}"' if namespace else ""
    text = f"<{operation}Response{xmlns}>{result}{metadata}</{operation}Response>"
    return _DECLARATION + text.encode()


def query_error(error: AwsError, namespace: str, request_id: str) -> bytes:
    """Return the body of an error in the query protocol."""
    kind = "Sender" if error.status < 500 else "Receiver"
    inner = _element("Type", kind) + _element("Code", _escaped(error.code))
    inner += _element("Message", _escaped(error.message))
    xmlns = f' xmlns="{_escaped(namespace)}"' if namespace else ""
    text = _element("Error", inner) + _element("RequestId", _escaped(request_id))
    return _DECLARATION + f"<ErrorResponse{xmlns}>{text}</ErrorResponse>".encode()


def s3_error(error: AwsError, resource: str, request_id: str) -> bytes:
    """Return the body of an error of S3."""
    inner = _element("Code", _escaped(error.code)) + _element("Message", _escaped(error.message))
    inner += _element("Resource", _escaped(resource))
    inner += _element("RequestId", _escaped(request_id))
    return _DECLARATION + _element("Error", inner).encode()


_UNWRITABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>\n'


def _element(name: str, inner: str) -> str:
    return f"<{name}>{inner}</{name}>"


def _xml(name: str, value: Any, shape: Shape) -> str:
    name = shape.wire_name or name
    if shape.kind == "structure":
        inner = "".join(_xml(part, item, member) for part, member, item in _members(value, shape))
        return _element(name, inner)
    if shape.kind == "list":
        return _xml_list(name, value, shape)
    if shape.kind == "map":
        return _xml_map(name, value, shape)
    return _element(name, _escaped(_xml_text(value, shape)))


def _xml_list(name: str, value: list[Any], shape: Shape) -> str:
    assert shape.element is not None
    element = shape.element
    if shape.is_flat:
        return "".join(_xml(name, item, element) for item in value)
    inner = "".join(_xml(element.wire_name or "member", item, element) for item in value)
    return _element(name, inner)


def _xml_map(name: str, value: Mapping[str, Any], shape: Shape) -> str:
    assert shape.key is not None
    assert shape.value is not None
    entries = []
    for key, item in value.items():
        pair = _xml(shape.key.wire_name or "key", key, shape.key)
        pair += _xml(shape.value.wire_name or "value", item, shape.value)
        entries.append(_element(name if shape.is_flat else "entry", pair))
    return "".join(entries) if shape.is_flat else _element(name, "".join(entries))


def _xml_text(value: Any, shape: Shape) -> str:
    if shape.kind == "boolean":
        return "true" if value else "false"
    if shape.kind == "timestamp":
        return _iso(value)
    if shape.kind == "blob":
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, float) and not math.isfinite(value):
        return _not_a_number(value)
    return str(value)


def _iso(time: datetime) -> str:
    text = time.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")
    return f"{text.removesuffix('.000')}Z"


def _escaped(text: str) -> str:
    """Return text for XML 1.0, which has no way to write most control characters."""
    return html.escape(_UNWRITABLE.sub("?", text)).replace("\r", "&#13;")
