"""What an operation takes and gives, as frozen values made of botocore's model.

botocore resolves names and traits; the values here are what parsing, checking and writing walk over,
some ten times faster than botocore's own, and all that stays in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from orchestrator.api.aws.patterns import Pattern, pattern

Kind = Literal[
    "structure", "list", "map", "string", "integer", "long", "float", "double", "boolean", "blob",
    "timestamp",
]  # fmt: skip


@dataclass(slots=True)
class Shape:
    """One type of the model, with the traits of the member it stands for.

    Frozen once made; only shapes that contain themselves need a second step.

    Attributes:
        name: In the model.
        kind: What Python value it has: dict, list, dict, str, int, float, bool, bytes, datetime.
        members: Of a structure, by name.
        required: Names of members that must be given.
        element: Of a list.
        key: Of a map.
        value: Of a map.
        minimum: Of the length or the number.
        maximum: The same.
        pattern: Of the whole text.
        enum: All legal texts; empty = any.
        is_sensitive: Never repeated in a message.
        is_union: A structure of which exactly one member is given.
        wire_name: Name on the wire where it differs.
        is_flat: In query and XML: without an element around the list.
        timestamp_format: How times are written, where it is not the protocol's own way.
        wrapper: Element around the result, in XML.
    """

    name: str
    kind: Kind
    members: Mapping[str, Shape] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    element: Shape | None = None
    key: Shape | None = None
    value: Shape | None = None
    minimum: float | None = None
    maximum: float | None = None
    pattern: Pattern | None = None
    enum: tuple[str, ...] = ()
    is_sensitive: bool = False
    is_union: bool = False
    wire_name: str | None = None
    is_flat: bool = False
    timestamp_format: str | None = None
    wrapper: str | None = None

    @property
    def is_container(self) -> bool:
        """Whether it has parts."""
        return self.kind in {"structure", "list", "map"}


class Shapes:
    """Makes shapes of botocore's; the same one for the same name and traits."""

    def __init__(self) -> None:
        self._made: dict[tuple[Any, ...], Shape] = {}

    def of(self, model: Any) -> Shape:
        """Return the shape of a ``botocore.model.Shape``."""
        key = (model.name, *sorted((k, str(v)) for k, v in model.serialization.items()))
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = _scalar_part(model)
            self._add_parts(made, model)
        return made

    def _add_parts(self, made: Shape, model: Any) -> None:
        if made.kind == "structure":
            members = {name: self.of(member) for name, member in model.members.items()}
            made.members = MappingProxyType(members)
        elif made.kind == "list":
            made.element = self.of(model.member)
        elif made.kind == "map":
            made.key, made.value = self.of(model.key), self.of(model.value)


def _scalar_part(model: Any) -> Shape:
    traits, wire = model.metadata, model.serialization
    text = traits.get("pattern")
    return Shape(
        name=model.name,
        kind=model.type_name if model.type_name != "character" else "string",
        required=tuple(traits.get("required", ())),
        minimum=traits.get("min"),
        maximum=traits.get("max"),
        pattern=pattern(text) if text else None,
        enum=tuple(traits.get("enum", ())),
        is_sensitive=bool(traits.get("sensitive")),
        is_union=bool(traits.get("union")),
        wire_name=wire.get("name"),
        is_flat=bool(wire.get("flattened")),
        timestamp_format=wire.get("timestampFormat"),
        wrapper=wire.get("resultWrapper"),
    )
