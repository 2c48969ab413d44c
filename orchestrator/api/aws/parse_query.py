"""The query protocol: form parameters, as Python values of the operation's input."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

from orchestrator.api.aws.errors import AwsError, serialization_error
from orchestrator.api.aws.parse import parse_json
from orchestrator.api.aws.shapes import Shape

MOST_PARAMETERS = 10_000
MOST_PARTS = 32

Tree = dict[str, Any]
_INTEGER = re.compile(r"[-+]?[0-9]{1,32}")
_FLOAT = re.compile(r"[-+]?[0-9]{1,400}(\.[0-9]{1,400})?([eE][-+]?[0-9]{1,4})?")
_VALUE = ""
"""Key of a node's own text; no part of a name is empty."""


def read_form(text: str) -> list[tuple[str, str]]:
    """Return the parameters of a form or a query string.

    Raises:
        AwsError: There are too many, or one is not UTF-8.
    """
    try:
        return parse_qsl(
            text, keep_blank_values=True, errors="strict", max_num_fields=MOST_PARAMETERS
        )
    except ValueError as error:
        raise AwsError("MalformedQueryString", "the parameters cannot be read") from error


def parse_query(parameters: Iterable[tuple[str, str]], shape: Shape) -> dict[str, Any]:
    """Return the input of an operation.

    Raises:
        AwsError: A value has another type than the model says.
    """
    document = _document(_tree(parameters), shape, 0)
    return parse_json(document if isinstance(document, dict) else {}, shape)


def _tree(parameters: Iterable[tuple[str, str]]) -> Tree:
    root: Tree = {}
    for name, value in parameters:
        parts = name.split(".")
        if len(parts) > MOST_PARTS:
            raise serialization_error("a parameter's name has too many parts")
        node = root
        for part in parts:
            node = node.setdefault(part or " ", {})
        node[_VALUE] = value
    return root


def _document(node: Tree, shape: Shape, depth: int) -> Any:
    """Return what the same input would be in JSON."""
    if shape.kind == "structure":
        members = {
            member.wire_name or name: _member(node, name, member, depth)
            for name, member in shape.members.items()
        }
        return {name: value for name, value in members.items() if value is not None}
    if shape.kind == "list":
        return _list(node, shape, depth)
    if shape.kind == "map":
        return _map(node, shape, depth)
    return _scalar(node.get(_VALUE), shape)


def _member(node: Tree, name: str, member: Shape, depth: int) -> Any:
    # Services that kept the query protocol beside another one name members as the others do.
    child = node.get(_wire_name(name, member))
    return None if child is None else _document(child, member, depth + 1)


def _wire_name(name: str, member: Shape) -> str:
    if member.kind == "list" and member.is_flat and member.element is not None:
        return member.element.wire_name or member.wire_name or name
    return member.wire_name or name


def _list(node: Tree, shape: Shape, depth: int) -> list[Any]:
    assert shape.element is not None
    element = shape.element
    if not shape.is_flat:
        node = node.get(element.wire_name or "member", {})
    return [_document(child, element, depth + 1) for _, child in _numbered(node)]


def _map(node: Tree, shape: Shape, depth: int) -> dict[str, Any]:
    assert shape.key is not None
    assert shape.value is not None
    if not shape.is_flat:
        node = node.get("entry", {})
    key_name, value_name = shape.key.wire_name or "key", shape.value.wire_name or "value"
    found = {}
    for _, child in _numbered(node):
        key = child.get(key_name, {}).get(_VALUE)
        if key is None:
            raise serialization_error("an entry of a map has no key")
        found[key] = _document(child.get(value_name, {}), shape.value, depth + 1)
    return found


def _numbered(node: Tree) -> list[tuple[int, Tree]]:
    numbered = [
        (int(part), child)
        for part, child in node.items()
        if part.isascii() and part.isdigit() and len(part) <= 9
    ]
    return sorted(numbered, key=lambda pair: pair[0])


def _scalar(text: str | None, shape: Shape) -> Any:
    if text is None:
        return None
    if shape.kind == "boolean":
        return {"true": True, "false": False}.get(text.lower(), text)
    if shape.kind in {"integer", "long"} and _INTEGER.fullmatch(text):
        return int(text)
    if shape.kind in {"float", "double"} and _FLOAT.fullmatch(text):
        return float(text)
    if shape.kind == "timestamp" and _FLOAT.fullmatch(text):
        return float(text)
    return text
