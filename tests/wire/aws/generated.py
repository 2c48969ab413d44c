"""Sends generated requests, signed, and says whether what came back is what AWS could have sent."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import httpx
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from orchestrator.api.aws.keys import AccessKey
from orchestrator.api.aws.model import Model, Operation
from orchestrator.testing.aws_requests import Generated

FORM = "application/x-www-form-urlencoded; charset=utf-8"


class GeneratedClient:
    """Signs and sends; one connection for many requests.

    Args:
        url: Of the service.
        key: What signs.
    """

    def __init__(self, url: str, key: AccessKey) -> None:
        self._url = url
        self._credentials = Credentials(key.id, key.secret)
        self._client = httpx.Client(trust_env=False, timeout=60)

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def send(self, model: Model, operation: Operation, request: Generated) -> httpx.Response:
        """Return the answer to one request."""
        method, path, headers, body = _wire(model, operation, request)
        signed = AWSRequest(method, f"{self._url}{path}", headers, body)
        SigV4Auth(self._credentials, model.signing_name, "us-east-1").add_auth(signed)
        return self._client.request(
            method, signed.url, headers=dict(signed.headers.items()), content=body
        )


def check(model: Model, request: Generated, answer: httpx.Response) -> None:
    """Say what is wrong with an answer.

    Raises:
        AssertionError: It is none that AWS could have sent.
    """
    assert answer.status_code in {200, 400}, f"{answer.status_code} {answer.text} to {request}"
    assert answer.headers["x-amzn-requestid"]
    if answer.status_code == 200:
        return
    if model.protocol == "query":
        root = ET.fromstring(answer.content)
        code = root.findtext("{*}Error/{*}Code") or root.findtext("Error/Code")
        text = root.findtext("{*}Error/{*}Message") or root.findtext("Error/Message")
    else:
        body = json.loads(answer.content)
        code, text = body["__type"], body["message"]
    assert code, request
    assert code.isalpha(), code
    assert text, request


def _wire(
    model: Model, operation: Operation, request: Generated
) -> tuple[str, str, dict[str, str], bytes]:
    if model.protocol == "query":
        return "POST", "/", {"Content-Type": FORM}, _form(model, operation, request)
    if model.protocol == "rest-json":
        return operation.method, operation.uri, {"Content-Type": "application/json"}, request.body
    headers = {
        "X-Amz-Target": f"{model.target_prefix}.{operation.name}",
        "Content-Type": f"application/x-amz-json-{model.json_version}",
    }
    return "POST", "/", headers, request.body


def _form(model: Model, operation: Operation, request: Generated) -> bytes:
    known = urlencode({"Action": operation.name, "Version": model.api_version}).encode()
    try:
        document = json.loads(request.body)
    except (ValueError, RecursionError):
        return known + b"&" + request.body
    pairs = [(name, value.encode("utf-8", "replace")) for name, value in _flat(document, "")]
    return known + b"&" + urlencode(pairs, errors="replace").encode()


def _flat(value: Any, prefix: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, item in value.items():
            safe = name.encode("utf-8", "replace").decode()
            yield from _flat(item, f"{prefix}.{safe}" if prefix else safe)
    elif value == []:
        yield prefix, ""
    elif isinstance(value, list):
        for number, item in enumerate(value, 1):
            yield from _flat(item, f"{prefix}.member.{number}")
    elif value is not None:
        yield prefix, str(value).lower() if isinstance(value, bool) else str(value)
