"""Generated requests for any operation of AWS's that is served: valid, almost valid, and hostile.

They come from botocore's model, so that a new member is tried as soon as botocore has it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from hypothesis import strategies as st

from orchestrator.api.aws.model import Operation
from orchestrator.api.aws.serialize import json_document
from orchestrator.api.aws.shapes import Shape
from orchestrator.testing.aws_texts import bounds, other_texts, texts

MOST_ITEMS = 3
MOST_DEPTH = 7
_RANGES = {"integer": 1 << 31, "long": 1 << 63}


@dataclass(frozen=True)
class Generated:
    """One request body of the JSON protocols.

    Attributes:
        kind: What it promises: ``valid`` keeps all rules of the model; the others may break any.
        body: What is sent.
    """

    kind: Literal["valid", "near", "hostile"]
    body: bytes


def requests(operation: Operation) -> st.SearchStrategy[Generated]:
    """Return requests of all kinds for an operation."""
    return st.one_of(
        valid_requests(operation), near_requests(operation), hostile_requests(operation)
    )


def valid_requests(operation: Operation) -> st.SearchStrategy[Generated]:
    """Return requests that keep all rules of the model."""
    shape = operation.input
    if shape is None:
        return st.just(Generated("valid", b"{}"))
    return values(shape).map(lambda value: Generated("valid", json_document(value, shape)))


def near_requests(operation: Operation) -> st.SearchStrategy[Generated]:
    """Return requests that are valid but for one place, somewhere in them."""

    @st.composite
    def build(draw: Callable[[st.SearchStrategy[Any]], Any]) -> Generated:
        document = json.loads(draw(valid_requests(operation)).body)
        _spoil(draw, document, operation.input)
        return Generated("near", json.dumps(document).encode())

    return build()


def hostile_requests(operation: Operation) -> st.SearchStrategy[Generated]:
    """Return bodies that are no requests at all, or that try to use up the server."""
    names = list(operation.input.members) if operation.input is not None else []
    name = st.sampled_from(names or ["Name"])
    return st.one_of(
        st.binary(max_size=200),
        st.sampled_from(_BODIES),
        name.map(lambda n: f'{{"{n}": "\\ud800"}}'.encode()),
        name.map(lambda n: f'{{"{n}": 1, "{n}": null, "{n}": []}}'.encode()),
        name.map(lambda n: (f'{{"{n}":' * 200 + "1" + "}" * 200).encode()),
        st.tuples(name, _JSON).map(lambda pair: json.dumps({pair[0]: pair[1]}).encode()),
        _JSON.map(lambda value: json.dumps(value).encode()),
    ).map(lambda body: Generated("hostile", body))


def values(shape: Shape, depth: int = 0) -> st.SearchStrategy[Any]:
    """Return legal Python values of a shape, such as a parser gives or a handler returns."""
    return _MAKERS[shape.kind](shape, depth)


def _structures(shape: Shape, depth: int) -> st.SearchStrategy[Any]:
    def member(name: str) -> st.SearchStrategy[Any]:
        return st.deferred(lambda: values(shape.members[name], depth + 1))

    if shape.is_union:
        only = st.sampled_from(sorted(shape.members))
        return only.flatmap(lambda name: st.fixed_dictionaries({name: member(name)}))
    required = {name: member(name) for name in shape.required}
    optional = {name: member(name) for name in shape.members if name not in required}
    if depth >= MOST_DEPTH:
        optional = {}
    # Few at a time: a structure of fifty members is seldom valid as a whole, and slow to make.
    return (
        st.lists(st.sampled_from(sorted(optional)), max_size=4, unique=True).flatmap(
            lambda chosen: st.fixed_dictionaries(
                required | {name: optional[name] for name in chosen}
            )
        )
        if optional
        else st.fixed_dictionaries(required)
    )


def _lists(shape: Shape, depth: int) -> st.SearchStrategy[Any]:
    assert shape.element is not None
    least, most = _items(shape, depth)
    return st.lists(values(shape.element, depth + 1), min_size=least, max_size=most)


def _maps(shape: Shape, depth: int) -> st.SearchStrategy[Any]:
    assert shape.key is not None
    assert shape.value is not None
    least, most = _items(shape, depth)
    key, value = values(shape.key, depth + 1), values(shape.value, depth + 1)
    return st.dictionaries(key, value, min_size=least, max_size=most)


def _items(shape: Shape, depth: int) -> tuple[int, int]:
    least, most = bounds(shape)
    return least, least if depth >= MOST_DEPTH else max(least, min(most, MOST_ITEMS))


def _integers(shape: Shape, _depth: int) -> st.SearchStrategy[Any]:
    limit = _RANGES[shape.kind]
    least = -limit if shape.minimum is None else max(-limit, int(shape.minimum))
    most = limit - 1 if shape.maximum is None else min(limit - 1, int(shape.maximum))
    return st.integers(least, most)


def _floats(shape: Shape, _depth: int) -> st.SearchStrategy[Any]:
    return st.floats(shape.minimum, shape.maximum, allow_nan=False, allow_infinity=False)


def _times(_shape: Shape, _depth: int) -> st.SearchStrategy[Any]:
    earliest, latest = datetime(1990, 1, 1), datetime(2100, 1, 1)  # noqa: DTZ001  # hypothesis adds the zone
    moments = st.datetimes(earliest, latest, timezones=st.just(UTC))
    return moments.map(lambda moment: moment.replace(microsecond=0))


def _blobs(shape: Shape, _depth: int) -> st.SearchStrategy[Any]:
    least, most = bounds(shape)
    return st.binary(min_size=least, max_size=most)


_MAKERS: dict[str, Callable[[Shape, int], st.SearchStrategy[Any]]] = {
    "structure": _structures,
    "list": _lists,
    "map": _maps,
    "string": lambda shape, _depth: texts(shape),
    "integer": _integers,
    "long": _integers,
    "float": _floats,
    "double": _floats,
    "boolean": lambda _shape, _depth: st.booleans(),
    "blob": _blobs,
    "timestamp": _times,
}


# -- what is wrong -------------------------------------------------------------------------------

_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
_BODIES = (
    b"",
    b"null",
    b"[]",
    b"{",
    b"1",
    b'"text"',
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"a":' * 5000,
    b"1" * 5000,
    b'{"MaxResults": 1e400}',
    b'{"MaxResults": NaN}',
    b'{"CreationTimeAfter": 1e300}',
    b'{"CreationTimeAfter": "0000-00-00"}',
    b'{"NextToken": "bm90IGEgdG9rZW4="}',
    b"{" + b'"a":1,' * 1000 + b'"a":1}',
)


def _spoil(
    draw: Callable[[st.SearchStrategy[Any]], Any], document: Any, shape: Shape | None
) -> None:
    """Change one place of a document: leave out, replace by another type, or by a rare value."""
    while shape is not None and shape.kind == "structure" and shape.members:
        name = draw(st.sampled_from(sorted(shape.members)))
        member, key = shape.members[name], shape.members[name].wire_name or name
        inner = document.get(key)
        if member.kind == "structure" and isinstance(inner, dict) and draw(st.booleans()):
            document, shape = inner, member
            continue
        if draw(st.booleans()):
            document.pop(key, None)
        else:
            document[key] = draw(_rare(member))
        return


def _rare(shape: Shape) -> st.SearchStrategy[Any]:
    if shape.kind == "string":
        return st.one_of(other_texts(shape), st.just(None), st.integers())
    if shape.kind in {"integer", "long"}:
        return st.sampled_from([-1, 0, 1 << 31, 1 << 63, 1 << 70, 1.5, "1", True, None])
    if shape.kind == "list":
        assert shape.element is not None
        return st.one_of(
            st.just([]), st.just([None]), st.lists(_rare(shape.element), min_size=1, max_size=3)
        )
    if shape.kind == "map":
        keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=600)
        return st.one_of(st.dictionaries(keys, st.text(max_size=3000), max_size=2), st.just([]))
    return _JSON
