"""Generated requests, valid, nearly valid and hostile: never a 5xx but 501, always S3's form."""

from __future__ import annotations

import http.client
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.api.aws.s3.model import operations
from tests.wire.s3.live import LiveGateway

QUERY = sorted({name for one in operations().values() for name in (*one.query, *one.literals)})
HEADERS = sorted(
    {
        name
        for one in operations().values()
        for name in one.headers
        if name not in {"content-length", "x-amz-meta-"}
    }
    | {"x-amz-trailer", "x-amz-decoded-content-length", "x-amz-meta-a", "range"}
)
PAYLOADS = ["UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "0" * 64, "x"]
COMPLETE = (
    b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>a</ETag></Part>"
    b"</CompleteMultipartUpload>"
)
values = st.one_of(
    st.sampled_from(
        ["", "0", "1", "-1", "2", "10001", "9" * 18, "9" * 30, "true", "url", "*", "bytes=0-1",
         "hostile/a", "/hostile/a?versionId=null", "CRC32", "AAAAAA==", "COPY", "REPLACE", "x" * 300,
         "Thu, 01 Dec 2033 16:00:00 GMT", "Thu, 99 Dec 99999 16:00:00 GMT", "null", "/", "a/"]
    ),
    st.text(max_size=8),
)  # fmt: skip
header_values = values.filter(lambda text: text.isprintable() and text.isascii())
bodies = st.one_of(
    st.sampled_from(
        [b"", b"x", b"<Delete><Object><Key>a</Key></Object></Delete>", b"<a/>", b"<a>" * 2000,
         b"<CompleteMultipartUpload><Part><PartNumber>x</PartNumber></Part></CompleteMultipartUpload>",
         COMPLETE, b"1\r\nx\r\n0\r\n\r\n", b"0\r\n" + b"a:b\r\n" * 50]
    ),
    st.binary(max_size=50),
)  # fmt: skip


@pytest.fixture(scope="module")
def connection(gateway: LiveGateway) -> Any:
    gateway.store.create_bucket("hostile")
    made = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
    yield made
    made.close()


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    method=st.sampled_from(["GET", "HEAD", "PUT", "POST", "DELETE"]),
    path=st.one_of(
        st.sampled_from(["/", "/hostile", "/hostile/", "/hostile/a", "/nothing/a", "/Bad_Name"]),
        st.text(max_size=10).map(lambda text: f"/hostile/{quote(text, safe='')}"),
        st.binary(max_size=6).map(lambda data: f"/{quote(data)}"),
    ),
    query=st.dictionaries(st.sampled_from(QUERY), values, max_size=4),
    headers=st.dictionaries(st.sampled_from(HEADERS), header_values, max_size=4),
    payload=st.sampled_from(PAYLOADS),
    body=bodies,
)
def test_any_request_is_answered_in_s3s_form(
    connection, method, path, query, headers, payload, body
):
    target = path + (f"?{urlencode(query, errors='replace')}" if query else "")
    sent = {**headers, "x-amz-content-sha256": payload, "host": "127.0.0.1"}
    try:
        connection.request(method, target, body=body, headers=sent)
        answer = connection.getresponse()
        text = answer.read()
    finally:
        connection.close()
    assert answer.status < 500 or answer.status == 501, text
    assert answer.headers["x-amz-request-id"]
    if answer.status >= 400 and method != "HEAD":
        assert b"<Error><Code>" in text
