"""AWS's names of members and ours: CreationTime is creation_time. Keys of maps are users' own words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from botocore import xform_name

if TYPE_CHECKING:
    from orchestrator.api.aws.shapes import Shape


def to_ours(value: Any, shape: Shape) -> Any:
    """Return a value of the wire with our names; members that are not given stay away."""
    if shape.kind == "structure":
        return {
            xform_name(name): to_ours(value[name], inner)
            for name, inner in shape.members.items()
            if value.get(name) is not None
        }
    if shape.element is not None:
        return [to_ours(each, shape.element) for each in value]
    return value


def to_wire(value: Any, shape: Shape) -> Any:
    """Return one of our values with AWS's names; what AWS has no word for, or is empty, stays away."""
    if shape.kind == "structure":
        named = ((name, xform_name(name), inner) for name, inner in shape.members.items())
        return {
            name: to_wire(value[ours], inner)
            for name, ours, inner in named
            if not _is_nothing(value.get(ours))
        }
    if shape.element is not None:
        return [to_wire(each, shape.element) for each in value]
    return value


def in_wire_words(text: str, shape: Shape) -> str:
    """Return a message with the names of members as AWS's messages have them (``resourceConfig``)."""
    names = _wire_names(shape)
    return _OURS.sub(lambda found: names.get(found[0], found[0]), text)


_OURS = re.compile(r"\b[a-z]+(?:_[a-z0-9]+)+\b")


def _wire_names(shape: Shape) -> dict[str, str]:
    """Return the names of all members below a shape, ours to AWS's."""
    found: dict[str, str] = {}
    for name, inner in shape.members.items():
        found[xform_name(name)] = name[:1].lower() + name[1:]
        while inner.element is not None:
            inner = inner.element
        found |= _wire_names(inner)
    return found


def _is_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, Mapping | Sequence) and len(value) == 0)
