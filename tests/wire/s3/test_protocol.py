"""What HTTP clients other than boto3 send: chunks, odd headers, broken bodies."""

from __future__ import annotations

import base64
import hashlib
import http.client
import socket
import zlib

import httpx
import pytest

STREAMING = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
DATA = bytes(range(256)) * 1000


def crc32(data: bytes) -> str:
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def chunked(data: bytes, size: int, trailer: str) -> bytes:
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return body + b"0\r\n" + trailer.encode() + b"\r\n\r\n"


@pytest.fixture
def url(gateway, bucket):
    return f"{gateway.url}/{bucket}"


def put_chunked(url, body, size, **headers):
    fixed = {
        "x-amz-content-sha256": STREAMING,
        "x-amz-decoded-content-length": str(size),
        "x-amz-trailer": "x-amz-checksum-crc32",
        "content-encoding": "gzip,aws-chunked",
    }
    return httpx.put(f"{url}/a", content=body, headers={**fixed, **headers})


@pytest.mark.parametrize("size", [1, 100, 8192, 1 << 20])
def test_unsigned_chunks_with_a_trailing_checksum(url, size):
    data = DATA[: 4000 * size]
    body = chunked(data, size, f"x-amz-checksum-crc32:{crc32(data)}")
    assert put_chunked(url, body, len(data)).status_code == 200
    with httpx.stream("GET", f"{url}/a") as answer:
        assert b"".join(answer.iter_raw()) == data
    head = httpx.head(f"{url}/a", headers={"x-amz-checksum-mode": "ENABLED"})
    assert head.headers["content-length"] == str(len(data))
    assert head.headers["content-encoding"] == "gzip"
    assert head.headers["x-amz-checksum-crc32"] == crc32(data)
    assert head.headers["etag"] == f'"{hashlib.md5(data).hexdigest()}"'


@pytest.mark.parametrize(
    ("body", "size", "code"),
    [
        (chunked(b"data", 4, f"x-amz-checksum-crc32:{crc32(b'other')}"), 4, "BadDigest"),
        (chunked(b"data", 4, f"x-amz-checksum-crc32:{crc32(b'data')}"), 5, "IncompleteBody"),
        (chunked(b"data", 4, f"x-amz-checksum-crc32:{crc32(b'data')}"), 3, "IncompleteBody"),
        (b"4\r\ndata\r\n", 4, "IncompleteBody"),
        (b"4\r\ndataX\r\n0\r\n\r\n", 4, "IncompleteBody"),
        (b"zz\r\ndata\r\n0\r\n\r\n", 4, "IncompleteBody"),
        (b"-4\r\ndata\r\n0\r\n\r\n", 4, "IncompleteBody"),
        (b"4\r\ndata\r\n0\r\n\r\n", 4, "MalformedTrailerError"),
        (b"x" * 20_000, 4, "IncompleteBody"),
        (b"", 0, "IncompleteBody"),
    ],
)
def test_broken_chunks_are_refused_and_nothing_is_written(url, body, size, code):
    answer = put_chunked(url, body, size)
    assert answer.status_code == 400
    assert f"<Code>{code}</Code>" in answer.text
    assert httpx.head(f"{url}/a").status_code == 404


def test_a_signed_payload_hash_is_verified(url):
    wrong = httpx.put(f"{url}/a", content=b"x", headers={"x-amz-content-sha256": "0" * 64})
    assert "<Code>XAmzContentSHA256Mismatch</Code>" in wrong.text
    right = hashlib.sha256(b"x").hexdigest()
    good = httpx.put(f"{url}/a", content=b"x", headers={"x-amz-content-sha256": right})
    assert good.status_code == 200


def test_a_body_without_length_is_refused(url):
    answer = httpx.put(f"{url}/a", content=iter([b"x"]))
    assert answer.status_code == 411
    assert "<Code>MissingContentLength</Code>" in answer.text


@pytest.mark.parametrize("size", ["5368709121", "99999999999999999999"])
def test_a_body_above_five_gibibytes_is_refused_before_it_is_sent(gateway, url, size):
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    connection.putrequest("PUT", f"{url.removeprefix(gateway.url)}/a")
    connection.putheader("content-length", size)
    connection.putheader("expect", "100-continue")
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status in {400, 413}
    connection.close()


def test_expect_100_continue_is_answered_before_the_body(gateway, url):
    path = url.removeprefix(gateway.url)
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as connection:
        connection.sendall(
            f"PUT {path}/a HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n"
            "expect: 100-continue\r\n\r\n".encode()
        )
        assert connection.recv(1000).startswith(b"HTTP/1.1 100")
        connection.sendall(b"hello")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    assert httpx.get(f"{url}/a").content == b"hello"


@pytest.mark.parametrize("size", [0, 1000, 3_000_000])
def test_a_client_that_hangs_up_leaves_nothing(gateway, url, size):
    path = url.removeprefix(gateway.url)
    before = set(gateway.store.shelf.incoming().parent.iterdir())
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as connection:
        connection.sendall(
            f"PUT {path}/gone HTTP/1.1\r\nhost: x\r\ncontent-length: 9000000\r\n\r\n".encode()
        )
        connection.sendall(b"x" * size)
    assert httpx.head(f"{url}/gone").status_code == 404
    wait_until(lambda: set(gateway.store.shelf.incoming().parent.iterdir()) <= before)


def wait_until(condition):
    import time

    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/a%ff", 400, "InvalidURI"),
        ("/a?partNumber=x", 400, "InvalidArgument"),
        ("?max-keys=-1", 400, "InvalidArgument"),
        ("?max-keys=99999999999999999999999", 400, "InvalidArgument"),
        ("?list-type=2&continuation-token=%C3%A9", 400, "InvalidArgument"),
        ("?list-type=2&continuation-token=@@@", 400, "InvalidArgument"),
        ("?encoding-type=base64", 400, "InvalidArgument"),
        ("/a?versionId=abc", 404, "NoSuchVersion"),
        ("?uploads&delimiter=/", 501, "NotImplemented"),
        ("/a?torrent", 501, "NotImplemented"),
    ],
)
def test_odd_requests_are_answered_in_s3s_form(url, path, status, code):
    answer = httpx.get(f"{url}{path}")
    assert (answer.status_code, f"<Code>{code}</Code>" in answer.text) == (status, True), (
        answer.text
    )
    assert answer.headers["x-amz-request-id"] in answer.text


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<",
        b"<Delete/>",
        b"<Delete><Object><Key></Key></Object></Delete>",
        b'<!DOCTYPE d [<!ENTITY a "b">]><Delete><Object><Key>&a;</Key></Object></Delete>',
        "<?xml version='1.0' encoding='utf-16'?><Delete/>".encode("utf-16"),
    ],
)
def test_documents_that_are_none_are_refused(url, document):
    answer = httpx.post(f"{url}?delete", content=document)
    assert (answer.status_code, "<Code>MalformedXML</Code>" in answer.text) == (400, True)


def test_other_methods_are_not_allowed(url):
    assert httpx.request("PATCH", f"{url}/a").status_code == 405


@pytest.mark.parametrize(
    "header", ["bytes=1-0", "bytes=a-b", "bytes=0-1,3-4", "lines=0-1", "bytes=-", "bytes=--1"]
)
def test_a_range_that_is_none_gives_the_whole(url, header):
    httpx.put(f"{url}/a", content=b"12345")
    answer = httpx.get(f"{url}/a", headers={"range": header})
    assert (answer.status_code, answer.content) == (200, b"12345")


def test_headers_asked_for_in_the_query_are_single_lines(url):
    httpx.put(f"{url}/a", content=b"x")
    evil = httpx.get(f"{url}/a?response-content-type=a/b%0d%0ax-evil:%201")
    assert evil.status_code == 400
    assert "x-evil" not in evil.headers
    named = httpx.get(f"{url}/a?response-content-disposition=inline;filename=%C3%BC%E2%98%83")
    raw = dict(named.headers.raw)[b"content-disposition"]
    assert raw.decode() == "inline;filename=ü☃"
    dated = httpx.get(f"{url}/a?response-expires=Thu,%2001%20Dec%202033%2016:00:00%20GMT")
    assert dated.headers["expires"] == "Thu, 01 Dec 2033 16:00:00 GMT"


@pytest.mark.parametrize("query", ["max-parts=-1", "max-parts=x", "part-number-marker=x"])
def test_odd_pages_of_parts_are_refused(s3, bucket, url, query):
    upload = s3.create_multipart_upload(Bucket=bucket, Key="a")["UploadId"]
    answer = httpx.get(f"{url}/a?uploadId={upload}&{query}")
    assert (answer.status_code, "<Code>InvalidArgument</Code>" in answer.text) == (400, True)
    assert httpx.get(f"{url}/a?uploadId={upload}&max-parts=0").status_code == 200
