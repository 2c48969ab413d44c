"""Signatures: those that AWS publishes and botocore makes hold, and no changed request passes."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth, SigV4QueryAuth
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api.aws.caller import ChunkSigner
from orchestrator.api.aws.errors import AwsError
from orchestrator.api.aws.received import Received
from orchestrator.api.aws.refusals import Dialect, Refusal, refused
from orchestrator.api.aws.sigv4 import Verifier
from tests.unit.api.aws import vectors
from tests.unit.api.aws.signing import (
    KEY,
    KEYS,
    FixedClock,
    clock,
    signed,
    verified,
    with_header,
)

TARGET = {
    "X-Amz-Target": "SageMaker.ListTrainingJobs",
    "Content-Type": "application/x-amz-json-1.1",
}


class PublishedKey:
    """The key of AWS's documentation."""

    def __init__(self, key: tuple[str, str]) -> None:
        self._id, self._secret = key

    def lookup(self, access_key: str) -> str | None:
        return self._secret if access_key == self._id else None


def published(key: tuple[str, str], time: str) -> Verifier:
    now = datetime.strptime(time, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return Verifier(PublishedKey(key), FixedClock(now))


@pytest.mark.parametrize("name", vectors.SUITE)
def test_the_requests_of_awss_test_suite_hold(name):
    received, body = vectors.SUITE[name]
    verifier = published(vectors.SUITE_KEY, vectors.SUITE_TIME)
    claim = verifier.begin(received, Dialect.JSON)
    digest = hashlib.sha256(body).hexdigest()
    caller = verifier.finish(received, claim, Dialect.JSON, digest)
    assert (caller.service, caller.region) == ("service", "us-east-1")
    other = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(AwsError, match="InvalidSignatureException"):
        verifier.finish(received, claim, Dialect.JSON, other)


@pytest.mark.parametrize("name", [*vectors.S3, "presigned"])
def test_the_examples_of_s3s_documentation_hold(name):
    received = vectors.S3.get(name, vectors.PRESIGNED)
    verifier = published(vectors.S3_KEY, vectors.S3_TIME)
    claim = verifier.begin(received, Dialect.S3)
    caller = verifier.finish(received, claim, Dialect.S3, None)
    assert caller.payload == (received.header("x-amz-content-sha256") or "UNSIGNED-PAYLOAD")
    assert caller.chunks is None
    moved = replace(received, raw_path=received.raw_path + b"x")
    with pytest.raises(AwsError, match="SignatureDoesNotMatch"):
        verifier.finish(moved, claim, Dialect.S3, None)


def chunks_of(received: Received) -> ChunkSigner:
    verifier = published(vectors.S3_KEY, vectors.S3_TIME)
    claim = verifier.begin(received, Dialect.S3)
    chunks = verifier.finish(received, claim, Dialect.S3, None).chunks
    assert chunks is not None
    return chunks


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_the_chunks_of_s3s_documentation_hold_in_their_order_only():
    chunks = chunks_of(vectors.CHUNKED)
    (first, first_signature), (second, second_signature), (last, last_signature) = vectors.CHUNKS
    with pytest.raises(AwsError, match="SignatureDoesNotMatch"):
        chunks.verify(second_signature, sha256(second))
    chunks.verify(first_signature, sha256(first))
    with pytest.raises(AwsError, match="SignatureDoesNotMatch"):
        chunks.verify(second_signature, sha256(first))
    chunks.verify(second_signature, sha256(second))
    chunks.verify(last_signature, sha256(last))


def test_the_trailer_of_s3s_documentation_holds():
    chunks = chunks_of(vectors.TRAILED)
    for data, signature in vectors.TRAILED_CHUNKS:
        chunks.verify(signature, sha256(data))
    trailer, signature = vectors.TRAILER
    for other_signature, other in ((signature, trailer + b"x"), ("é", trailer), ("", trailer)):
        with pytest.raises(AwsError, match="SignatureDoesNotMatch"):
            chunks.verify_trailer(other_signature, other)
    chunks.verify_trailer(signature, trailer)


@given(
    key=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30),
    value=st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
)
def test_any_object_and_any_query_that_botocore_signs_holds(key, value):
    from botocore.compat import quote

    received = signed(
        S3SigV4Auth,
        "s3",
        method="PUT",
        path=f"/bucket/{quote(key, safe='/~')}",
        query=f"prefix={quote(value, safe='-_.~')}&list-type=2",
        body=b"data",
    )
    caller = verified(received, None, Dialect.S3)
    assert caller.payload == hashlib.sha256(b"data").hexdigest()


def test_sloppy_encodings_of_the_same_request_hold_and_of_another_do_not():
    received = signed(S3SigV4Auth, "s3", method="GET", path="/b/a%3Db", query="x=a%2Fb%20c")
    for path, query in ((b"/b/a=b", b"x=a/b+c"), (b"/b/a%3db", b"x=a%2fb%20c")):
        verified(replace(received, raw_path=path, raw_query=query), None, Dialect.S3)
    for path, query in ((b"/b/a%253Db", b"x=a/b+c"), (b"/b/a=b", b"x=a/b%2Bc")):
        with pytest.raises(AwsError, match="SignatureDoesNotMatch"):
            verified(replace(received, raw_path=path, raw_query=query), None, Dialect.S3)


CHANGES = {
    "method": lambda r: replace(r, method="PUT"),
    "path": lambda r: replace(r, raw_path=b"/other"),
    "query": lambda r: replace(r, raw_query=b"a=b"),
    "target": lambda r: with_header(r, "x-amz-target", "SageMaker.DeleteTrainingJob"),
    "type": lambda r: with_header(r, "content-type", "text/plain"),
    "host": lambda r: with_header(r, "host", "evil.example"),
    "no host": lambda r: with_header(r, "host", None),
    "second target": lambda r: replace(
        r, headers=(("x-amz-target", "SageMaker.DeleteTrainingJob"), *r.headers)
    ),
    "unsigned aws header": lambda r: with_header(r, "x-amz-acl", "public-read"),
    "region": lambda r: scope(r, "us-east-1", "eu-west-1"),
    "service": lambda r: scope(r, "/sagemaker/", "/logs/"),
    "key": lambda r: scope(r, KEY.id, "ORCHAAAAAAAAAAAAAAAA"),
    "signature": lambda r: scope(r, "Signature=", "Signature=" + "0" * 64),
    "zeroes": lambda r: claimed(r, "0" * 64),
    "less signed": lambda r: scope(r, ";x-amz-target", ""),
    "more signed": lambda r: scope(r, "SignedHeaders=", "SignedHeaders=accept;"),
    "algorithm": lambda r: scope(r, "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1"),
    "two scopes": lambda r: scope(
        r, "Credential=", "Credential=x/20200101/us-east-1/s3/aws4_request, Credential="
    ),
    "no date": lambda r: with_header(r, "x-amz-date", None),
    "session token": lambda r: with_header(r, "x-amz-security-token", "x"),
    "payload hash": lambda r: with_header(r, "x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
}


def scope(received: Received, old: str, new: str) -> Received:
    given = received.header("authorization")
    assert given is not None
    return with_header(received, "authorization", given.replace(old, new, 1))


def claimed(received: Received, signature: str) -> Received:
    given = received.header("authorization")
    assert given is not None
    return with_header(received, "authorization", given[:-64] + signature)


@pytest.mark.parametrize("change", CHANGES)
def test_a_request_that_was_changed_is_refused(change):
    received = signed(headers=TARGET)
    assert verified(received).access_key == KEY.id
    with pytest.raises(AwsError) as refusal:
        verified(CHANGES[change](received))
    assert refusal.value.status == 403


@given(st.binary(max_size=40).filter(lambda body: body != b"{}"))
def test_another_body_is_refused(body):
    with pytest.raises(AwsError, match="InvalidSignatureException"):
        verified(signed(headers=TARGET), body)


def test_a_body_that_does_not_have_the_hash_that_was_signed_is_refused():
    body = {"X-Amz-Content-SHA256": hashlib.sha256(b"{}").hexdigest()}
    received = signed(headers=TARGET | body)
    assert verified(received).payload == body["X-Amz-Content-SHA256"]
    with pytest.raises(AwsError, match="does not match what was computed"):
        verified(received, b"{ }")
    unsigned = signed(headers=TARGET | {"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"})
    with pytest.raises(AwsError, match="does not match what was computed"):
        verified(unsigned)


@given(st.integers(0, 63), st.sampled_from("0123456789abcdef"))
def test_no_digit_of_a_signature_may_differ(place, digit):
    received = signed(headers=TARGET)
    given = received.header("authorization")
    assert given is not None
    right = given[-64:]
    other = right[:place] + digit + right[place + 1 :]
    if other == right:
        verified(claimed(received, other))
        return
    with pytest.raises(AwsError, match="InvalidSignatureException"):
        verified(claimed(received, other))


@pytest.mark.parametrize(("minutes", "holds"), [(-6, False), (-4, True), (4, True), (6, False)])
def test_the_clocks_may_differ_by_five_minutes(minutes, holds):
    received = signed(headers=TARGET)
    at = FixedClock(clock().time + timedelta(minutes=minutes))
    if holds:
        verified(received, at=at)
        return
    with pytest.raises(AwsError, match="InvalidSignatureException: Signature not current"):
        verified(received, at=at)
    s3 = signed(S3SigV4Auth, "s3", method="GET", path="/b")
    with pytest.raises(AwsError, match="RequestTimeTooSkewed"):
        verified(s3, None, Dialect.S3, at)


def test_a_presigned_request_holds_until_it_expires_and_is_never_early():
    received = signed(S3SigV4QueryAuth, "s3", method="GET", path="/b/k", body=b"", expires=3600)
    caller = verified(received, None, Dialect.S3)
    assert caller.payload == "UNSIGNED-PAYLOAD"
    for minutes in (59, 61, -6):
        at = FixedClock(clock().time + timedelta(minutes=minutes))
        if minutes == 59:
            verified(received, None, Dialect.S3, at)
            continue
        with pytest.raises(AwsError) as refusal:
            verified(received, None, Dialect.S3, at)
        assert refusal.value.code == ("AccessDenied" if minutes > 0 else "RequestTimeTooSkewed")


@pytest.mark.parametrize("seconds", ["0", "604801", "-1", "1e3", "", "٣", "9999999"])
def test_a_presigned_request_is_good_for_a_week_at_most(seconds):
    received = signed(S3SigV4QueryAuth, "s3", method="GET", path="/b", body=b"", expires=seconds)
    with pytest.raises(AwsError, match="AuthorizationQueryParametersError"):
        verified(received, None, Dialect.S3)


@pytest.mark.parametrize(
    "change",
    [
        lambda r: replace(r, method="PUT"),
        lambda r: replace(r, raw_path=b"/b/other"),
        lambda r: replace(r, raw_query=r.raw_query + b"&versionId=1"),
        lambda r: replace(r, raw_query=r.raw_query.replace(b"Expires=3600", b"Expires=7200")),
        lambda r: replace(r, raw_query=r.raw_query + b"&X-Amz-Expires=7200"),
        lambda r: replace(r, raw_query=r.raw_query.replace(b"us-east-1", b"us-west-2")),
        lambda r: with_header(r, "x-amz-copy-source", "/other/key"),
        lambda r: with_header(r, "host", "evil.example"),
    ],
)
def test_a_presigned_request_that_was_changed_is_refused(change):
    received = signed(S3SigV4QueryAuth, "s3", method="GET", path="/b/k", body=b"", expires=3600)
    with pytest.raises(AwsError) as refusal:
        verified(change(received), None, Dialect.S3)
    assert refusal.value.status in {400, 403}


def test_a_presigned_question_to_sts_holds():
    query = "Action=GetCallerIdentity&Version=2011-06-15"
    received = signed(SigV4QueryAuth, "sts", method="GET", query=query, body=b"", expires=60)
    assert verified(received, b"", Dialect.QUERY).service == "sts"


class WithoutHost(SigV4Auth):  # type: ignore[misc]  # botocore carries no types
    """Signs all but the host."""

    def headers_to_sign(self, request):
        headers = super().headers_to_sign(request)
        del headers["host"]
        return headers


def test_the_host_must_be_signed():
    with pytest.raises(AwsError, match="'Host' and every"):
        verified(signed(WithoutHost, headers=TARGET))


def test_a_scope_of_another_day_is_no_claim():
    received = signed(headers=TARGET)
    today = (received.header("x-amz-date") or "")[:8]
    with pytest.raises(AwsError, match="IncompleteSignatureException"):
        verified(scope(received, f"/{today}/", "/20200101/"))


def test_a_parameter_that_is_given_twice_is_no_claim():
    received = signed(S3SigV4QueryAuth, "s3", method="GET", path="/b", body=b"", expires=60)
    twice = replace(received, raw_query=received.raw_query + b"&X-Amz-Expires=61")
    with pytest.raises(AwsError, match="AuthorizationHeaderMalformed"):
        verified(twice, None, Dialect.S3)


def test_a_session_token_is_none_of_ours():
    received = signed(headers=TARGET, token="temporary")
    with pytest.raises(AwsError, match="UnrecognizedClientException"):
        verified(received)


def test_s3_needs_the_hash_of_the_body():
    received = signed(SigV4Auth, "s3", method="GET", path="/b")
    with pytest.raises(AwsError, match=r"InvalidRequest: .*x-amz-content-sha256"):
        verified(received, None, Dialect.S3)


def test_a_date_header_is_a_time_too():
    received = signed(headers={"Date": "to be replaced"})
    assert received.header("x-amz-date") is None
    verified(received)


@given(st.text(max_size=80))
def test_any_authorization_is_answered(text):
    received = with_header(signed(), "authorization", f"AWS4-HMAC-SHA256 {text}")
    for dialect in Dialect:
        with pytest.raises(AwsError) as refusal:
            Verifier(KEYS, clock()).begin(received, dialect)
        assert text not in refusal.value.message or len(text) < 8


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize("refusal", Refusal)
def test_every_refusal_has_words_in_every_dialect(refusal, dialect):
    error = refused(refusal, dialect)
    assert error.message
    assert error.status in {400, 403}


def test_without_verification_every_claim_is_believed():
    verifier = Verifier(KEYS, clock(), verifies=False)
    received = claimed(scope(signed(), KEY.id, "anybody"), "0" * 64)
    claim = verifier.begin(received, Dialect.JSON)
    caller = verifier.finish(received, claim, Dialect.JSON, hashlib.sha256(b"x").hexdigest())
    assert caller.access_key == "anybody"
