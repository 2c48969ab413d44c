"""Unchanged boto3: every check of the behaviour matrix in facts/service.md, and what else it does."""

from __future__ import annotations

import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from tests.wire.s3.live import client

MIB = 1024 * 1024
IN_PARTS = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
LARGE = os.urandom(11 * MIB + 7)


def code(call, **arguments):
    """The error code and status that a call is answered with."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def body(s3, bucket, key, **arguments):
    return s3.get_object(Bucket=bucket, Key=key, **arguments)["Body"].read()


@pytest.mark.parametrize(
    "key",
    ["a", "ü ☃ é", "a b+c&d=e?f#g%20", "<&>\"'", "../../x", "/", "a//b", "\x01\x1f", "a" * 1024],
)
def test_any_key_is_put_got_headed_listed_and_deleted(s3, bucket, key):
    s3.put_object(Bucket=bucket, Key=key, Body=b"x" * 10)
    assert body(s3, bucket, key) == b"x" * 10
    assert s3.head_object(Bucket=bucket, Key=key)["ContentLength"] == 10
    assert [one["Key"] for one in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [key]
    assert [one["Key"] for one in s3.list_objects(Bucket=bucket)["Contents"]] == [key]
    s3.delete_object(Bucket=bucket, Key=key)
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("0-0", 0, 1), ("5-9", 5, 10), ("5-", 5, None), ("-7", -7, None), ("0-99999999999", 0, None)],
)
def test_ranges_and_no_checksum_of_the_whole_beside_a_part(s3, bucket, asked, start, end):
    data = LARGE[:100_000]
    s3.put_object(Bucket=bucket, Key="a", Body=data)
    answer = s3.get_object(Bucket=bucket, Key="a", Range=f"bytes={asked}", ChecksumMode="ENABLED")
    assert answer["Body"].read() == data[start:end]
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert answer["ContentRange"].endswith("/100000")
    assert not {name for name in answer if name.startswith("Checksum")}


def test_a_range_behind_the_end_is_refused(s3, bucket):
    s3.put_object(Bucket=bucket, Key="a", Body=b"12345")
    assert code(s3.get_object, Bucket=bucket, Key="a", Range="bytes=5-") == ("InvalidRange", 416)


def test_pages_of_ten_over_25_keys(s3, bucket):
    for number in range(25):
        s3.put_object(Bucket=bucket, Key=f"k{number:02}", Body=b"")
    for name in ("list_objects_v2", "list_objects"):
        pages = s3.get_paginator(name).paginate(Bucket=bucket, PaginationConfig={"PageSize": 10})
        sizes = [len(page["Contents"]) for page in pages]
        assert sizes == [10, 10, 5]


def test_a_wrong_md5_or_checksum_is_refused_and_nothing_is_written(s3, bucket):
    wrong = "AAAAAAAAAAAAAAAAAAAAAA=="
    put = {"Bucket": bucket, "Key": "a", "Body": b"x"}
    assert code(s3.put_object, **put, ContentMD5=wrong) == ("BadDigest", 400)
    assert code(s3.put_object, **put, ContentMD5="short") == ("InvalidDigest", 400)
    assert code(s3.put_object, **put, ChecksumCRC32="AAAAAA==") == ("BadDigest", 400)
    assert code(s3.put_object, **put, ChecksumSHA256="A" * 43 + "=") == ("BadDigest", 400)
    assert code(s3.head_object, Bucket=bucket, Key="a") == ("404", 404)


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA1", "SHA256"])
def test_checksums_are_verified_kept_and_given_back_when_asked_for(s3, bucket, algorithm):
    put = s3.put_object(Bucket=bucket, Key="a", Body=b"hello", ChecksumAlgorithm=algorithm)
    name = f"Checksum{algorithm}"
    assert put[name] == s3.head_object(Bucket=bucket, Key="a", ChecksumMode="ENABLED")[name]
    assert put["ChecksumType"] == "FULL_OBJECT"
    assert body(s3, bucket, "a", ChecksumMode="ENABLED") == b"hello"
    assert name not in s3.head_object(Bucket=bucket, Key="a")


def test_if_none_match_never_overwrites(s3, bucket):
    s3.put_object(Bucket=bucket, Key="a", Body=b"1", IfNoneMatch="*")
    again = {"Bucket": bucket, "Key": "a", "Body": b"2", "IfNoneMatch": "*"}
    assert code(s3.put_object, **again) == ("PreconditionFailed", 412)
    assert body(s3, bucket, "a") == b"1"


def test_if_match_replaces_only_what_was_seen(s3, bucket):
    etag = s3.put_object(Bucket=bucket, Key="a", Body=b"1")["ETag"]
    s3.put_object(Bucket=bucket, Key="a", Body=b"2", IfMatch=etag)
    again = {"Bucket": bucket, "Key": "a", "Body": b"3", "IfMatch": etag}
    assert code(s3.put_object, **again) == ("PreconditionFailed", 412)
    assert body(s3, bucket, "a") == b"2"


def test_conditions_of_reads(s3, bucket):
    answer = s3.put_object(Bucket=bucket, Key="a", Body=b"1")
    etag = answer["ETag"]
    when = s3.head_object(Bucket=bucket, Key="a")["LastModified"]
    read = {"Bucket": bucket, "Key": "a"}
    assert code(s3.get_object, **read, IfNoneMatch=etag) == ("304", 304)
    assert code(s3.get_object, **read, IfModifiedSince=when) == ("304", 304)
    assert code(s3.get_object, **read, IfMatch='"x"') == ("PreconditionFailed", 412)
    assert code(s3.head_object, **read, IfMatch='"x"') == ("412", 412)
    assert body(s3, bucket, "a", IfMatch=etag, IfUnmodifiedSince=when) == b"1"


def test_presigned_addresses(s3, bucket):
    put = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "a b"})
    assert httpx.put(put, content=b"by address").status_code == 200
    get = s3.generate_presigned_url(
        "get_object",
        Params={
            "Bucket": bucket,
            "Key": "a b",
            "ResponseContentType": "text/x",
            "ResponseContentDisposition": "attachment",
        },
    )
    answer = httpx.get(get)
    assert answer.content == b"by address"
    assert answer.headers["content-type"] == "text/x"
    assert answer.headers["content-disposition"] == "attachment"


def test_a_key_may_be_the_folder_of_another(s3, bucket):
    for key in ("p", "p/q", "p/"):
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    for key in ("p", "p/q", "p/"):
        assert body(s3, bucket, key) == key.encode()


def test_parts_out_of_order_listed_aborted_and_completed(s3, bucket):
    begun = s3.create_multipart_upload(Bucket=bucket, Key="a")
    upload = {"Bucket": bucket, "Key": "a", "UploadId": begun["UploadId"]}
    etags = {
        number: s3.upload_part(**upload, PartNumber=number, Body=bytes([number]) * 5 * MIB)["ETag"]
        for number in (3, 1, 2)
    }
    listed = s3.list_parts(**upload, MaxParts=2)
    assert [part["PartNumber"] for part in listed["Parts"]] == [1, 2]
    assert listed["IsTruncated"]
    rest = s3.list_parts(**upload, PartNumberMarker=listed["NextPartNumberMarker"])
    assert [part["PartNumber"] for part in rest["Parts"]] == [3]
    assert [one["Key"] for one in s3.list_multipart_uploads(Bucket=bucket)["Uploads"]] == ["a"]
    parts = [{"PartNumber": number, "ETag": etags[number]} for number in (1, 2, 3)]
    complete = {**upload, "MultipartUpload": {"Parts": parts}}
    made = s3.complete_multipart_upload(**complete)
    assert body(s3, bucket, "a") == b"".join(bytes([n]) * 5 * MIB for n in (1, 2, 3))
    # A client that did not get the answer asks again.
    assert s3.complete_multipart_upload(**complete)["ETag"] == made["ETag"]
    s3.put_object(Bucket=bucket, Key="a", Body=b"")
    assert code(s3.complete_multipart_upload, **complete) == ("NoSuchUpload", 404)
    again = s3.create_multipart_upload(Bucket=bucket, Key="b")
    upload = {"Bucket": bucket, "Key": "b", "UploadId": again["UploadId"]}
    s3.abort_multipart_upload(**upload)
    assert code(s3.upload_part, **upload, PartNumber=1, Body=b"x") == ("NoSuchUpload", 404)


def test_transfers_of_large_files(s3, bucket, tmp_path):
    s3.upload_fileobj(io.BytesIO(LARGE), bucket, "big", Config=IN_PARTS)
    s3.download_file(bucket, "big", str(tmp_path / "big"), Config=IN_PARTS)
    assert (tmp_path / "big").read_bytes() == LARGE
    head = s3.head_object(Bucket=bucket, Key="big", ChecksumMode="ENABLED")
    assert head["ChecksumType"] == "COMPOSITE"
    assert body(s3, bucket, "big", ChecksumMode="ENABLED") == LARGE


def test_a_crc_of_the_whole_from_those_of_the_parts(s3, bucket):
    import base64
    import zlib

    begun = s3.create_multipart_upload(
        Bucket=bucket, Key="a", ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT"
    )
    upload = {"Bucket": bucket, "Key": "a", "UploadId": begun["UploadId"]}
    pieces = [LARGE[: 5 * MIB], LARGE[5 * MIB :]]
    parts = [
        {"PartNumber": number, "ETag": sent["ETag"], "ChecksumCRC32": sent["ChecksumCRC32"]}
        for number, piece in enumerate(pieces, 1)
        for sent in [
            s3.upload_part(**upload, PartNumber=number, Body=piece, ChecksumAlgorithm="CRC32")
        ]
    ]
    wanted = base64.b64encode(zlib.crc32(LARGE).to_bytes(4, "big")).decode()
    complete = {**upload, "MultipartUpload": {"Parts": parts}, "ChecksumType": "FULL_OBJECT"}
    wrong = {**complete, "ChecksumCRC32": "AAAAAA=="}
    assert code(s3.complete_multipart_upload, **wrong) == ("BadDigest", 400)
    made = s3.complete_multipart_upload(**complete, ChecksumCRC32=wanted)
    assert (made["ChecksumCRC32"], made["ChecksumType"]) == (wanted, "FULL_OBJECT")
    assert body(s3, bucket, "a", ChecksumMode="ENABLED") == LARGE


def test_parts_copied_from_an_object(s3, bucket):
    s3.put_object(Bucket=bucket, Key="source", Body=LARGE)
    begun = s3.create_multipart_upload(Bucket=bucket, Key="a")
    upload = {"Bucket": bucket, "Key": "a", "UploadId": begun["UploadId"]}
    source = {"Bucket": bucket, "Key": "source"}
    etags = [
        s3.upload_part_copy(**upload, PartNumber=number, CopySource=source, CopySourceRange=span)[
            "CopyPartResult"
        ]["ETag"]
        for number, span in (
            (1, f"bytes=0-{5 * MIB - 1}"),
            (2, f"bytes={5 * MIB}-{len(LARGE) - 1}"),
        )
    ]
    parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    assert body(s3, bucket, "a") == LARGE
    begun = s3.create_multipart_upload(Bucket=bucket, Key="b")
    upload = {"Bucket": bucket, "Key": "b", "UploadId": begun["UploadId"]}
    behind = {
        **upload,
        "PartNumber": 1,
        "CopySource": source,
        "CopySourceRange": "bytes=0-999999999",
    }
    assert code(s3.upload_part_copy, **behind) == ("InvalidRange", 416)


def test_copies_keep_or_replace_what_is_said_of_an_object(s3, bucket):
    s3.put_object(Bucket=bucket, Key="a", Body=LARGE, Metadata={"m": "1"}, ContentType="text/x")
    source = {"Bucket": bucket, "Key": "a"}
    s3.copy_object(Bucket=bucket, Key="b ü", CopySource=source)
    kept = s3.head_object(Bucket=bucket, Key="b ü")
    assert (kept["Metadata"], kept["ContentType"]) == ({"m": "1"}, "text/x")
    s3.copy_object(
        Bucket=bucket, Key="a", CopySource=source, Metadata={"n": "2"}, MetadataDirective="REPLACE"
    )
    assert s3.head_object(Bucket=bucket, Key="a")["Metadata"] == {"n": "2"}
    assert body(s3, bucket, "b ü") == LARGE
    itself = {"Bucket": bucket, "Key": "a", "CopySource": source}
    assert code(s3.copy_object, **itself) == ("InvalidRequest", 400)
    s3.copy({"Bucket": bucket, "Key": "b ü"}, bucket, "managed")  # with the transfer manager


def test_many_objects_are_deleted_at_once(s3, bucket):
    wanted = [f"k{number}/&<ü" for number in range(1000)]
    for key in wanted[:20]:
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    deleted = s3.delete_objects(
        Bucket=bucket, Delete={"Objects": [{"Key": key} for key in wanted]}
    )["Deleted"]
    assert [one["Key"] for one in deleted] == wanted
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    too_many = {"Objects": [{"Key": str(number)} for number in range(1001)]}
    assert code(s3.delete_objects, Bucket=bucket, Delete=too_many) == ("MalformedXML", 400)


def test_of_many_only_those_that_were_seen_are_deleted(s3, bucket):
    etags = {key: s3.put_object(Bucket=bucket, Key=key, Body=b"1")["ETag"] for key in "ab"}
    named = [
        {"Key": "a", "ETag": etags["a"]},
        {"Key": "b", "ETag": '"x"'},
        {"Key": "c", "ETag": "*"},
        {"Key": "d"},
    ]
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": named})
    assert [one["Key"] for one in answer["Deleted"]] == ["a", "d"]
    errors = {one["Key"]: one["Code"] for one in answer["Errors"]}
    assert errors == {"b": "PreconditionFailed", "c": "NoSuchKey"}
    assert [one["Key"] for one in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["b"]
    of_size = {"Objects": [{"Key": "b", "Size": 2}]}
    refused = ("NotImplemented", 501)
    assert code(s3.delete_objects, Bucket=bucket, Delete=of_size) == refused
    assert code(s3.delete_object, Bucket=bucket, Key="b", IfMatchSize=2) == refused
    assert body(s3, bucket, "b") == b"1"


def test_what_is_accepted_and_has_no_meaning_here(s3, bucket):
    s3.put_object(
        Bucket=bucket, Key="a", Body=b"", Tagging="a=b", ACL="bucket-owner-full-control",
        StorageClass="STANDARD", ServerSideEncryption="aws:kms", SSEKMSKeyId="alias/x",
        ExpectedBucketOwner="123456789012",
    )  # fmt: skip


def test_customer_keys_are_refused_not_ignored(s3, bucket):
    key = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32}
    assert code(s3.put_object, Bucket=bucket, Key="a", Body=b"", **key) == ("NotImplemented", 501)


def test_buckets_in_another_region(gateway, bucket):
    s3 = client(gateway.url, region="eu-west-1")
    name = f"{bucket}-eu"
    where = {"LocationConstraint": "eu-west-1"}
    s3.create_bucket(Bucket=name, CreateBucketConfiguration=where)
    again = {"Bucket": name, "CreateBucketConfiguration": where}
    assert code(s3.create_bucket, **again) == ("BucketAlreadyOwnedByYou", 409)
    assert s3.get_bucket_location(Bucket=name)["LocationConstraint"] == "eu-west-1"
    assert s3.head_bucket(Bucket=name)["BucketRegion"] == "eu-west-1"
    assert name in [one["Name"] for one in s3.list_buckets()["Buckets"]]
    s3.close()


def test_the_bucket_may_be_in_the_host_name(gateway, s3, bucket):
    for host in (f"{bucket}.localhost:{gateway.port}", f"{bucket}.s3.localhost"):
        headers = {"host": host}
        assert httpx.put(f"{gateway.url}/a/b", content=b"x", headers=headers).status_code == 200
        listed = httpx.get(f"{gateway.url}/?list-type=2", headers=headers)
        assert "<KeyCount>1</KeyCount>" in listed.text
    assert body(s3, bucket, "a/b") == b"x"


def test_readers_see_the_old_or_the_new_object_while_it_is_replaced(s3, bucket):
    versions = [bytes([n]) * 100_000 for n in (1, 2)]
    s3.put_object(Bucket=bucket, Key="a", Body=versions[0])
    stop = threading.Event()

    def replace():
        for number in range(40):
            s3.put_object(Bucket=bucket, Key="a", Body=versions[number % 2])
        stop.set()

    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(replace)
        while not stop.is_set():
            assert body(s3, bucket, "a") in versions
        writer.result()
