"""Requests to the values that S3's model names, and values to answers."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

from starlette.responses import Response

from orchestrator.api.aws.errors import AwsError
from orchestrator.api.aws.s3 import xml
from orchestrator.api.aws.s3.model import Member, Operation

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
# The model does not say what the documents are called.
ROOTS = {
    "CompleteMultipartUpload": "CompleteMultipartUploadResult",
    "CreateMultipartUpload": "InitiateMultipartUploadResult",
    "DeleteObjects": "DeleteResult",
    "GetBucketAccelerateConfiguration": "AccelerateConfiguration",
    "GetBucketAcl": "AccessControlPolicy",
    "GetBucketLogging": "BucketLoggingStatus",
    "GetBucketNotificationConfiguration": "NotificationConfiguration",
    "GetBucketRequestPayment": "RequestPaymentConfiguration",
    "GetBucketVersioning": "VersioningConfiguration",
    "GetObjectAcl": "AccessControlPolicy",
    "GetObjectAttributes": "GetObjectAttributesResponse",
    "GetObjectTagging": "Tagging",
    "ListBuckets": "ListAllMyBucketsResult",
    "ListMultipartUploads": "ListMultipartUploadsResult",
    "ListObjects": "ListBucketResult",
    "ListObjectsV2": "ListBucketResult",
    "ListObjectVersions": "ListVersionsResult",
    "ListParts": "ListPartsResult",
}

Values = dict[str, Any]


def read_given(
    operation: Operation, query: Mapping[str, str], headers: Iterable[tuple[str, str]]
) -> Values:
    """Return what query and headers say, by the model's names.

    Raises:
        AwsError: InvalidArgument.
    """
    given: Values = {}
    for name, text in query.items():
        if (member := operation.query.get(name)) is not None:
            given[member.name] = _scalar(member, text)
    user = next((one for one in operation.headers.values() if one.place == "headers"), None)
    for name, text in headers:
        member = operation.headers.get(name)
        if member is not None and member.place == "header":
            given[member.name] = _scalar(member, text)
        elif user is not None and name.startswith(user.wire.lower()):
            given.setdefault(user.name, {})[name[len(user.wire) :]] = text
    return given


def read_payload(operation: Operation, document: bytes, *, strict: bool = False) -> Values:
    """Return what the body says, by the model's names; nothing for an empty one.

    Args:
        operation: Whose body it is.
        document: The body.
        strict: It must be called as the model says, and have all that the model requires.

    Raises:
        AwsError: MalformedXML.
    """
    member = operation.payload
    if member is None or not document:
        return {}
    root = xml.read(document)
    found = _structure(member.shape, root)
    if strict:
        _check(member.wire, root.name == member.wire)
        _check_structure(member.shape, found)
    return {member.name: found}


def _check_structure(shape: Any, found: Values) -> None:
    for name in shape.required_members:
        _check(name, name in found or _is_attribute(shape.members[name]))
    for name, value in found.items():
        inner = shape.members[name]
        if inner.type_name == "list":
            inner, values = inner.member, value
        else:
            values = [value]
        for one in values:
            if inner.type_name == "structure":
                _check_structure(inner, one)
            else:
                _check(name, one in inner.metadata.get("enum", (one,)))


def _check(name: str, is_right: bool) -> None:
    if not is_right:
        raise xml.malformed(f"{name} is missing or has a wrong value")


def _is_attribute(shape: Any) -> bool:
    return bool(shape.serialization.get("xmlAttribute"))


def _scalar(member: Member, text: str) -> Any:
    try:
        return _READERS.get(member.shape.type_name, str)(text)
    except (ValueError, TypeError):
        raise AwsError(
            "InvalidArgument", f"{member.wire} must be a {member.shape.type_name}, got {text!r}"
        ) from None


def _number(text: str) -> int:
    if len(text) > 18:  # SQLite has 64 bits
        raise ValueError(text)
    return int(text)


def _time(text: str) -> datetime | None:
    """Return a time; None for one that cannot be read, which HTTP ignores."""
    try:
        found = parsedate_to_datetime(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


_READERS: Mapping[str, Callable[[str], Any]] = {
    "integer": _number,
    "long": _number,
    "boolean": lambda text: text.lower() == "true",
    "timestamp": _time,
    "blob": base64.b64decode,
}


def _structure(shape: Any, element: xml.Element) -> Values:
    found: Values = {}
    for name, inner in shape.members.items():
        wire = inner.serialization.get("name", name)
        children = element.all(wire)
        if not children:
            continue
        if inner.type_name == "list":
            found[name] = [_value(inner.member, child) for child in _items(inner, children)]
        else:
            found[name] = _value(inner, children[-1])
    return found


def _items(shape: Any, children: list[xml.Element]) -> list[xml.Element]:
    if shape.serialization.get("flattened"):
        return children
    return children[-1].all(shape.member.serialization.get("name", "member"))


def _value(shape: Any, element: xml.Element) -> Any:
    if shape.type_name == "structure":
        return _structure(shape, element)
    return _scalar(Member(element.name, "payload", element.name, shape), element.text)


def answer(operation: Operation, values: Values, headers: Mapping[str, str]) -> Response:
    """Return the answer of an operation.

    Args:
        operation: Which.
        values: By the model's names; None is left out.
        headers: Further ones.
    """
    sent = {**headers, **output_headers(operation, values)}
    members = [one for one in operation.outputs.values() if one.place in {"body", "payload"}]
    has_body = operation.name in ROOTS or any(one.place == "payload" for one in members)
    if not has_body:
        return Response(status_code=operation.status, headers=sent)
    root, inside = _document(operation, members, values)
    body = f'{xml.HEAD}<{root} xmlns="{NAMESPACE}">{"".join(inside)}</{root}>'
    return Response(
        body.encode(),
        status_code=operation.status,
        headers=sent,
        media_type="application/xml",
    )


def output_headers(operation: Operation, values: Values) -> dict[str, str]:
    """Return the headers that values of the model become."""
    sent: dict[str, str] = {}
    for name, value in values.items():
        member = operation.outputs.get(name)
        if member is None or value is None:
            continue
        if member.place == "header":
            sent[member.wire] = header_text(value)
        elif member.place == "headers":
            sent |= {f"{member.wire}{key}": text for key, text in value.items()}
    return sent


def header_text(value: Any) -> str:
    """Return a value of the model as headers have it."""
    if isinstance(value, datetime):
        return format_datetime(value.astimezone(UTC).replace(microsecond=0), usegmt=True)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _document(
    operation: Operation, members: list[Member], values: Values
) -> tuple[str, Iterator[str]]:
    payload = next((one for one in members if one.place == "payload"), None)
    if payload is not None:
        return payload.wire, _inside(payload.shape, values.get(payload.name, {}))
    return ROOTS[operation.name], (
        text for one in members for text in _element(one.wire, one.shape, values.get(one.name))
    )


def _inside(shape: Any, values: Values) -> Iterator[str]:
    for name, member in shape.members.items():
        if not _is_attribute(member):
            yield from _element(member.serialization.get("name", name), member, values.get(name))


def _element(wire: str, shape: Any, value: Any) -> Iterator[str]:
    if value is None:
        return
    if shape.type_name == "list":
        yield from _list(wire, shape, value)
    elif shape.type_name == "structure":
        yield f"<{wire}{_attributes(shape, value)}>"
        yield from _inside(shape, value)
        yield f"</{wire}>"
    else:
        yield f"<{wire}>{xml.escape(_text(value))}</{wire}>"


def _attributes(shape: Any, values: Values) -> str:
    """Return the members that are attributes, and what declares their prefix."""
    found = "".join(
        f' {member.serialization["name"]}="{xml.escape(values[name])}"'
        for name, member in shape.members.items()
        if name in values and _is_attribute(member)
    )
    space = shape.serialization.get("xmlNamespace", {})
    return f' xmlns:{space["prefix"]}="{space["uri"]}"{found}' if found else ""


def _list(wire: str, shape: Any, values: Iterable[Any]) -> Iterator[str]:
    if shape.serialization.get("flattened"):
        for value in values:
            yield from _element(wire, shape.member, value)
        return
    name = shape.member.serialization.get("name", "member")
    yield f"<{wire}>"
    for value in values:
        yield from _element(name, shape.member, value)
    yield f"</{wire}>"


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{value.microsecond // 1000:03}Z"
    return str(value).lower() if isinstance(value, bool) else str(value)
