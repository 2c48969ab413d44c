"""The model's rules on an input, all broken ones in one message, in AWS's words.

botocore's own check knows required members, types and minima; the service's side has to know the
rest. One walk, bounded in what it collects, and every text is matched within a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from orchestrator.api.aws.errors import AwsError
from orchestrator.api.aws.shapes import Shape
from orchestrator.spec.redact import HIDDEN, is_secret_name

SHOWN_CHARACTERS = 256
VALIDATION = "ValidationException"
MOST_VIOLATIONS = 50
"""More broken rules than these help nobody, and a hostile body could have a million."""


def validate(value: Mapping[str, Any], shape: Shape, code: str = VALIDATION) -> None:
    """Check an input.

    Args:
        value: What ``parse`` returned.
        shape: The operation's input.
        code: What the service calls the error.

    Raises:
        AwsError: All broken rules.
    """
    found = []
    for violation in _structure(value, shape, ""):
        found.append(violation)
        if len(found) == MOST_VIOLATIONS:
            break
    if found:
        raise violated(found, code)


def violated(violations: list[str], code: str = VALIDATION) -> AwsError:
    """Return the error for some broken rules, each worded as by ``violation``."""
    many = "s" if len(violations) > 1 else ""
    text = "; ".join(violations)
    return AwsError(code, f"{len(violations)} validation error{many} detected: {text}")


def violation(path: str, value: Any, constraint: str, shape: Shape | None = None) -> str:
    """Return one broken rule in AWS's words.

    Args:
        path: Where, as AWS writes it: ``resourceConfig.instanceType``.
        value: What was given there; None = nothing.
        constraint: The rule: ``Member must not be null``.
        shape: Of the value, which may be secret.
    """
    if value is None:
        shown = "Value null"
    elif shape is not None and shape.is_sensitive:
        shown = "Value"
    else:
        shown = f"Value '{_cut(_text(value))}'"
    return f"{shown} at '{path}' failed to satisfy constraint: {constraint}"


def member_path(path: str, name: str) -> str:
    """Return the path of a member, in AWS's lower camel case."""
    lowered = name[:1].lower() + name[1:]
    return f"{path}.{lowered}" if path else lowered


def _walk(value: Any, shape: Shape, path: str) -> Iterator[str]:
    for constraint in _broken(value, shape):
        yield violation(path, value, constraint, shape)
    if shape.kind == "structure":
        yield from _structure(value, shape, path)
    elif shape.kind == "list":
        yield from _list(value, shape, path)
    elif shape.kind == "map":
        yield from _map(value, shape, path)


def _structure(value: Mapping[str, Any], shape: Shape, path: str) -> Iterator[str]:
    for name in shape.required:
        if name not in value:
            yield violation(member_path(path, name), None, "Member must not be null")
    for name, given in value.items():
        yield from _walk(given, shape.members[name], member_path(path, name))


def _list(value: list[Any], shape: Shape, path: str) -> Iterator[str]:
    element = shape.element
    assert element is not None
    for number, item in enumerate(value, 1):
        if item is None:
            yield violation(f"{path}.{number}.member", None, "Member must not be null")
        elif element.is_container:
            yield from _walk(item, element, f"{path}.{number}.member")
        elif next(_broken(item, element), None) is not None:
            rules = ", ".join(_rules(element))
            yield violation(path, value, f"Member must satisfy constraint: [{rules}]", element)
            return


def _map(value: dict[str, Any], shape: Shape, path: str) -> Iterator[str]:
    assert shape.key is not None
    assert shape.value is not None
    if any(next(_broken(key, shape.key), None) is not None for key in value):
        rules = ", ".join(_rules(shape.key))
        yield violation(path, value, f"Map keys must satisfy constraint: [{rules}]", shape.key)
    yield from _map_values(value, shape.value, path)


def _map_values(value: dict[str, Any], element: Shape, path: str) -> Iterator[str]:
    for key, item in value.items():
        if item is None:
            yield violation(f"{path}.{_cut(key)}.member", None, "Member must not be null")
        elif element.is_container:
            yield from _walk(item, element, f"{path}.{_cut(key)}.member")
        elif next(_broken(item, element), None) is not None:
            rules = ", ".join(_rules(element))
            yield violation(path, value, f"Map value must satisfy constraint: [{rules}]", element)
            return


def _broken(value: Any, shape: Shape) -> Iterator[str]:
    """Yield the rules on a value itself that it breaks."""
    if shape.is_union and len(value) != 1:
        yield "Member must have exactly one member set"
    if shape.maximum is not None or shape.minimum is not None:
        size = _size(value)
        if shape.maximum is not None and not size <= shape.maximum:
            yield _most(value, shape.maximum)
            if isinstance(value, str):
                return  # no expression is run over a text that is too long anyway
        if shape.minimum is not None and not size >= shape.minimum:
            yield _least(value, shape.minimum)
    if shape.pattern is not None and not shape.pattern.matches(value):
        yield f"Member must satisfy regular expression pattern: {shape.pattern.text}"
    if shape.enum and value not in shape.enum:
        yield f"Member must satisfy enum value set: [{', '.join(shape.enum)}]"


def _size(value: Any) -> float:
    return len(value) if isinstance(value, str | bytes | list | dict) else float(value)


def _most(value: Any, limit: float) -> str:
    kind = "value" if isinstance(value, int | float) else "length"
    return f"Member must have {kind} less than or equal to {limit}"


def _least(value: Any, limit: float) -> str:
    kind = "value" if isinstance(value, int | float) else "length"
    return f"Member must have {kind} greater than or equal to {limit}"


def _rules(shape: Shape) -> Iterator[str]:
    """Yield all rules on a scalar, as AWS lists them for members of lists and maps."""
    sample: Any = 0 if shape.kind in {"integer", "long", "float", "double"} else ""
    if shape.maximum is not None:
        yield _most(sample, shape.maximum)
    if shape.minimum is not None:
        yield _least(sample, shape.minimum)
    if shape.pattern is not None:
        yield f"Member must satisfy regular expression pattern: {shape.pattern.text}"
    if shape.enum:
        yield f"Member must satisfy enum value set: [{', '.join(shape.enum)}]"


def _text(value: Any) -> str:
    """Return a value as Java shows it; what looks secret by its name is hidden."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(_text(item) for item in value[:SHOWN_CHARACTERS])}]"
    if isinstance(value, dict):
        pairs = list(value.items())[:SHOWN_CHARACTERS]
        return f"{{{', '.join(f'{_cut(key)}={_named(key, item)}' for key, item in pairs)}}}"
    if isinstance(value, datetime):
        return value.isoformat()
    return _cut(str(value))


def _named(name: str, value: Any) -> str:
    return HIDDEN if is_secret_name(name) else _text(value)


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."
