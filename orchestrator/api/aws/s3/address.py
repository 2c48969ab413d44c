"""Which bucket and key a request is about: in its path, or the bucket in its host name. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote_to_bytes

from orchestrator.api.aws.errors import AwsError

BUCKET_HOSTS = ("localhost",)
"""Names whose first labels are bucket names, unless others are given: ``bucket.localhost``."""


@dataclass(frozen=True, slots=True)
class Address:
    """What a request is about; empty names for the service itself, or a bucket."""

    bucket: str
    key: str

    @property
    def level(self) -> int:
        """0 the service, 1 a bucket, 2 an object."""
        return 2 if self.key else int(bool(self.bucket))


def read_address(raw_path: bytes, host: str, hosts: Sequence[str]) -> Address:
    """Return what a request is about.

    Args:
        raw_path: As sent, still encoded, without the query.
        host: The Host header.
        hosts: Names whose first labels are bucket names: ``bucket.localhost``.

    Raises:
        AwsError: InvalidURI: a name is not UTF-8.
    """
    path = unquote_to_bytes(raw_path)
    try:
        text = path.decode()
    except UnicodeDecodeError:
        raise AwsError("InvalidURI", "Couldn't parse the specified URI.") from None
    text = text.removeprefix("/")
    bucket = bucket_of_host(host, hosts)
    if bucket:
        return Address(bucket, text)
    bucket, _, key = text.partition("/")
    return Address(bucket, key)


def bucket_of_host(host: str, hosts: Sequence[str]) -> str:
    """Return the bucket in a Host header, empty when there is none."""
    name = host.lower()
    if not name.endswith("]"):
        name = name.rpartition(":")[0] if name.rpartition(":")[2].isdigit() else name
    for suffix in hosts:
        if name.endswith(f".{suffix}"):
            return name.removesuffix(f".{suffix}").removesuffix(".s3")
    return ""


def read_query(query: bytes) -> dict[str, str]:
    """Return the parameters of a query; of several of one name the last one.

    Raises:
        AwsError: InvalidURI: it is not UTF-8, or has far too many.
    """
    try:
        return dict(
            parse_qsl(
                query.decode("ascii"), keep_blank_values=True, max_num_fields=1000, errors="strict"
            )
        )
    except ValueError:
        raise AwsError("InvalidURI", "Couldn't parse the specified URI.") from None


def read_copy_source(text: str) -> Address:
    """Return the object that a copy is made from.

    Raises:
        AwsError: InvalidArgument.
    """
    path, _, version = text.partition("?versionId=")
    try:
        bucket, _, key = unquote_to_bytes(path).decode().removeprefix("/").partition("/")
    except UnicodeDecodeError:
        bucket = key = ""
    if not bucket or not key:
        raise AwsError(
            "InvalidArgument", "Copy Source must mention the source bucket and key: bucket/key"
        )
    if version not in {"", "null"}:
        raise AwsError("NoSuchVersion", "The specified version does not exist.", 404)
    return Address(bucket, key)
