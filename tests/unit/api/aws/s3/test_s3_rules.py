"""The pure parts of the gateway: routing, addresses, ranges, checksums of parts, XML."""

import zlib
from itertools import pairwise

import pytest
from botocore.auth import HmacV1Auth
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api.aws.errors import AwsError
from orchestrator.api.aws.s3 import xml
from orchestrator.api.aws.s3.address import Address, read_address
from orchestrator.api.aws.s3.checksums import encoded, joined
from orchestrator.api.aws.s3.conditions import Span, read_range
from orchestrator.api.aws.s3.gateway import SERVED, SIGNED_BY_2
from orchestrator.api.aws.s3.model import operations, route


@pytest.mark.parametrize(
    ("method", "level", "query", "headers", "name"),
    [
        ("GET", 0, {}, [], "ListBuckets"),
        ("GET", 0, {"x-id": "ListBuckets"}, [], "ListBuckets"),
        ("PUT", 1, {}, [], "CreateBucket"),
        ("GET", 1, {}, [], "ListObjects"),
        ("GET", 1, {"list-type": "2", "prefix": "a"}, [], "ListObjectsV2"),
        ("GET", 1, {"uploads": ""}, [], "ListMultipartUploads"),
        ("GET", 1, {"versions": ""}, [], "ListObjectVersions"),
        ("POST", 1, {"delete": ""}, [], "DeleteObjects"),
        ("PUT", 2, {}, ["content-type"], "PutObject"),
        ("PUT", 2, {}, ["x-amz-copy-source"], "CopyObject"),
        ("PUT", 2, {"partNumber": "1", "uploadId": "x"}, [], "UploadPart"),
        ("PUT", 2, {"partNumber": "1", "uploadId": "x"}, ["x-amz-copy-source"], "UploadPartCopy"),
        ("POST", 2, {"uploads": ""}, [], "CreateMultipartUpload"),
        ("POST", 2, {"uploadId": "x"}, [], "CompleteMultipartUpload"),
        ("DELETE", 2, {"uploadId": "x"}, [], "AbortMultipartUpload"),
        ("GET", 2, {"uploadId": "x"}, [], "ListParts"),
        ("GET", 2, {"response-content-type": "a"}, ["range"], "GetObject"),
        ("PUT", 2, {"tagging": ""}, [], "PutObjectTagging"),
        ("GET", 2, {"acl": ""}, [], "GetObjectAcl"),
        ("GET", 1, {"lifecycle": ""}, [], "GetBucketLifecycleConfiguration"),
        ("GET", 1, {"notification": ""}, [], "GetBucketNotificationConfiguration"),
        ("PUT", 1, {"lifecycle": ""}, [], "PutBucketLifecycleConfiguration"),
        ("GET", 2, {"attributes": ""}, ["x-amz-object-attributes"], "GetObjectAttributes"),
    ],
)
def test_a_request_is_the_most_special_operation_that_fits(method, level, query, headers, name):
    found = route(method, level, query, headers)
    assert found is not None
    assert found.name == name


def test_there_is_no_operation_for_everything():
    assert route("POST", 0, {}, []) is None
    assert route("PATCH", 2, {}, []) is None


@pytest.mark.parametrize(
    ("method", "level", "query"),
    [
        ("DELETE", 1, {"acl": ""}),
        ("DELETE", 1, {"metrics": ""}),
        ("DELETE", 2, {"acl": ""}),
        ("PUT", 2, {"attributes": ""}),
        ("GET", 2, {"attributes": ""}),
        ("GET", 1, {"delete": ""}),
        ("PUT", 1, {"acl": "", "policy": ""}),
    ],
)
def test_a_sub_resource_that_is_named_is_never_left_out(method, level, query):
    assert route(method, level, query, []) is None


def test_every_served_operation_is_one_of_the_model():
    assert set(SERVED) <= set(operations())


def test_what_version_2_does_not_cover_chooses_only_what_it_never_opens():
    of_listings = {"list-type"}
    assert {*HmacV1Auth.QSAOfInterest, *of_listings} == SIGNED_BY_2
    needed = {m for name in SERVED for m in operations()[name].required if ":" not in m}
    assert needed <= SIGNED_BY_2
    unsigned = {name for name in SERVED if operations()[name].literals.keys() - SIGNED_BY_2}
    assert unsigned == {
        "GetBucketEncryption", "PutBucketEncryption", "DeleteBucketEncryption",
        "GetBucketOwnershipControls", "PutBucketOwnershipControls", "DeleteBucketOwnershipControls",
        "GetPublicAccessBlock", "PutPublicAccessBlock", "DeletePublicAccessBlock",
        "GetBucketPolicyStatus", "GetObjectAttributes",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "host", "address"),
    [
        (b"/", "localhost:8000", Address("", "")),
        (b"/b", "localhost", Address("b", "")),
        (b"/b/", "127.0.0.1:1", Address("b", "")),
        (b"/b/k/%2e%2e/x", "[::1]:9", Address("b", "k/../x")),
        (b"/b//k", "", Address("b", "/k")),
        (b"/k", "b.localhost", Address("b", "k")),
        (b"/", "my.bucket.s3.LOCALHOST:80", Address("my.bucket", "")),
        (b"/b/%F0%9F%98%80+", "x", Address("b", "\U0001f600+")),
    ],
)
def test_an_address_is_in_the_path_or_the_host(path, host, address):
    assert read_address(path, host, ("localhost",)) == address


@given(st.binary(max_size=3000), st.lists(st.integers(0, 3000), max_size=4))
def test_a_crc_of_the_whole_is_that_of_the_parts(data, cuts):
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    parts = [data[a:b] for a, b in pairwise(edges)]
    sums = [(zlib.crc32(part).to_bytes(4, "big"), len(part)) for part in parts]
    assert joined(sums, "CRC32") == encoded(zlib.crc32(data).to_bytes(4, "big"))


@given(st.integers(0, 20), st.integers(0, 25), st.integers(0, 25), st.integers(1, 20))
def test_ranges_are_slices(size, first, length, last):
    data = bytes(range(size))
    for header, wanted in (
        (f"bytes={first}-{first + length}", data[first : first + length + 1]),
        (f"bytes={first}-", data[first:]),
        (f"bytes=-{last}", data[-last:]),
    ):
        if not wanted:
            with pytest.raises(AwsError, match="InvalidRange"):
                read_range(header, size)
            continue
        span = read_range(header, size)
        assert isinstance(span, Span)
        assert data[span.start : span.end] == wanted


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"])))
def test_text_survives_xml(text):
    document = f"<a><b>{xml.escape(text)}</b></a>".encode()
    found = xml.read(document).all("b")[0].text
    assert found == text


def test_a_document_type_is_refused():
    bomb = b'<!DOCTYPE a [<!ENTITY b "bbbb">]><a>&b;</a>'
    with pytest.raises(AwsError, match="document type"):
        xml.read(bomb)
