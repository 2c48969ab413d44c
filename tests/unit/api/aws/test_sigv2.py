"""Presigned addresses of version 2, made by botocore: they hold as made, and in no other form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from botocore.auth import HmacV1Auth, HmacV1QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api.aws.errors import AwsError
from orchestrator.api.aws.received import Received, is_signed
from orchestrator.api.aws.s3.gateway import SERVED, SIGNED_BY_2
from orchestrator.api.aws.s3.model import operations
from orchestrator.api.aws.sigv2 import with_headers_of_query
from orchestrator.api.aws.sigv4 import Verifier
from tests.unit.api.aws.signing import HOST, KEY, KEYS, FixedClock, clock, with_header

Change = Callable[[Received], Received]


def presigned(
    method: str = "GET",
    path: str = "/b/k",
    query: str = "",
    headers: dict[str, str] | None = None,
    *,
    sent: dict[str, str] | None = None,
    expires: int = 3600,
    host: str = HOST,
    auth_path: str | None = None,
) -> Received:
    """A request to an address that botocore has signed."""
    url = f"http://{HOST}{path}" + (f"?{query}" if query else "")
    request = AWSRequest(method, url, headers or {}, auth_path=auth_path)
    HmacV1QueryAuth(Credentials(KEY.id, KEY.secret), expires).add_auth(request)
    _, _, signed_query = request.url.partition("?")
    lines = [(name.lower(), value) for name, value in (sent or {}).items()]
    return Received(method, path.encode(), signed_query.encode(), (("host", host), *lines))


def scope_of(received: Received) -> dict[str, Any]:
    """What a server makes of a request."""
    return {
        "method": received.method,
        "path": "",
        "raw_path": received.raw_path,
        "query_string": received.raw_query,
        "headers": [(n.encode(), v.encode()) for n, v in received.headers],
    }


def caller_of(received: Received, at: FixedClock | None = None, *, verifies: bool = True) -> str:
    """Id of the key that signed a request."""
    whole = Received.of(with_headers_of_query(scope_of(received)))
    return Verifier(KEYS, at or clock(), verifies=verifies).of_s3(whole).access_key


@pytest.mark.parametrize(
    "received",
    [
        presigned(),
        presigned("PUT"),
        presigned("DELETE", "/b/a%20b/%C3%A9%2Bx"),
        presigned(path="/b", query="prefix=a%2Fb&list-type=2", auth_path="/b/"),
        presigned("PUT", "/b", auth_path="/b/"),
        presigned(path="/", auth_path="/"),
        presigned(path="/", query="list-type=2", host="b.localhost:8760", auth_path="/b/"),
        presigned(query="response-content-type=text%2Fx&response-content-disposition=a%20b"),
        presigned("PUT", query="partNumber=1&uploadId=a%2Bb"),
        presigned("PUT", headers={"Content-Type": "text/x", "x-amz-meta-a": "1"}),
        presigned(
            "PUT",
            headers={"Content-Type": "text/x", "x-amz-meta-a": "1"},
            sent={"Content-Type": "text/x", "x-amz-meta-a": "1"},
        ),
        presigned(path="/k", host="b.localhost:8760", auth_path="/b/k"),
    ],
    ids=str,
)
def test_what_botocore_signs_holds(received: Received) -> None:
    assert is_signed(scope_of(received))
    assert caller_of(received) == KEY.id


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_any_key_of_an_object_holds_and_only_that_one(key: str) -> None:
    received = presigned(path=f"/b/{quote(key)}")
    assert caller_of(received) == KEY.id
    with pytest.raises(AwsError, match="SignatureDoesNotMatch"):
        caller_of(replace(received, raw_path=received.raw_path + b"x"))


@pytest.mark.parametrize(
    "change",
    [
        lambda r: replace(r, method="PUT"),
        lambda r: replace(r, raw_path=b"/b/other"),
        lambda r: replace(r, raw_query=r.raw_query.replace(b"Expires=1", b"Expires=2")),
        lambda r: replace(r, raw_query=r.raw_query + b"&versionId=1"),
        lambda r: replace(r, raw_query=r.raw_query + b"&uploads"),
        lambda r: replace(r, raw_query=r.raw_query + b"&%75ploads"),
        lambda r: replace(r, raw_query=r.raw_query + b"&%75ploadId=1"),
        lambda r: replace(r, raw_query=r.raw_query + b"&%72esponse-content-type=text%2Fhtml"),
        lambda r: replace(r, raw_query=r.raw_query + b"&%78-amz-acl=private"),
        lambda r: replace(r, raw_query=r.raw_query + b"&x-amz-copy-source=%2Fother%2Fkey"),
        lambda r: replace(r, raw_query=r.raw_query + b"&X-Amz-Copy-Source=%2Fother%2Fkey"),
        lambda r: replace(r, raw_query=r.raw_query + b"&content-type=text%2Fhtml"),
        lambda r: with_header(r, "x-amz-copy-source", "/other/key"),
        lambda r: with_header(r, "x-amz-acl", "public-read"),
        lambda r: with_header(r, "content-type", "text/html"),
        lambda r: with_header(r, "host", "other.localhost"),
        lambda r: replace(r, raw_query=r.raw_query.replace(b"Signature=", b"Signature=A")),
    ],
)
def test_what_was_changed_is_refused(change: Change) -> None:
    received = presigned()
    assert caller_of(received) == KEY.id
    with pytest.raises(AwsError, match="SignatureDoesNotMatch"):
        caller_of(change(received))


def test_what_is_sent_means_what_was_signed() -> None:
    received = presigned(query="response-content-disposition=a%20b%2Bc")
    for same, other in ((b"%2B", b"+"), (b"%20", b"%2B")):
        assert same in received.raw_query
        with pytest.raises(AwsError, match="SignatureDoesNotMatch"):
            caller_of(replace(received, raw_query=received.raw_query.replace(same, other)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-amz-copy-source:other/key\nx-amz-metadata-directive", "REPLACE"),
        ("x-amz-copy-source", "other/key\nx-amz-metadata-directive:REPLACE"),
        ("x-amz-copy-source", "other/key\r\nx-amz-metadata-directive:REPLACE"),
    ],
)
def test_several_signed_lines_are_not_made_of_one(name: str, value: str) -> None:
    """Else who has an address for a copy could write what he likes."""
    headers = {"x-amz-copy-source": "other/key", "x-amz-metadata-directive": "REPLACE"}
    received = presigned("PUT", headers=headers)
    assert caller_of(received) == KEY.id
    kept = [p for p in received.raw_query.split(b"&") if not p.startswith(b"x-amz-")]
    forged = f"{quote(name)}={quote(value)}".encode()
    with pytest.raises(AwsError, match="SignatureDoesNotMatch"):
        caller_of(replace(received, raw_query=b"&".join([*kept, forged])))


def test_a_header_is_never_made_of_what_could_be_none() -> None:
    received = presigned("PUT", headers={"Content-Type": "a\r\nb"})
    with pytest.raises(AwsError, match="SignatureDoesNotMatch"):
        caller_of(received)


def test_a_session_token_is_none_of_ours() -> None:
    with pytest.raises(AwsError, match="InvalidToken"):
        caller_of(presigned(headers={"x-amz-security-token": "temporary"}))


def test_it_holds_until_its_end() -> None:
    received = presigned(expires=3600)
    now = clock().time
    caller_of(received, FixedClock(now + timedelta(minutes=59)))
    with pytest.raises(AwsError, match="Request has expired"):
        caller_of(received, FixedClock(now + timedelta(minutes=61)))


@pytest.mark.parametrize("text", ["", "soon", "-1", "1e9", "999999999999", "\u0663"])
def test_an_end_that_is_no_time_is_refused(text: str) -> None:
    query = f"AWSAccessKeyId={KEY.id}&Signature=x&Expires={quote(text)}"
    with pytest.raises(AwsError, match="seconds since 1970"):
        caller_of(replace(presigned(), raw_query=query.encode()))


def test_a_key_that_does_not_exist_is_refused() -> None:
    received = presigned()
    query = received.raw_query.replace(KEY.id.encode(), b"ORCHNOBODY")
    with pytest.raises(AwsError, match="InvalidAccessKeyId"):
        caller_of(replace(received, raw_query=query))


def test_without_verification_every_claim_is_believed() -> None:
    query = b"AWSAccessKeyId=anybody&Signature=x&Expires=0"
    assert caller_of(replace(presigned(), raw_query=query), verifies=False) == "anybody"


@pytest.mark.parametrize("name", ["AWSAccessKeyId", "Signature", "Expires"])
def test_a_part_of_a_claim_is_none(name: str) -> None:
    parts = [p for p in presigned().raw_query.split(b"&") if not p.startswith(name.encode())]
    assert not is_signed(scope_of(replace(presigned(), raw_query=b"&".join(parts))))


def test_what_a_header_claims_is_never_version_2() -> None:
    received = with_header(presigned(), "authorization", "AWS4-HMAC-SHA256 Credential=x")
    with pytest.raises(AwsError, match="AuthorizationHeaderMalformed"):
        caller_of(received)


def test_no_operation_is_chosen_by_what_is_not_signed() -> None:
    """Else an address for one could be used for another one; S3's gateway refuses what is not in SIGNED_BY_2."""
    needed = {mark for name in SERVED for mark in operations()[name].required if ":" not in mark}
    assert needed <= SIGNED_BY_2
    assert {*HmacV1Auth.QSAOfInterest, "list-type"} >= SIGNED_BY_2
