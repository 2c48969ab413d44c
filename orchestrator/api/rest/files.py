"""Artifacts that go out, packed sources that come in."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

from fastapi import APIRouter
from fastapi import Path as PathParameter
from starlette.requests import Request
from starlette.responses import Response

from orchestrator.api.context import Context
from orchestrator.api.download import GZIP, TAR, Download, FileDownload, Stored, open_location
from orchestrator.api.errors import RequestTooLarge
from orchestrator.api.rest.common import ONCE, Name, file_content, problems
from orchestrator.api.rest.jobs import JOB
from orchestrator.api.views import StoredSource, response
from orchestrator.blobs.base import Blob
from orchestrator.blobs.files import disk_errors
from orchestrator.errors import InputError, no_artifact
from orchestrator.packaging.archive import check_archive

SOURCE = "/sources/{digest}"
OCTETS = "application/octet-stream"

Digest = Annotated[
    str,
    PathParameter(
        description="SHA-256 of the archive, 64 hexadecimal digits.", pattern=r"^[0-9a-f]{64}$"
    ),
]
_UPLOAD: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {OCTETS: {"schema": {"type": "string", "format": "binary"}}},
    }
}


class FileRoutes:
    """The routes of files.

    Args:
        context: The use cases.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(tags=["files"], dependencies=ONCE)
        artifact = file_content("The artifact; a tar of the files of a folder.", GZIP, TAR)
        router.add_api_route(
            JOB + "/artifacts/{kind}",
            self.artifact,
            methods=["GET"],
            operation_id="download_artifact",
            response_class=Response,
            responses=problems(404) | {200: artifact},
        )
        router.add_api_route(
            SOURCE,
            self.has_source,
            methods=["HEAD"],
            operation_id="has_source",
            response_class=Response,
            responses=problems() | {404: {"description": "It must be uploaded."}},
        )
        router.add_api_route(
            SOURCE,
            self.put_source,
            methods=["PUT"],
            status_code=201,
            operation_id="upload_source",
            response_model=StoredSource,
            responses=problems(413, 507),
            openapi_extra=_UPLOAD,
        )
        return router

    async def artifact(
        self, name: Name, kind: Literal["model", "output", "last_model"]
    ) -> Response:
        """Download what a training job has left."""
        job = await self._context.job(name)
        found = job.artifacts.get(kind)
        if found is None:
            raise no_artifact(name, kind, job.artifacts, job.status)
        stored: Stored = await self._context.files.run(
            open_location, self._context.service.blobs, found.uri
        )
        if stored.path is not None:
            return FileDownload(self._context, stored.path, stored.media_type)
        return await Download.prepare(
            self._context,
            stored.blocks,
            media_type=stored.media_type,
            filename=stored.name,
            size_bytes=stored.size_bytes,
        )

    async def has_source(self, digest: Digest) -> Response:
        """Say whether a packed source is here already."""
        path = self._context.service.workspace.source_archive(digest)
        return Response(status_code=200 if path.exists() else 404)

    async def put_source(self, digest: Digest, request: Request) -> Response:
        """Upload a packed source (a tar.gz), under the digest of its bytes. Idempotent."""
        with self._spooled() as path:
            await self._receive(request, digest, path)
            blob = await self._context.files.run(self._keep, path)
        answer = response(StoredSource(digest=blob.digest, size_bytes=blob.size_bytes))
        answer.status_code = 201
        return answer

    @contextmanager
    def _spooled(self) -> Iterator[Path]:
        path = self._context.spool / f"source-{os.getpid()}-{secrets.token_hex(8)}"
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    async def _receive(self, request: Request, digest: str, path: Path) -> None:
        most = self._context.limits.source_bytes
        hasher, size = hashlib.sha256(), 0
        run = self._context.files.run
        with disk_errors(path):
            file: BinaryIO = await run(path.open, "xb")
        with file:
            async for chunk in request.stream():
                size += len(chunk)
                if size > most:
                    raise RequestTooLarge(
                        f"a packed source may have at most {most:,} bytes, this one has more; "
                        "put data into input channels, or name it in an ignore file"
                    )
                await run(_write, file, chunk, hasher, path)
        if hasher.hexdigest() != digest:
            raise InputError(
                f"the bytes must have the SHA-256 that the address names, {digest}, got "
                f"{hasher.hexdigest()}; upload them again"
            )

    def _keep(self, path: Path) -> Blob:
        with path.open("rb") as stream:
            check_archive(stream, "the uploaded source")
        return self._context.service.blobs.put_file(path)


def _write(file: BinaryIO, chunk: bytes, hasher: Any, path: Path) -> None:
    hasher.update(chunk)
    with disk_errors(path):
        file.write(chunk)
