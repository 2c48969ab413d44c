"""S3's operations, from botocore's model: how each is asked for, and how it is answered."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.loaders import Loader
from botocore.model import ServiceModel


@dataclass(frozen=True, slots=True)
class Member:
    """One member of an operation's input or output.

    Attributes:
        name: In the model.
        place: ``header``, ``headers`` (a prefix), ``querystring``, ``uri``, ``payload`` or
            ``body`` (an element of the answer).
        wire: Its name there.
        shape: Of the model.
    """

    name: str
    place: str
    wire: str
    shape: Any


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation.

    Attributes:
        name: In the model.
        method: HTTP's.
        level: 0 the service, 1 a bucket, 2 an object.
        literals: Query parameters that mark it, with their values.
        required: Query parameters and headers that it must have, lower-case headers.
        headers: Input members in headers, by lower-case name.
        query: Input members in the query.
        payload: The input member that is the body, unless it is a stream.
        outputs: Output members by name, in the model's order.
        status: Of a good answer.
    """

    name: str
    method: str
    level: int
    literals: Mapping[str, str]
    required: frozenset[str]
    headers: Mapping[str, Member]
    query: Mapping[str, Member]
    payload: Member | None
    outputs: Mapping[str, Member]
    status: int


@functools.cache
def operations() -> Mapping[str, Operation]:
    """Return all operations of S3 by name; loaded at the first call."""
    model = ServiceModel(Loader().load_service_model("s3", "service-2"), "s3")
    return {name: _operation(model.operation_model(name)) for name in model.operation_names}


def route(
    method: str, level: int, query: Mapping[str, str], headers: Iterable[str]
) -> Operation | None:
    """Return the operation that a request asks for: of those that fit, the most specific one.

    A sub-resource that is named is never left out: what would delete a bucket's ``acl`` must not
    delete the bucket.

    Args:
        method: HTTP's.
        level: 0 the service, 1 a bucket, 2 an object.
        query: Its parameters.
        headers: Its headers' names, lower case.
    """
    marks = _marks()
    asked = frozenset((name, text) for name, text in query.items() if name in marks)
    return _routed(method, level, asked, marks.intersection(f"{name}:" for name in headers))


@functools.lru_cache(maxsize=256)
def _routed(
    method: str, level: int, query: frozenset[tuple[str, str]], headers: frozenset[str]
) -> Operation | None:
    named = {name for name, _ in query}
    present = named | headers
    fitting = [
        operation
        for operation in operations().values()
        if (operation.method, operation.level) == (method, level)
        and operation.name not in _NEVER
        and operation.required <= present
        and operation.literals.items() <= query
        and named & _subresources() <= operation.literals.keys()
    ]
    return max(fitting, key=lambda one: (len(one.literals), len(one.required)), default=None)


@functools.cache
def _marks() -> frozenset[str]:
    """Return the names by which operations are told apart; of headers with a colon."""
    found: set[str] = set()
    for operation in operations().values():
        found |= operation.required | operation.literals.keys()
    return frozenset(found)


@functools.cache
def _subresources() -> frozenset[str]:
    """Return the parameters that name a part of a bucket or object: ``acl`` and the like."""
    return frozenset(
        name
        for operation in operations().values()
        for name, text in operation.literals.items()
        if not text
    )


_NEVER = {
    "ListDirectoryBuckets", "WriteGetObjectResponse", "CreateSession",
    # Older names of operations that look the same.
    "GetBucketLifecycle", "GetBucketNotification", "PutBucketLifecycle", "PutBucketNotification",
}  # fmt: skip
"""Of other end points or older, and not to be told from ours by what a request has."""


def _operation(operation: Any) -> Operation:
    path, _, literal = operation.http["requestUri"].partition("?")
    level = 2 if "{Key+}" in path else int("{Bucket}" in path)
    inputs = _members(operation.input_shape, "body")
    needed = set(operation.input_shape.required_members if operation.input_shape else ())
    required = {_mark(one) for one in inputs if one.name in needed and one.place in _ASKED}
    pairs = (pair.partition("=") for pair in literal.split("&") if pair)
    return Operation(
        operation.name,
        operation.http["method"],
        level,
        {key: value for key, _, value in pairs},
        frozenset(required),
        {one.wire.lower(): one for one in inputs if one.place in {"header", "headers"}},
        {one.wire: one for one in inputs if one.place == "querystring"},
        next((one for one in inputs if one.place == "payload"), None),
        {one.name: one for one in _members(operation.output_shape, "body")},
        int(operation.http.get("responseCode") or 200),
    )


_ASKED = {"header", "querystring"}


def _mark(member: Member) -> str:
    return f"{member.wire.lower()}:" if member.place == "header" else member.wire


def _members(shape: Any, default: str) -> list[Member]:
    if shape is None:
        return []
    payload = shape.serialization.get("payload")
    return [
        Member(
            name,
            "payload" if name == payload else member.serialization.get("location", default),
            member.serialization.get("name", name),
            member,
        )
        for name, member in shape.members.items()
    ]
