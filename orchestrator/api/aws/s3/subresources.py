"""What S3 keeps beside buckets and objects: most of it always has the same state here."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from orchestrator.api.aws.errors import AwsError
from orchestrator.api.aws.s3.context import OWNER, Asked, checksum_members, modified
from orchestrator.api.aws.s3.wire import Values
from orchestrator.blobs.bucket_values import StoredObject

ACL: Values = {
    "Owner": OWNER,
    "Grants": [{"Grantee": {**OWNER, "Type": "CanonicalUser"}, "Permission": "FULL_CONTROL"}],
}
"""Of everything."""
STATES: Mapping[str, Values] = {
    "GetBucketAccelerateConfiguration": {},
    "GetBucketAcl": ACL,
    "GetBucketEncryption": {
        "ServerSideEncryptionConfiguration": {
            "Rules": [
                {
                    "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"},
                    "BucketKeyEnabled": False,
                }
            ]
        }
    },
    "GetBucketLogging": {},
    "GetBucketNotificationConfiguration": {},
    "GetBucketOwnershipControls": {
        "OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    },
    "GetBucketRequestPayment": {"Payer": "BucketOwner"},
    "GetBucketVersioning": {},
    "GetObjectAcl": ACL,
    "GetObjectTagging": {"TagSet": []},
    "GetPublicAccessBlock": {
        "PublicAccessBlockConfiguration": {
            "BlockPublicAcls": True,
            "IgnorePublicAcls": True,
            "BlockPublicPolicy": True,
            "RestrictPublicBuckets": True,
        }
    },
}
"""What is so here, whatever was put."""
NO_POLICY = ("NoSuchBucketPolicy", "The bucket policy does not exist")
ABSENT: Mapping[str, tuple[str, str]] = {
    "GetBucketCors": ("NoSuchCORSConfiguration", "The CORS configuration does not exist"),
    "GetBucketLifecycleConfiguration": (
        "NoSuchLifecycleConfiguration",
        "The lifecycle configuration does not exist",
    ),
    "GetBucketPolicy": NO_POLICY,
    "GetBucketPolicyStatus": NO_POLICY,
    "GetBucketReplication": (
        "ReplicationConfigurationNotFoundError",
        "The replication configuration was not found",
    ),
    "GetBucketTagging": ("NoSuchTagSet", "The TagSet does not exist"),
    "GetBucketWebsite": (
        "NoSuchWebsiteConfiguration",
        "The specified bucket does not have a website configuration",
    ),
    "GetObjectLockConfiguration": (
        "ObjectLockConfigurationNotFoundError",
        "Object Lock configuration does not exist for this bucket",
    ),
}
"""Code and text for what is never there."""
DELETED = (
    "DeleteBucketCors",
    "DeleteBucketEncryption",
    "DeleteBucketLifecycle",
    "DeleteBucketOwnershipControls",
    "DeleteBucketPolicy",
    "DeleteBucketTagging",
    "DeleteBucketWebsite",
    "DeleteObjectTagging",
    "DeletePublicAccessBlock",
)
"""There is nothing, or it stays as it is."""
FORGOTTEN = (
    "PutBucketEncryption",
    "PutBucketOwnershipControls",
    "PutBucketTagging",
    "PutObjectTagging",
    "PutPublicAccessBlock",
)
"""Verified, accepted, and without a meaning here."""
GRANTS = {"ACL", "GrantFullControl", "GrantRead", "GrantReadACP", "GrantWrite", "GrantWriteACP"}
"""Members that stand for the document of an ACL."""


def get_state(asked: Asked) -> Values:
    """Say what is always so."""
    _check_there(asked)
    return STATES[asked.operation.name]


def get_absent(asked: Asked) -> Values:
    """Say that there is none."""
    _check_there(asked)
    code, text = ABSENT[asked.operation.name]
    raise AwsError(code, text, 404)


def delete(asked: Asked) -> Values:
    """Do nothing: nothing was kept."""
    _check_there(asked)
    return {}


def forget(asked: Asked) -> Values:
    """Accept a document that has no meaning here."""
    _check_there(asked)
    _document(asked)
    return {}


def put_acl(asked: Asked) -> Values:
    """Accept an ACL, as a document or in headers; it has no meaning here."""
    _check_there(asked)
    if not GRANTS & asked.given.keys():
        _document(asked)
    return {}


def put_bucket_versioning(asked: Asked) -> Values:
    """Accept that no versions are kept, and refuse to keep them."""
    _check_there(asked)
    wanted = _document(asked)
    if "Enabled" in {wanted.get("Status"), wanted.get("MFADelete")}:
        raise AwsError(
            "NotImplemented",
            "versions of objects are not kept here: of versioning, only the status Suspended is "
            "implemented",
            501,
        )
    if "Status" not in wanted:
        raise AwsError(
            "IllegalVersioningConfigurationException", "The Versioning element must be specified"
        )
    return {}


def get_object_attributes(asked: Asked) -> Values:
    """Say of an object what is asked for, its parts left out."""
    found = asked.store.get(asked.bucket, asked.key)
    names = _attribute_names(asked)
    return {
        "LastModified": modified(found),
        **{name: value for name, value in _attributes(found).items() if name in names},
    }


def _attributes(found: StoredObject) -> Values:
    return {
        "ETag": found.etag,
        "Checksum": checksum_members(found.facts.checksums) or None,
        "StorageClass": "STANDARD",
        "ObjectSize": found.size,
    }


def _attribute_names(asked: Asked) -> set[str]:
    """Return the attributes that are asked for, in one header or in several."""
    header = "x-amz-object-attributes"
    text = ",".join(asked.request.headers.getlist(header))
    names = {name.strip() for name in text.split(",") if name.strip()}
    if not names or not names <= set(asked.operation.headers[header].shape.member.enum):
        raise AwsError("InvalidArgument", "Invalid attribute name specified.")
    return names


def _check_there(asked: Asked) -> None:
    """Check that there is what this is beside.

    Raises:
        NoSuchBucket: There is no such bucket.
        NoSuchKey: There is no such object.
    """
    if asked.key:
        asked.store.get(asked.bucket, asked.key)
    else:
        asked.store.bucket_created(asked.bucket)


def _document(asked: Asked) -> Values:
    """Return the document that a request must have.

    Raises:
        AwsError: MissingRequestBodyError.
    """
    payload = asked.operation.payload
    if payload is None or payload.name not in asked.given:
        raise AwsError("MissingRequestBodyError", "Request Body is empty")
    found: Values = asked.given[payload.name]
    return found


OPERATIONS: Mapping[str, Callable[[Asked], Values]] = {
    **dict.fromkeys(STATES, get_state),
    **dict.fromkeys(ABSENT, get_absent),
    **dict.fromkeys(DELETED, delete),
    **dict.fromkeys(FORGOTTEN, forget),
    "GetObjectAttributes": get_object_attributes,
    "PutBucketAcl": put_acl,
    "PutBucketVersioning": put_bucket_versioning,
    "PutObjectAcl": put_acl,
}
"""Operations that run in a thread; their documents are verified strictly."""
