"""Unchanged boto3 and what S3 keeps beside buckets and objects: versions, ACLs, tags, configurations."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import boto3
import httpx
import pytest
from botocore.exceptions import ClientError

from orchestrator.api.aws.s3.gateway import SERVED
from orchestrator.api.aws.s3.model import operations
from orchestrator.api.aws.s3.subresources import ABSENT, DELETED, FORGOTTEN, STATES
from tests.wire.s3.live import KEY, REGION, client
from tests.wire.s3.test_boto3 import body, code

OWNER = {"ID": "0" * 64, "DisplayName": "orchestrator"}
GRANTS = [{"Grantee": {**OWNER, "Type": "CanonicalUser"}, "Permission": "FULL_CONTROL"}]
TAGS = {"Tagging": {"TagSet": [{"Key": "a", "Value": "1"}]}}
ALL_BLOCKED = dict.fromkeys(
    ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True
)
ENCRYPTION = {
    "Rules": [
        {
            "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"},
            "BucketKeyEnabled": False,
        }
    ]
}
STATE = {
    "get_bucket_accelerate_configuration": {},
    "get_bucket_acl": {"Owner": OWNER, "Grants": GRANTS},
    "get_bucket_encryption": {"ServerSideEncryptionConfiguration": ENCRYPTION},
    "get_bucket_logging": {},
    "get_bucket_notification_configuration": {},
    "get_bucket_ownership_controls": {
        "OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    },
    "get_bucket_request_payment": {"Payer": "BucketOwner"},
    "get_bucket_versioning": {},
    "get_public_access_block": {"PublicAccessBlockConfiguration": ALL_BLOCKED},
}
CODES = {
    "get_bucket_cors": "NoSuchCORSConfiguration",
    "get_bucket_lifecycle_configuration": "NoSuchLifecycleConfiguration",
    "get_bucket_policy": "NoSuchBucketPolicy",
    "get_bucket_policy_status": "NoSuchBucketPolicy",
    "get_bucket_replication": "ReplicationConfigurationNotFoundError",
    "get_bucket_tagging": "NoSuchTagSet",
    "get_bucket_website": "NoSuchWebsiteConfiguration",
    "get_object_lock_configuration": "ObjectLockConfigurationNotFoundError",
}
DOCUMENTS: dict[str, Any] = {
    "put_bucket_acl": {"AccessControlPolicy": {"Owner": OWNER, "Grants": GRANTS}},
    "put_bucket_encryption": {
        "ServerSideEncryptionConfiguration": {
            "Rules": [
                {
                    "ApplyServerSideEncryptionByDefault": {
                        "SSEAlgorithm": "aws:kms",
                        "KMSMasterKeyID": "alias/x",
                    }
                }
            ]
        }
    },
    "put_bucket_ownership_controls": {
        "OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerPreferred"}]}
    },
    "put_bucket_tagging": TAGS,
    "put_bucket_versioning": {"VersioningConfiguration": {"Status": "Suspended"}},
    "put_public_access_block": {"PublicAccessBlockConfiguration": {"BlockPublicAcls": False}},
}
DELETES = (
    "delete_bucket_cors",
    "delete_bucket_encryption",
    "delete_bucket_lifecycle",
    "delete_bucket_ownership_controls",
    "delete_bucket_policy",
    "delete_bucket_tagging",
    "delete_bucket_website",
    "delete_public_access_block",
)
OF_OBJECTS: dict[str, Any] = {
    "get_object_acl": {},
    "get_object_attributes": {"ObjectAttributes": ["ETag"]},
    "get_object_tagging": {},
    "put_object_acl": {"ACL": "private"},
    "put_object_tagging": TAGS,
    "delete_object_tagging": {},
}


def said(answer):
    """What an answer says, less how it came."""
    return {name: value for name, value in answer.items() if name != "ResponseMetadata"}


@pytest.fixture
def resource(gateway):
    """Boto3's buckets and objects."""
    made = boto3.resource(
        "s3",
        endpoint_url=gateway.url,
        region_name=REGION,
        aws_access_key_id=KEY.id,
        aws_secret_access_key=KEY.secret,
    )
    yield made
    made.meta.client.close()


def test_every_object_is_its_only_version(s3, bucket):
    put = s3.put_object(Bucket=bucket, Key="ü &<", Body=b"12345", ChecksumAlgorithm="SHA256")
    (version,) = s3.list_object_versions(Bucket=bucket)["Versions"]
    when = s3.head_object(Bucket=bucket, Key="ü &<")["LastModified"]
    assert version.pop("LastModified").replace(microsecond=0) == when
    assert version == {
        "Key": "ü &<", "VersionId": "null", "IsLatest": True, "ETag": put["ETag"], "Size": 5,
        "StorageClass": "STANDARD", "Owner": OWNER,
        "ChecksumAlgorithm": ["SHA256"], "ChecksumType": "FULL_OBJECT",
    }  # fmt: skip
    assert code(s3.list_object_versions, Bucket="no-such-bucket") == ("NoSuchBucket", 404)


def test_versions_by_page_prefix_and_folder(s3, bucket):
    keys = [f"k{number}" for number in range(5)]
    for key in (*keys, "p/ü", "p/q/1", "p/q/2", "p/r"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    pages = list(
        s3.get_paginator("list_object_versions").paginate(
            Bucket=bucket, Prefix="k", PaginationConfig={"PageSize": 2}
        )
    )
    assert [[one["Key"] for one in page["Versions"]] for page in pages] == [
        keys[:2], keys[2:4], keys[4:],
    ]  # fmt: skip
    assert [page.get("NextKeyMarker") for page in pages] == ["k1", "k3", None]
    assert [page.get("NextVersionIdMarker") for page in pages] == ["null", "null", None]
    assert (pages[1]["KeyMarker"], pages[1]["VersionIdMarker"]) == ("k1", "null")
    seen = []
    for page in s3.get_paginator("list_object_versions").paginate(
        Bucket=bucket, Prefix="p/", Delimiter="/", PaginationConfig={"PageSize": 1}
    ):
        assert (page["Prefix"], page["Delimiter"], page["MaxKeys"]) == ("p/", "/", 1)
        seen += [one["Key"] for one in page.get("Versions", ())]
        seen += [one["Prefix"] for one in page.get("CommonPrefixes", ())]
    assert seen == ["p/q/", "p/r", "p/ü"]
    assert "Versions" not in s3.list_object_versions(Bucket=bucket, MaxKeys=0)


@pytest.mark.parametrize(
    "markers", [{"VersionIdMarker": "null"}, {"KeyMarker": "a", "VersionIdMarker": "x"}]
)
def test_markers_that_cannot_be(s3, bucket, markers):
    wanted = ("InvalidArgument", 400)
    assert code(s3.list_object_versions, Bucket=bucket, **markers) == wanted


def test_all_versions_are_deleted_by_boto3s_bucket(resource, s3, bucket):
    for number in range(12):
        s3.put_object(Bucket=bucket, Key=f"k{number}/ü &<", Body=b"")
    of_two = resource.Bucket(bucket).object_versions.filter(Prefix="k1").delete()
    assert len(of_two[0]["Deleted"]) == 3
    assert {one["VersionId"] for one in of_two[0]["Deleted"]} == {"null"}
    resource.Bucket(bucket).object_versions.page_size(4).delete()
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    resource.Bucket(bucket).delete()


def test_the_only_version_by_its_id_and_no_other_one(s3, bucket):
    for key in ("a", "b"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"1")
    assert body(s3, bucket, "a", VersionId="null") == b"1"
    other = {"Bucket": bucket, "Key": "a", "VersionId": "other"}
    assert code(s3.delete_object, **other) == ("NoSuchVersion", 404)
    assert code(s3.get_object_acl, **other) == ("NoSuchVersion", 404)
    named = [{"Key": "a", "VersionId": "other"}, {"Key": "b", "VersionId": "null"}]
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": named})
    assert answer["Deleted"] == [named[1]]
    (error,) = answer["Errors"]
    assert {**named[0], "Code": "NoSuchVersion"}.items() <= error.items()
    assert [one["Key"] for one in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["a"]
    s3.delete_object(Bucket=bucket, Key="a", VersionId="null")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


@pytest.mark.parametrize("name", STATE)
def test_what_is_always_so(s3, bucket, name):
    assert said(getattr(s3, name)(Bucket=bucket)) == STATE[name]


@pytest.mark.parametrize("name", CODES)
def test_what_is_never_there(s3, bucket, name):
    assert code(getattr(s3, name), Bucket=bucket) == (CODES[name], 404)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_is_accepted_and_forgotten(s3, bucket, name):
    answer = getattr(s3, name)(Bucket=bucket, **DOCUMENTS[name])
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    for read, wanted in STATE.items():
        assert said(getattr(s3, read)(Bucket=bucket)) == wanted
    assert code(s3.get_bucket_tagging, Bucket=bucket) == ("NoSuchTagSet", 404)


@pytest.mark.parametrize("name", DELETES)
def test_what_is_deleted_though_nothing_is_there(s3, bucket, name):
    answer = getattr(s3, name)(Bucket=bucket)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert s3.head_bucket(Bucket=bucket)


@pytest.mark.parametrize("name", [*STATE, *CODES, *DOCUMENTS, *DELETES])
def test_all_need_their_bucket(s3, name):
    arguments = DOCUMENTS.get(name, {})
    assert code(getattr(s3, name), Bucket="no-such-bucket", **arguments) == ("NoSuchBucket", 404)


@pytest.mark.parametrize("name", OF_OBJECTS)
def test_all_need_their_object(s3, bucket, name):
    call = getattr(s3, name)
    assert code(call, Bucket=bucket, Key="a", **OF_OBJECTS[name]) == ("NoSuchKey", 404)
    away = {"Bucket": "no-such-bucket", "Key": "a"}
    assert code(call, **away, **OF_OBJECTS[name]) == ("NoSuchBucket", 404)


def test_tags_and_acls_of_objects_are_accepted_and_forgotten(s3, bucket):
    s3.put_object(Bucket=bucket, Key="a", Body=b"1")
    one = {"Bucket": bucket, "Key": "a"}
    s3.put_object_tagging(**one, **TAGS)
    assert said(s3.get_object_tagging(**one)) == {"TagSet": []}
    assert s3.delete_object_tagging(**one)["ResponseMetadata"]["HTTPStatusCode"] == 204
    s3.put_object_acl(**one, ACL="bucket-owner-full-control")
    s3.put_object_acl(**one, GrantRead=f"id={OWNER['ID']}")
    s3.put_object_acl(**one, AccessControlPolicy={"Owner": OWNER, "Grants": GRANTS})
    assert said(s3.get_object_acl(**one)) == {"Owner": OWNER, "Grants": GRANTS}
    s3.put_bucket_acl(Bucket=bucket, ACL="private")
    assert body(s3, bucket, "a") == b"1"


def test_versions_are_never_kept_and_that_is_said(s3, bucket):
    put = {"Bucket": bucket}
    with pytest.raises(ClientError, match="versions of objects are not kept") as caught:
        s3.put_bucket_versioning(**put, VersioningConfiguration={"Status": "Enabled"})
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
    both = {"Status": "Suspended", "MFADelete": "Enabled"}
    call = s3.put_bucket_versioning
    assert code(call, **put, VersioningConfiguration=both) == ("NotImplemented", 501)
    nothing = ("IllegalVersioningConfigurationException", 400)
    assert code(call, **put, VersioningConfiguration={}) == nothing
    wrong = {"Status": "suspended"}
    assert code(call, **put, VersioningConfiguration=wrong) == ("MalformedXML", 400)


@pytest.mark.parametrize(
    ("query", "document", "wanted"),
    [
        ("tagging", b"", "MissingRequestBodyError"),
        ("acl", b"", "MissingRequestBodyError"),
        ("versioning", b"", "MissingRequestBodyError"),
        ("tagging", b"<Tagging><TagSet>", "MalformedXML"),
        ("tagging", b"<Tagging/>", "MalformedXML"),
        (
            "tagging",
            b"<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>",
            "MalformedXML",
        ),
        ("publicAccessBlock", b"<Other/>", "MalformedXML"),
        ("publicAccessBlock", b"{}", "MalformedXML"),
        ("encryption", b"<ServerSideEncryptionConfiguration/>", "MalformedXML"),
        (
            "ownershipControls",
            b"<OwnershipControls><Rule><ObjectOwnership>x</ObjectOwnership></Rule></OwnershipControls>",
            "MalformedXML",
        ),
    ],
)
def test_documents_that_are_not_what_they_must_be(gateway, bucket, query, document, wanted):
    answer = httpx.put(f"{gateway.url}/{bucket}?{query}", content=document)
    assert answer.status_code == 400
    assert f"<Code>{wanted}</Code>" in answer.text


def test_documents_are_verified_against_their_claims(gateway, bucket):
    document = b"<Tagging><TagSet/></Tagging>"
    digest = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    for claim in ({"content-md5": digest}, {"x-amz-checksum-crc32": "AAAAAA=="}):
        answer = httpx.put(f"{gateway.url}/{bucket}?tagging", content=document, headers=claim)
        assert answer.status_code == 400
        assert "<Code>BadDigest</Code>" in answer.text


def test_attributes_of_objects(s3, bucket):
    one = {"Bucket": bucket, "Key": "a"}
    put = s3.put_object(**one, Body=b"12345", ChecksumAlgorithm="SHA256")
    every = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]
    assert said(s3.get_object_attributes(**one, ObjectAttributes=every)) == {
        "LastModified": s3.head_object(**one)["LastModified"],
        "ETag": put["ETag"].strip('"'),
        "Checksum": {"ChecksumSHA256": put["ChecksumSHA256"], "ChecksumType": "FULL_OBJECT"},
        "StorageClass": "STANDARD",
        "ObjectSize": 5,
    }
    size = said(s3.get_object_attributes(**one, ObjectAttributes=["ObjectSize"]))
    assert size.keys() == {"LastModified", "ObjectSize"}
    wrong = {**one, "ObjectAttributes": ["Other"]}
    assert code(s3.get_object_attributes, **wrong) == ("InvalidArgument", 400)


def test_attributes_without_a_checksum_and_asked_for_in_several_headers(gateway, s3, bucket):
    httpx.put(f"{gateway.url}/{bucket}/a", content=b"12345")
    every = ["ETag", "Checksum"]
    assert "Checksum" not in s3.get_object_attributes(
        Bucket=bucket, Key="a", ObjectAttributes=every
    )
    headers = [("x-amz-object-attributes", "ObjectSize"), ("x-amz-object-attributes", "ETag")]
    answer = httpx.get(f"{gateway.url}/{bucket}/a?attributes", headers=headers)
    assert "<GetObjectAttributesResponse " in answer.text
    assert "<ObjectSize>5</ObjectSize>" in answer.text
    assert "<ETag>" in answer.text


def test_a_sub_resource_that_cannot_be_deleted_takes_nothing_with_it(gateway, s3, bucket):
    assert httpx.delete(f"{gateway.url}/{bucket}?acl").status_code == 501
    s3.put_object(Bucket=bucket, Key="a", Body=b"1")
    assert httpx.delete(f"{gateway.url}/{bucket}/a?acl").status_code == 501
    assert httpx.put(f"{gateway.url}/{bucket}/a?attributes", content=b"2").status_code == 501
    assert body(s3, bucket, "a") == b"1"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize("name", ["encryption", "publicAccessBlock", "ownershipControls"])
def test_an_address_of_version_2_opens_nothing_that_it_does_not_cover(s3, bucket, method, name):
    """Else an address for one operation could be used for another one."""
    made = {"GET": "list_objects", "PUT": "create_bucket", "DELETE": "delete_bucket"}[method]
    url = s3.generate_presigned_url(made, Params={"Bucket": bucket})
    assert "AWSAccessKeyId" in url
    answer = httpx.request(method, f"{url}&{name}")
    assert answer.status_code == 403
    assert f"signature version 2 does not cover {name}" in answer.text
    assert "SignatureDoesNotMatch" in httpx.request(method, f"{url}&acl").text


def test_an_address_of_version_4_opens_what_it_was_made_for(gateway, s3, bucket):
    s3.put_object(Bucket=bucket, Key="a", Body=b"12345")
    of_4 = client(gateway.url, signature_version="s3v4")
    url = of_4.generate_presigned_url("get_bucket_encryption", Params={"Bucket": bucket})
    assert "AES256" in httpx.get(url).text
    of_4.close()


def test_the_tables_of_these_tests_are_those_of_the_gateway():
    tested = {*STATE, *CODES, *DOCUMENTS, *DELETES, *OF_OBJECTS}
    served = {*STATES, *ABSENT, *DELETED, *FORGOTTEN}
    assert {name.lower() for name in served} <= {name.replace("_", "") for name in tested}


OTHER_FORMS = {
    # Older names of what is served or refused by its newer one.
    "GetBucketLifecycle", "GetBucketNotification", "PutBucketLifecycle", "PutBucketNotification",
    # Of other end points; without their marks they are others of ours.
    "CreateSession", "ListDirectoryBuckets", "WriteGetObjectResponse",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(operations().keys() - set(SERVED) - OTHER_FORMS))
def test_all_else_is_refused_with_what_is_served(gateway, bucket, name):
    operation = operations()[name]
    path = ("", bucket, f"{bucket}/a")[operation.level]
    headers = {mark[:-1]: "x" for mark in operation.required if mark.endswith(":")}
    marks = {mark: "x" for mark in operation.required if not mark.endswith(":")}
    answer = httpx.request(
        operation.method,
        f"{gateway.url}/{path}",
        params={**operation.literals, **marks},
        headers=headers,
    )
    assert answer.status_code == 501
    wanted = f"{name} is not implemented; served are: {', '.join(SERVED)}<"
    assert f"<Code>NotImplemented</Code><Message>{wanted}" in answer.text
