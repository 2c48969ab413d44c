"""Objects in S3, or in anything that speaks its protocol. The only file here that uses boto3."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import tenacity

from orchestrator.blobs import transfer
from orchestrator.blobs.base import EVERYTHING, Blob, BlobStore, Selection, Transfer
from orchestrator.blobs.files import PARTIAL_MARK, disk_errors, sha256_of
from orchestrator.blobs.keys import (
    ObjectInfo,
    S3Location,
    folder_of,
    parse_s3_uri,
    relative_key,
    split_name,
)
from orchestrator.errors import InputError, InvalidState, NotFound, OrchestratorError, Unavailable

logger = logging.getLogger(__name__)

MIB = 1024 * 1024
PART_WORKERS = 4  # parts of one large object that move at a time


@dataclass(frozen=True, slots=True)
class S3Settings:
    """How to reach the service; what is None comes from the usual AWS configuration."""

    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    root: str | None = None
    """``s3://bucket/prefix`` of content-addressed objects; None refuses ``put_*``."""
    workers: int = 16
    """Files moved at a time."""
    part_bytes: int = 32 * MIB
    """Larger objects move in parts of this size (at least 5 MiB for uploads)."""
    attempts: int = 5
    """Tries of a download that breaks off; each goes on where the last one ended."""


class S3BlobStore(BlobStore):
    """Objects named ``s3://bucket/key``."""

    def __init__(self, settings: S3Settings | None = None) -> None:
        """Use a service; nothing is contacted, nor boto3 imported, until the first call."""
        self._settings = settings or S3Settings()
        self._lock = threading.Lock()
        self._made: Any = None

    @property
    def client(self) -> Any:
        """The boto3 client, made on first use and shared by all threads."""
        with self._lock:
            if self._made is None:
                self._made = _make_client(self._settings)
            return self._made

    # Content.

    def put_file(self, path: Path) -> Blob:
        """Keep a file under its digest; see ``BlobStore.put_file``."""
        with transfer.open_regular(path) as stream:
            return self._put(stream)

    def put_bytes(self, data: bytes) -> Blob:
        """Keep bytes under their digest; see ``BlobStore.put_bytes``."""
        return self._put(io.BytesIO(data))

    def _put(self, stream: BinaryIO) -> Blob:
        if self._settings.root is None:
            raise InvalidState("an S3 store keeps content only if its `root` is set, it is not")
        digest = sha256_of(stream)
        size = stream.seek(0, os.SEEK_END)
        uri = parse_s3_uri(self._settings.root).child(f"sha256/{digest[:2]}/{digest}").uri
        found = self.stat(uri)
        if found is None or found.size != size:
            self.store_file(stream, uri)
        return Blob(digest, size, uri)

    # Locations.

    def open(self, uri: str) -> BinaryIO:
        """Open one object as a stream; see ``BlobStore.open``."""
        place = parse_s3_uri(uri)
        with _s3_errors(uri):
            body = self.client.get_object(Bucket=place.bucket, Key=place.key)["Body"]
        return io.BufferedReader(_Body(body, uri), buffer_size=256 * 1024)

    def stat(self, uri: str) -> ObjectInfo | None:
        """Describe one object; see ``BlobStore.stat``."""
        place = parse_s3_uri(uri)
        if not place.key:
            return None
        try:
            with _s3_errors(uri):
                found = self.client.head_object(Bucket=place.bucket, Key=place.key)
        except NotFound:
            return None
        name = place.key.rpartition("/")[2]
        return ObjectInfo(name, found["ContentLength"], found["ETag"], uri)

    def exists(self, uri: str) -> bool:
        """Say whether an object, or anything below the prefix, exists."""
        place = parse_s3_uri(uri)
        if self.stat(uri) is not None:
            return True
        prefix = _as_prefix(place.key)
        with _s3_errors(uri):
            found = self.client.list_objects_v2(Bucket=place.bucket, Prefix=prefix, MaxKeys=1)
        return bool(found.get("KeyCount"))

    def delete(self, uri: str) -> None:
        """Remove one object; see ``BlobStore.delete``."""
        place = parse_s3_uri(uri)
        with _s3_errors(uri):
            self.client.delete_object(Bucket=place.bucket, Key=place.key)

    def fetch_to(self, uri: str, path: Path, *, writable: bool = True) -> int:
        """Put one object at a path; see ``BlobStore.fetch_to``.

        A large object goes on where an earlier call, also of a dead process, ended.
        """
        del writable  # a download is always the caller's own copy
        found = self.stat(uri)
        if found is None:
            raise NotFound(f"no object is at {uri!r}; check bucket and key")
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            name = hashlib.sha256(f"{uri}\0{path.name}".encode("utf-8", "surrogateescape"))
            partial = path.with_name(f".{PARTIAL_MARK}{name.hexdigest()[:16]}")
            _Download(self.client, parse_s3_uri(uri), found, partial, self._settings).run()
            partial.replace(path)
        return found.size

    def store_file(self, source: BinaryIO, uri: str) -> int:
        """Write one object; an upload in parts that fails is aborted."""
        place = parse_s3_uri(uri)
        if not place.key:
            raise InputError(f"an object needs a key, got {uri!r}")
        size = source.seek(0, os.SEEK_END)
        source.seek(0)
        with _s3_errors(uri):
            self.client.upload_fileobj(
                source, place.bucket, place.key, Config=_transfer_config(self._settings)
            )
        return size

    def download(
        self,
        uri: str,
        directory: Path,
        *,
        selection: Selection = EVERYTHING,
        writable: bool = True,
    ) -> Transfer:
        """Put the objects of a prefix below a directory; see ``BlobStore.download``."""
        files = transfer.select_files(self, uri, selection)
        return transfer.download_files(
            self, files, directory, writable=writable, workers=self._settings.workers
        )

    def upload(self, path: Path, uri: str, *, link: bool = False) -> Transfer:
        """Write a file or a directory's files; see ``BlobStore.upload``."""
        del link  # nothing can be shared with a bucket
        place = parse_s3_uri(uri)
        if not path.is_dir() or path.is_symlink():
            with transfer.open_regular(path) as stream:
                return Transfer(1, self.store_file(stream, uri))

        def put(name: str, stream: BinaryIO) -> int:
            try:
                name.encode()
            except UnicodeEncodeError:
                raise InputError(
                    f"an object name must be UTF-8, got {name!r}; rename it"
                ) from None
            return self.store_file(stream, place.child("/".join(split_name(name))).uri)

        return transfer.upload_directory(path, put, workers=self._settings.workers)

    def check_writable(self, uri: str) -> None:
        """See ``BlobStore.check_writable``; a bucket that may not be looked at passes."""
        from botocore.exceptions import ClientError  # noqa: PLC0415 - loaded only when used

        try:
            with _s3_errors(uri):
                self.client.head_bucket(Bucket=parse_s3_uri(uri).bucket)
        except NotFound as error:
            raise InputError(_no_bucket(uri)) from error
        except OrchestratorError as error:
            unsaid = isinstance(error, Unavailable) or isinstance(error.__cause__, ClientError)
            if not unsaid:  # no credentials, no such region
                raise
            logger.info("whether %s can be written to is not known: %s", uri, error.message)

    def discard_partial(self, uri: str) -> None:
        """Abort uploads in parts that were begun; see ``BlobStore.discard_partial``."""
        place = parse_s3_uri(uri)
        with _s3_errors(uri):
            pages = self.client.get_paginator("list_multipart_uploads")
            for page in pages.paginate(Bucket=place.bucket, Prefix=_as_prefix(place.key)):
                for found in page.get("Uploads", []):
                    self.client.abort_multipart_upload(
                        Bucket=place.bucket, Key=found["Key"], UploadId=found["UploadId"]
                    )

    def list(self, uri: str) -> Iterator[ObjectInfo]:
        """Yield the objects at or below a prefix, in order of keys; see ``BlobStore.list``."""
        place = parse_s3_uri(uri)
        if not place.key.endswith("/") and (single := self.stat(uri)) is not None:
            yield single
        yield from self._named(place, _as_prefix(place.key), place.key)

    def list_beginning(self, uri: str) -> Iterator[ObjectInfo]:
        """See ``BlobStore.list_beginning``."""
        place = parse_s3_uri(uri)
        return self._named(place, place.key, folder_of(place.key))

    def _named(self, place: S3Location, prefix: str, below: str) -> Iterator[ObjectInfo]:
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=place.bucket, Prefix=prefix
        )
        with _s3_errors(place.uri):
            for page in pages:
                for found in page.get("Contents", []):
                    key = found["Key"]
                    name = relative_key(key, below)
                    if name is not None:
                        address = S3Location(place.bucket, key).uri
                        yield ObjectInfo(name, found["Size"], found["ETag"], address)


class _Download:
    """One object into one partial file; notes finished parts beside it, to go on after a crash."""

    def __init__(
        self, client: Any, place: S3Location, found: ObjectInfo, partial: Path, how: S3Settings
    ) -> None:
        self._client = client
        self._place = place
        self._found = found
        self._partial = partial
        self._journal = partial.with_name(f"{partial.name}.parts")
        self._how = how

    def run(self) -> None:
        """Fill the partial file."""
        size, step = self._found.size, self._how.part_bytes
        if size <= step:
            with self._partial.open("wb") as stream:
                self._fetch(stream.fileno(), 0, size)
            return
        done = self._finished_parts()
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (0 if done else os.O_TRUNC)
        handle = os.open(self._partial, flags, 0o644)
        try:
            os.truncate(handle, size)
            missing = [n for n in range(-(-size // step)) if n not in done]
            with self._journal.open("a" if done else "w", encoding="utf-8") as journal:
                if not done:
                    journal.write(json.dumps(self._header()) + "\n")

                def fetch(part: int) -> int:
                    self._fetch(handle, part * step, min(size, (part + 1) * step))
                    os.fsync(handle)  # the note must not outlive the bytes
                    return part

                for part in transfer.each(fetch, missing, PART_WORKERS):
                    journal.write(f"{part}\n")
                    journal.flush()
        finally:
            os.close(handle)
        self._journal.unlink()

    def _header(self) -> dict[str, Any]:
        return {"etag": self._found.etag, "part_bytes": self._how.part_bytes}

    def _finished_parts(self) -> set[int]:
        """Return the parts that the file surely has; none if the object has changed."""
        try:
            if self._partial.stat().st_size != self._found.size:
                return set()
            header, *notes = self._journal.read_text(encoding="utf-8").split("\n")[:-1]
            return {int(note) for note in notes} if json.loads(header) == self._header() else set()
        except (FileNotFoundError, ValueError):
            return set()

    def _fetch(self, handle: int, start: int, end: int) -> None:
        """Write bytes ``start`` to ``end`` (excluded) at their place, going on after breaks."""
        at = start
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self._how.attempts),
            wait=tenacity.wait_random_exponential(multiplier=0.1, max=5),
            retry=tenacity.retry_if_exception_type(Unavailable),
            reraise=True,
        )
        for attempt in retrying:
            with attempt, _s3_errors(self._place.uri):
                for chunk in self._chunks(at, end):
                    at += os.pwrite(handle, chunk, at)
                if at != end:
                    raise Unavailable(f"{self._place.uri} broke off at byte {at} of {end}; retry")

    def _chunks(self, start: int, end: int) -> Iterator[bytes]:
        if start == end:
            return
        whole = start == 0 and end == self._found.size
        extra = {} if whole else {"Range": f"bytes={start}-{end - 1}"}
        body = self._client.get_object(
            Bucket=self._place.bucket, Key=self._place.key, IfMatch=self._found.etag, **extra
        )["Body"]
        try:
            yield from body.iter_chunks(MIB)
        finally:
            body.close()


class _Body(io.RawIOBase):
    """A response body as a raw stream, with our errors."""

    def __init__(self, body: Any, uri: str) -> None:
        self._body = body
        self._uri = uri

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with _s3_errors(self._uri):
            chunk = self._body.read(len(buffer))
        buffer[: len(chunk)] = chunk
        return len(chunk)

    def close(self) -> None:
        if not self.closed:
            self._body.close()
        super().close()


def _as_prefix(key: str) -> str:
    return key if not key or key.endswith("/") else f"{key}/"


def _make_client(how: S3Settings) -> Any:
    import boto3
    from botocore.config import Config  # noqa: PLC0415 - loaded only when used

    config = Config(
        retries={"mode": "standard", "max_attempts": how.attempts},
        max_pool_connections=how.workers * PART_WORKERS,
        connect_timeout=10,
        read_timeout=60,
        s3={"addressing_style": "path"} if how.endpoint_url else None,
    )
    session = boto3.session.Session(profile_name=how.profile, region_name=how.region)
    return session.client("s3", endpoint_url=how.endpoint_url, config=config)


def _transfer_config(how: S3Settings) -> Any:
    from boto3.s3.transfer import TransferConfig

    part = max(how.part_bytes, 5 * MIB)
    return TransferConfig(
        multipart_threshold=part, multipart_chunksize=part, max_concurrency=PART_WORKERS
    )


@contextmanager
def _s3_errors(uri: str) -> Iterator[None]:
    """Turn what boto3 raises into errors that say what to do."""
    from boto3.exceptions import S3UploadFailedError
    from botocore import exceptions  # noqa: PLC0415 - loaded only when used

    try:
        yield
    except exceptions.ClientError as error:
        raise _from_code(uri, error) from error
    except S3UploadFailedError as error:
        raise Unavailable(f"{uri} could not be uploaded: {error}") from error
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
        raise InputError(
            f"AWS credentials are needed for {uri}, whose bucket is not one of this home: {error}; "
            f"make the bucket here (aws s3 mb s3://{parse_s3_uri(uri).bucket}), or set "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile, where the service or the "
            "jobs' driver is started"
        ) from error
    except (
        exceptions.ConnectionError,
        exceptions.HTTPClientError,
        exceptions.IncompleteReadError,
    ) as error:
        raise Unavailable(f"{uri} could not be reached: {error}; retry") from error
    except exceptions.BotoCoreError as error:
        raise InputError(f"{uri} could not be used: {error}") from error


def _no_bucket(uri: str) -> str:
    return f"the bucket of {uri} must exist, it does not; make it, or name another"


def _from_code(uri: str, error: Any) -> OrchestratorError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    make: Callable[[str], OrchestratorError] = InputError
    if code == "NoSuchBucket":
        text = _no_bucket(uri)
    elif code in {"NoSuchKey", "NotFound", "404"}:
        make, text = NotFound, f"no object is at {uri!r}; check bucket and key"
    elif code in {"PreconditionFailed", "412"}:
        text = f"{uri} must not change while it is read, it did; retry"
    elif status in {401, 403}:
        text = f"{uri} must be readable with the configured credentials, got {code}"
    elif status >= 500 or code in {"SlowDown", "RequestTimeout", "Throttling"}:
        make, text = Unavailable, f"{uri} could not be served now ({code}); retry"
    else:
        text = f"{uri} was refused: {error}"
    return make(text)
