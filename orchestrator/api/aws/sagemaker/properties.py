"""Properties of a resource by the names that Search gives them. Pure.

``TrainingJobStatus``, ``InputDataConfig.DataSource.S3DataSource.S3Uri`` (one value for each channel),
``Metrics.<name>``, ``HyperParameters.<name>``, ``Environment.<name>`` and ``Tags.<key>``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.api.aws.errors import validation_error

if TYPE_CHECKING:
    from orchestrator.api.aws.shapes import Shape

Kind = Literal["text", "number", "time", "decimal", "part"]
"""``decimal`` is a text that counts as a number where it is one; ``part`` has no value of its own."""
_KINDS: dict[str, Kind] = {
    "string": "text",
    "boolean": "text",
    "integer": "number",
    "long": "number",
    "float": "number",
    "double": "number",
    "timestamp": "time",
}
_METRICS = "Metrics"
_TAGS = "Tags"


@dataclass(frozen=True)
class Property:
    """One property of a resource.

    Attributes:
        name: As it is asked for.
        kind: How its values compare.
        values: Returns all values that a resource has for it.
    """

    name: str
    kind: Kind
    values: Callable[[Mapping[str, Any]], Iterator[Any]]


def property_named(name: str, shape: Shape) -> Property:
    """Return a property.

    Args:
        name: As it is asked for.
        shape: Of the resource.

    Raises:
        AwsError: The resource has no such property.
    """
    head, _, rest = name.partition(".")
    if head == _METRICS and rest:
        return Property(name, "number", lambda resource: _of_metric(resource, rest))
    if head == _TAGS and rest:
        return Property(name, "text", lambda resource: _of_tag(resource, rest))
    inner = shape.members.get(head) if shape.kind == "structure" else None
    if inner is not None and inner.kind == "map" and rest:
        kind: Kind = "decimal" if head == "HyperParameters" else "text"
        return Property(name, kind, lambda resource: _of_map(resource.get(head), rest))
    return Property(name, _kind_at(shape, name), lambda r: _at(r, tuple(name.split("."))))


def member(name: str) -> str:
    """Return the member of the resource that a property is in."""
    head, _, rest = name.partition(".")
    return "FinalMetricDataList" if head == _METRICS and rest else head


def list_named(name: str, shape: Shape) -> Shape:
    """Return the shape of the structures in a list.

    Raises:
        AwsError: The resource has no such list.
    """
    found = _shape_at(shape, name)
    if found is None or found.element is None or found.element.kind != "structure":
        raise validation_error(f"Unknown nested property name: {name}")
    return found.element


def parts_at(resource: Mapping[str, Any], name: str) -> Iterator[Mapping[str, Any]]:
    """Yield the structures of a list."""
    return _at(resource, tuple(name.split(".")))


def _kind_at(shape: Shape, name: str) -> Kind:
    found = _shape_at(shape, name)
    if found is None:
        raise validation_error(f"Unknown property name: {name}")
    while found.element is not None:
        found = found.element
    return _KINDS.get(found.kind, "part")


def _shape_at(shape: Shape, name: str) -> Shape | None:
    """Return the shape below one, through lists; None when there is none."""
    found: Shape | None = shape
    for part in name.split("."):
        while found is not None and found.element is not None:
            found = found.element
        if found is None or found.kind != "structure":
            return None
        found = found.members.get(part)
    return found


def _at(value: Any, path: tuple[str, ...]) -> Iterator[Any]:
    if isinstance(value, list):
        for each in value:
            yield from _at(each, path)
    elif not path:
        if value is not None:
            yield value
    elif isinstance(value, Mapping):
        yield from _at(value.get(path[0]), path[1:])


def _of_map(values: Mapping[str, str] | None, key: str) -> Iterator[str]:
    if values and key in values:
        yield values[key]


def _of_metric(resource: Mapping[str, Any], name: str) -> Iterator[float]:
    for metric in resource.get("FinalMetricDataList", ()):
        if metric["MetricName"] == name:
            yield metric["Value"]


def _of_tag(resource: Mapping[str, Any], key: str) -> Iterator[str]:
    for tag in resource.get("Tags", ()):
        if tag["Key"] == key:
            yield tag["Value"]
