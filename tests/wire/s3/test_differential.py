"""The same calls to moto's S3 and to ours: same status, error code, headers that matter, and body.

Where the two differ on purpose, ``DIFFERENCES`` says why.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.wire.s3.live import LiveGateway, client

MIB = 1024 * 1024
BUCKET = "same-bucket"
IGNORED = {
    "ResponseMetadata", "LastModified", "UploadId", "VersionId", "RequestCharged", "CreationDate",
    "Initiated", "Owner", "Initiator",
    # Opaque, or moto does not know them.
    "NextContinuationToken", "NextMarker", "ChecksumType", "ChecksumAlgorithm", "AccessPointAlias",
    "ChecksumCRC32", "Location", "Marker",
}  # fmt: skip
LISTED = {
    "Contents", "CommonPrefixes", "Deleted", "Buckets", "Parts", "Uploads", "Errors",
}  # fmt: skip

Call = Callable[[Any, dict[Any, Any]], Any]


def put(key: str, body: bytes = b"content", **more: Any) -> Call:
    return lambda s3, _: s3.put_object(Bucket=BUCKET, Key=key, Body=body, **more)


def get(key: str, **more: Any) -> Call:
    return lambda s3, _: s3.get_object(Bucket=BUCKET, Key=key, **more)


def head(key: str, **more: Any) -> Call:
    return lambda s3, _: s3.head_object(Bucket=BUCKET, Key=key, **more)


def listed(**more: Any) -> Call:
    return lambda s3, _: s3.list_objects_v2(Bucket=BUCKET, **more)


def older(**more: Any) -> Call:
    return lambda s3, _: s3.list_objects(Bucket=BUCKET, **more)


def only_this(answer: Any) -> Any:
    """A list of buckets without those of other tests: moto has one state in a process."""
    return {**answer, "Buckets": [each for each in answer["Buckets"] if each["Name"] == BUCKET]}


def copied(source: str, key: str, **more: Any) -> Call:
    return lambda s3, _: s3.copy_object(
        Bucket=BUCKET, Key=key, CopySource={"Bucket": BUCKET, "Key": source}, **more
    )


def begun(key: str) -> Call:
    def call(s3: Any, memory: dict[Any, Any]) -> Any:
        answer = s3.create_multipart_upload(Bucket=BUCKET, Key=key)
        memory["upload"] = {"Bucket": BUCKET, "Key": key, "UploadId": answer["UploadId"]}
        return answer

    return call


def part(number: int, body: bytes) -> Call:
    def call(s3: Any, memory: dict[Any, Any]) -> Any:
        answer = s3.upload_part(**memory["upload"], PartNumber=number, Body=body)
        memory[number] = answer["ETag"]
        return answer

    return call


def completed(*numbers: int, etag: str | None = None) -> Call:
    def call(s3: Any, memory: dict[Any, Any]) -> Any:
        parts = [{"PartNumber": n, "ETag": etag or memory.get(n, "none")} for n in numbers]
        upload = {"Parts": parts}
        return s3.complete_multipart_upload(**memory["upload"], MultipartUpload=upload)

    return call


def of_upload(name: str, **more: Any) -> Call:
    return lambda s3, memory: getattr(s3, name)(**memory["upload"], **more)


def of_bucket(name: str, **more: Any) -> Call:
    return lambda s3, _: getattr(s3, name)(Bucket=BUCKET, **more)


def of_none(name: str, **more: Any) -> Call:
    return lambda s3, _: getattr(s3, name)(Bucket="no-such-bucket", **more)


def granted(name: str, **more: Any) -> Call:
    """An ACL without its owner's names."""

    def call(s3: Any, _: dict[Any, Any]) -> Any:
        answer = getattr(s3, name)(Bucket=BUCKET, **more)
        for grant in answer["Grants"]:
            grant["Grantee"] = grant["Grantee"]["Type"]
        return answer

    return call


def versions(**more: Any) -> Call:
    """A list of versions; moto does not say how its keys are encoded."""

    def call(s3: Any, _: dict[Any, Any]) -> Any:
        answer = s3.list_object_versions(Bucket=BUCKET, **more)
        answer.pop("EncodingType", None)
        return answer

    return call


TAGGING = {"TagSet": [{"Key": "k", "Value": "v"}]}
EVERY = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]
SUBRESOURCES: dict[str, Call] = {
    "versions": versions(),
    "versions below": versions(Prefix="p/"),
    "versions by folder": versions(Delimiter="/"),
    "two versions": versions(MaxKeys=2),
    "versions after": versions(KeyMarker="new"),
    "versions after one": versions(KeyMarker="new", VersionIdMarker="null"),
    "versions after nothing": versions(VersionIdMarker="null"),
    "versions of no bucket": of_none("list_object_versions"),
    "versioning": of_bucket("get_bucket_versioning"),
    "versioning of no bucket": of_none("get_bucket_versioning"),
    "public access": of_bucket("get_public_access_block"),
    "ownership": of_bucket("get_bucket_ownership_controls"),
    "encryption": of_bucket("get_bucket_encryption"),
    "acl": granted("get_bucket_acl"),
    "acl of an object": granted("get_object_acl", Key="a"),
    "acl of nothing": of_bucket("get_object_acl", Key="nothing"),
    "tags": of_bucket("get_bucket_tagging"),
    "tags of an object": of_bucket("get_object_tagging", Key="a"),
    "tags of nothing": of_bucket("get_object_tagging", Key="nothing"),
    "policy": of_bucket("get_bucket_policy"),
    "policy of no bucket": of_none("get_bucket_policy"),
    "policy status": of_bucket("get_bucket_policy_status"),
    "lifecycle": of_bucket("get_bucket_lifecycle_configuration"),
    "cors": of_bucket("get_bucket_cors"),
    "website": of_bucket("get_bucket_website"),
    "replication": of_bucket("get_bucket_replication"),
    "object lock": of_bucket("get_object_lock_configuration"),
    "logging": of_bucket("get_bucket_logging"),
    "notification": of_bucket("get_bucket_notification_configuration"),
    "acceleration": of_bucket("get_bucket_accelerate_configuration"),
    "request payment": of_bucket("get_bucket_request_payment"),
    "attributes": of_bucket("get_object_attributes", Key="a", ObjectAttributes=EVERY),
    "attributes with a checksum": of_bucket(
        "get_object_attributes", Key="sum", ObjectAttributes=["Checksum"]
    ),
    "attributes of nothing": of_bucket(
        "get_object_attributes", Key="nothing", ObjectAttributes=EVERY
    ),
    "put versioning": of_bucket(
        "put_bucket_versioning", VersioningConfiguration={"Status": "Suspended"}
    ),
    "put public access": of_bucket(
        "put_public_access_block", PublicAccessBlockConfiguration={"BlockPublicAcls": True}
    ),
    "put ownership": of_bucket(
        "put_bucket_ownership_controls",
        OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
    ),
    "put acl": of_bucket("put_bucket_acl", ACL="private"),
    "put acl of an object": of_bucket("put_object_acl", Key="a", ACL="private"),
    "put acl of nothing": of_bucket("put_object_acl", Key="nothing", ACL="private"),
    "put tags": of_bucket("put_bucket_tagging", Tagging=TAGGING),
    "put tags of an object": of_bucket("put_object_tagging", Key="a", Tagging=TAGGING),
    "put tags of nothing": of_bucket("put_object_tagging", Key="nothing", Tagging=TAGGING),
    "put tags in no bucket": of_none("put_bucket_tagging", Tagging=TAGGING),
    "delete public access": of_bucket("delete_public_access_block"),
    "delete ownership": of_bucket("delete_bucket_ownership_controls"),
    "delete encryption": of_bucket("delete_bucket_encryption"),
    "delete tags": of_bucket("delete_bucket_tagging"),
    "delete tags of an object": of_bucket("delete_object_tagging", Key="a"),
    "delete policy": of_bucket("delete_bucket_policy"),
    "delete lifecycle": of_bucket("delete_bucket_lifecycle"),
    "delete cors": of_bucket("delete_bucket_cors"),
    "delete website": of_bucket("delete_bucket_website"),
    "delete the only version": of_bucket("delete_object", Key="c2", VersionId="null"),
    "delete two versions": of_bucket(
        "delete_objects",
        Delete={"Objects": [{"Key": "copy", "VersionId": "null"}, {"Key": "empty"}]},
    ),
}
"""Of a bucket that has objects, with nothing but what every bucket has."""

CALLS: dict[str, Call] = {
    "create": lambda s3, _: s3.create_bucket(Bucket=BUCKET),
    "create again": lambda s3, _: s3.create_bucket(Bucket=BUCKET),
    "list buckets": lambda s3, _: only_this(s3.list_buckets()),
    "head the bucket": lambda s3, _: s3.head_bucket(Bucket=BUCKET),
    "head no bucket": lambda s3, _: s3.head_bucket(Bucket="no-such-bucket"),
    "location": lambda s3, _: s3.get_bucket_location(Bucket=BUCKET),
    "delete no bucket": lambda s3, _: s3.delete_bucket(Bucket="no-such-bucket"),
    "put": put(
        "a", b"hello", ContentType="text/x", Metadata={"one": "1"}, CacheControl="no-store"
    ),
    "put in no bucket": lambda s3, _: s3.put_object(Bucket="no-such-bucket", Key="a", Body=b""),
    "put odd key": put("ü ☃/+&=?#%20"),
    "put empty": put("empty", b""),
    "put below": put("p/q"),
    "put beside": put("p"),
    "put deeper": put("p/r/s"),
    "put with dots": put("../../x"),
    "get": get("a"),
    "get odd key": get("ü ☃/+&=?#%20"),
    "get empty": get("empty"),
    "get below": get("p/q"),
    "get with dots": get("../../x"),
    "get nothing": get("nothing"),
    "get from no bucket": lambda s3, _: s3.get_object(Bucket="no-such-bucket", Key="a"),
    "get a range": get("a", Range="bytes=1-3"),
    "get the end": get("a", Range="bytes=-2"),
    "get from": get("a", Range="bytes=3-"),
    "get a long range": get("a", Range="bytes=1-100"),
    "get behind the end": get("a", Range="bytes=10-20"),
    "get if it is": get("a", IfMatch='"5d41402abc4b2a76b9719d911017c592"'),
    "get if it is another": get("a", IfMatch='"x"'),
    "get if it is not": get("a", IfNoneMatch='"x"'),
    "get if changed": get("a", IfNoneMatch='"5d41402abc4b2a76b9719d911017c592"'),
    "get with other headers": get(
        "a", ResponseContentType="x/y", ResponseCacheControl="max-age=1"
    ),
    "head": head("a"),
    "head nothing": head("nothing"),
    "put where something is": put("a", IfNoneMatch="*"),
    "put where nothing is": put("new", b"new", IfNoneMatch="*"),
    "put with a checksum": put("sum", b"sum", ChecksumAlgorithm="SHA256"),
    "get with a checksum": get("sum", ChecksumMode="ENABLED"),
    "list": listed(),
    "list with owners": listed(FetchOwner=True),
    "list below": listed(Prefix="p/"),
    "list by folder": listed(Delimiter="/"),
    "list a folder": listed(Prefix="p/", Delimiter="/"),
    "list after": listed(StartAfter="new"),
    "list two": listed(MaxKeys=2),
    "list none": listed(MaxKeys=0),
    "list by folder after": listed(Delimiter="/", StartAfter="p"),
    "list no bucket": lambda s3, _: s3.list_objects_v2(Bucket="no-such-bucket"),
    "older list": older(),
    "older list by folder": older(Delimiter="/"),
    "older list two": older(MaxKeys=2),
    "older list two folders": older(MaxKeys=2, Delimiter="/"),
    "older list after": older(Marker="new"),
    "copy": copied("a", "copy"),
    "get the copy": get("copy"),
    "copy nothing": copied("nothing", "copy"),
    "copy over itself": copied("a", "a"),
    "copy with other words": copied("a", "c2", MetadataDirective="REPLACE", Metadata={"two": "2"}),
    "head the copy with other words": head("c2"),
    "copy if it is another": copied("a", "c3", CopySourceIfMatch='"x"'),
    "forget it": lambda s3, _: s3.delete_object(Bucket=BUCKET, Key="c3"),
    **SUBRESOURCES,
    "begin": begun("big"),
    "part 2": part(2, b"2" * 5 * MIB),
    "part 1": part(1, b"1" * 5 * MIB),
    "part 3": part(3, b"end"),
    "list parts": of_upload("list_parts"),
    "list two parts": of_upload("list_parts", MaxParts=2),
    "list uploads": lambda s3, _: s3.list_multipart_uploads(Bucket=BUCKET),
    "complete": completed(1, 2, 3),
    "get the big one's end": get("big", Range="bytes=10485755-"),
    "head the big one": head("big"),
    "parts of no upload": of_upload("list_parts"),
    "begin a wrong one": begun("wrong"),
    "wrong part 1": part(1, b"1" * 5 * MIB),
    "wrong part 2": part(2, b"2"),
    "complete with another etag": completed(1, 2, etag='"0"'),
    "complete in wrong order": completed(2, 1),
    "begin one without a part": begun("wrong"),
    "part 1 of 1": part(1, b"1"),
    "complete with no such part": completed(1, 7),
    "forget the wrong one": lambda s3, _: s3.delete_object(Bucket=BUCKET, Key="wrong"),
    "begin another": begun("small"),
    "small part": part(1, b"small"),
    "last part": part(2, b"last"),
    "complete with a small part": completed(1, 2),
    "abort": of_upload("abort_multipart_upload"),
    "abort again": of_upload("abort_multipart_upload"),
    "part of no upload": of_upload("upload_part", PartNumber=1, Body=b"x"),
    "delete": lambda s3, _: s3.delete_object(Bucket=BUCKET, Key="a"),
    "delete again": lambda s3, _: s3.delete_object(Bucket=BUCKET, Key="a"),
    "delete the bucket with objects": lambda s3, _: s3.delete_bucket(Bucket=BUCKET),
    "delete many": lambda s3, _: s3.delete_objects(
        Bucket=BUCKET, Delete={"Objects": [{"Key": "p"}, {"Key": "none"}, {"Key": "p/q"}]}
    ),
    "delete many quietly": lambda s3, _: s3.delete_objects(
        Bucket=BUCKET, Delete={"Objects": [{"Key": "p/r/s"}], "Quiet": True}
    ),
    "list what is left": listed(),
    "put with a wrong md5": put("bad", ContentMD5="AAAAAAAAAAAAAAAAAAAAAA=="),
    "create with a bad name": lambda s3, _: s3.create_bucket(Bucket="Bad_Name"),
}

DIFFERENCES: dict[str, str] = {
    "older list two folders": "MaxKeys counts common prefixes, too; moto adds them to every page",
    "copy if it is another": "conditions of a copy's source hold; moto does not look at them",
    "versions after nothing": "InvalidArgument; moto does not look at a version's marker alone",
    "public access": "AWS blocks it for every new bucket; moto has no state before one is put",
    "ownership": "BucketOwnerEnforced for every new bucket; moto has no state before one is put",
    "encryption": "AES256 for every new bucket; moto has no state before one is put",
    "request payment": "the bucket's owner pays; moto answers with something else",
    "put tags": "200, as the operation is described; moto answers with 204",
    "complete in wrong order": "InvalidPartOrder; moto reports the small part first",
    "part of no upload": "NoSuchUpload; moto fails with status 500",
    "delete many quietly": "a quiet answer names errors only; moto names all",
    "put with a wrong md5": "BadDigest; moto keeps the body",
    "create with a bad name": "InvalidBucketName; moto makes the bucket",
}
"""In all of these ours is what AWS documents."""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Any, Any]]]:
    """What both answer to each call, made in order."""
    from moto.server import ThreadedMotoServer

    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    with LiveGateway(tmp_path_factory.mktemp("home")) as gateway:
        clients = [client(f"http://{host}:{port}"), client(gateway.url)]
        memories: list[dict[Any, Any]] = [{}, {}]
        found = {}
        for name, call in CALLS.items():
            theirs, ours = (
                said(call, s3, memory) for s3, memory in zip(clients, memories, strict=True)
            )
            found[name] = (theirs, ours)
        yield found
        for s3 in clients:
            s3.close()
    moto.stop()


def said(call: Call, s3: Any, memory: dict[Any, Any]) -> Any:
    """An answer, less what must differ."""
    try:
        answer = call(s3, memory)
    except ClientError as error:
        response = error.response
        return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]
    return answer["ResponseMetadata"]["HTTPStatusCode"], plain(answer)


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: plain(one)
            for key, one in value.items()
            if key not in IGNORED and not (key in LISTED and not one) and one not in ("", None)
        }
    if isinstance(value, list):
        return [plain(one) for one in value]
    if hasattr(value, "read"):
        return value.read()
    return re.sub(r"127\.0\.0\.1:\d+", "", value) if isinstance(value, str) else value


@pytest.mark.parametrize("name", CALLS)
def test_the_same_answer(answers: dict[str, tuple[Any, Any]], name: str) -> None:
    theirs, ours = answers[name]
    if name in DIFFERENCES:
        assert theirs != ours, "the two agree now; take it from the list"
    else:
        assert ours == theirs
