"""Object keys and file names: which object becomes which file of a channel. Pure.

Names come from other people's buckets, so every one of them is treated as hostile: a name
that could leave the channel directory is refused, never repaired.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.errors import InputError

MAX_COMPONENT_BYTES = 255
MAX_NAME_BYTES = 2048
MAX_MANIFEST_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object of a listing."""

    key: str
    """Name relative to the listed location, with ``/`` between its parts."""
    size: int
    """Size in bytes."""
    etag: str
    """Changes whenever the content may have changed; opaque."""
    uri: str
    """Full address, fit for ``fetch_to``."""


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """An object and the place it gets below the channel directory."""

    source: ObjectInfo
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class S3Location:
    """An ``s3://bucket/key`` address, taken apart."""

    bucket: str
    key: str

    @property
    def uri(self) -> str:
        """The address as one string."""
        return f"s3://{self.bucket}/{self.key}"

    def child(self, name: str) -> S3Location:
        """Return the address of a name below this one."""
        base = self.key.rstrip("/")
        return S3Location(self.bucket, f"{base}/{name}" if base else name)


def parse_s3_uri(uri: str) -> S3Location:
    """Take an S3 address apart.

    Raises:
        InputError: It is not ``s3://bucket[/key]``.
    """
    scheme, separator, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not separator or not bucket or any(c in bucket for c in "@? \\\0"):
        raise InputError(f"an S3 location must be `s3://bucket/prefix`, got {uri!r}")
    return S3Location(bucket, key)


def relative_key(key: str, prefix: str) -> str | None:
    """Return the name of an object relative to a prefix, or None if it is not below it.

    The prefix ends at a ``/``: ``input/train`` covers ``input/train/a`` and the single object
    ``input/train`` (named by its last part), not ``input/train2/a``. Folder markers (keys that
    end in ``/``) have no name.
    """
    if key == prefix and not key.endswith("/"):
        return key.rpartition("/")[2] or None
    if not key.startswith(prefix):
        return None
    rest = key[len(prefix) :]
    if prefix and not prefix.endswith("/") and not rest.startswith("/"):
        return None
    name = rest.lstrip("/")
    return None if not name or name.endswith("/") else name


def folder_of(key: str) -> str:
    """Return the folder that a key is in, with its slash; empty at the top."""
    folder, slash, _ = key.rpartition("/")
    return folder + slash


def split_name(name: str) -> tuple[str, ...]:
    """Split a relative name into directory names and a file name, all harmless.

    Raises:
        InputError: The name is absolute, climbs, is empty, too long or not a legal file name.
    """

    def refuse(rule: str) -> InputError:
        return InputError(f"object name {name!r} {rule}; rename the object")

    if not name or name.startswith("/"):
        raise refuse("must be relative and not empty")
    if "\0" in name:
        raise refuse("must not contain a NUL character")
    parts = tuple(name.split("/"))
    if any(part in {"", ".", ".."} for part in parts):
        raise refuse("must not have an empty part, `.` or `..`")
    try:
        sizes = [len(os.fsencode(part)) for part in parts]
    except UnicodeEncodeError:
        raise refuse("must be valid Unicode") from None
    if max(sizes) > MAX_COMPONENT_BYTES or sum(sizes) > MAX_NAME_BYTES:
        raise refuse(
            f"must have at most {MAX_COMPONENT_BYTES} bytes a part and {MAX_NAME_BYTES} in all"
        )
    return parts


def plan_files(objects: Iterable[ObjectInfo]) -> list[PlannedFile]:
    """Give every object its place below one directory.

    Returns:
        The files in the order of their names, so that the same listing gives the same plan.

    Raises:
        InputError: A name is hostile, appears twice, or is both a file and a directory.
    """
    planned = [PlannedFile(info, split_name(info.key)) for info in objects]
    planned.sort(key=lambda file: file.parts)
    files: set[tuple[str, ...]] = set()
    for file in planned:
        # Sorted by parts, so a name comes right before everything below it.
        clash = next(
            (file.parts[:n] for n in range(1, len(file.parts) + 1) if file.parts[:n] in files),
            None,
        )
        if clash is not None:
            raise InputError(
                f"`{'/'.join(clash)}` and `{'/'.join(file.parts)}` cannot both be files of one "
                f"channel; rename one of the objects (second: {file.source.uri})"
            )
        files.add(file.parts)
    return planned


def shard_for_host(
    objects: Iterable[ObjectInfo], rank: int, hosts: int, seed: int | None = None
) -> list[ObjectInfo]:
    """Return the share of one host under ``ShardedByS3Key``.

    Every object goes to exactly one host, shares differ by at most one object, and hosts
    beyond the number of objects get none.

    Args:
        objects: The whole listing, in any order.
        rank: Index of the host in the sorted host names, from 0.
        hosts: Number of hosts of the job.
        seed: Shuffles them first; None = in order of keys.
    """
    if not 0 <= rank < hosts:
        raise ValueError(f"`0 <= rank < hosts` must hold, got rank {rank} of {hosts}")
    ordered = sorted(objects, key=lambda info: info.key)
    if seed is not None:
        random.Random(seed).shuffle(ordered)  # noqa: S311  # a fixed order, no secret
    return ordered[rank::hosts]


def parse_manifest(text: bytes, uri: str) -> tuple[str, Sequence[str]]:
    """Read a SageMaker ``ManifestFile``: its common prefix and the suffixes it lists.

    Args:
        text: The file: a JSON array whose first element is ``{"prefix": "s3://…"}``.
        uri: Where it came from, for messages.

    Raises:
        InputError: The file breaks that form.
    """
    rule = (
        f'the manifest {uri} must be a JSON array of `{{"prefix": "s3://bucket/prefix/"}}` '
        "and then at least one key suffix"
    )
    if len(text) > MAX_MANIFEST_BYTES:
        raise InputError(f"the manifest {uri} must have at most {MAX_MANIFEST_BYTES} bytes")
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{rule}; it is not JSON: {error}") from None
    if not isinstance(entries, list) or len(entries) < 2 or not isinstance(entries[0], dict):
        raise InputError(rule)
    prefix, suffixes = entries[0].get("prefix"), entries[1:]
    if not isinstance(prefix, str) or not all(isinstance(s, str) and s for s in suffixes):
        raise InputError(rule)
    return prefix, suffixes
