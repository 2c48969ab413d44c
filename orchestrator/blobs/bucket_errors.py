"""What a bucket refuses, each as one class, so that a gateway can name it in S3's words.

InvalidSpec
 └─ InputError ── InvalidBucketName, InvalidKey, InvalidPart, InvalidPartOrder, EntityTooSmall
NotFound ── NoSuchBucket, NoSuchKey, NoSuchUpload
AlreadyExists ── BucketExists
InvalidState ── BucketNotEmpty, PreconditionFailed
"""

from __future__ import annotations

from orchestrator.errors import AlreadyExists, InputError, InvalidState, NotFound


class InvalidBucketName(InputError):
    """The name breaks S3's rule for bucket names."""


class InvalidKey(InputError):
    """The key is empty, too long or not UTF-8."""


class InvalidPart(InputError):
    """A part was never uploaded, is another one than named, or is gone."""


class InvalidPartOrder(InputError):
    """The parts are not named in ascending order."""


class EntityTooSmall(InputError):
    """A part that is not the last has less than 5 MiB."""


class NoSuchBucket(NotFound):
    """No bucket has this name."""


class NoSuchKey(NotFound):
    """No object has this key."""


class NoSuchUpload(NotFound):
    """The upload was completed, aborted, or never begun."""


class BucketExists(AlreadyExists):
    """The bucket is there already."""


class BucketNotEmpty(InvalidState):
    """Only an empty bucket can be removed."""


class PreconditionFailed(InvalidState):
    """What the writer expected to be there is not."""
