"""The gateway on a live loopback server; whoever asks is the same caller."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path
from typing import Any, Self

import uvicorn
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from orchestrator.api.aws.caller import UNSIGNED_PAYLOAD, Caller
from orchestrator.api.aws.s3.gateway import S3Gateway
from orchestrator.blobs.buckets import BucketStore

REGION = "us-east-1"


class UncheckedApp:
    """Believes every signature; the rooms around the gateway verify them."""

    def __init__(self, gateway: S3Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        payload = request.headers.get("x-amz-content-sha256", UNSIGNED_PAYLOAD)
        caller = Caller("AKIAEXAMPLE", _region(request), "s3", payload)
        answer = await self._gateway(request, caller)
        await answer(scope, receive, send)


def _region(request: Request) -> str:
    credential = request.headers.get("authorization", "").partition("Credential=")[2]
    parts = credential.split("/")
    return parts[2] if len(parts) > 3 else REGION


class LiveGateway:
    """A home's buckets behind a port. Use it as a context.

    Attributes:
        url: The end point.
        store: The buckets.
    """

    def __init__(self, home: Path) -> None:
        self.store = BucketStore(home)
        self._gateway = S3Gateway(self.store)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._server = uvicorn.Server(
            uvicorn.Config(
                UncheckedApp(self._gateway), lifespan="off", log_config=None, access_log=False
            )
        )
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))

    def __enter__(self) -> Self:
        """Begin to serve; connections wait in the port's queue until then."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop serving."""
        self._server.should_exit = True
        self._thread.join(30)
        self._socket.close()
        self._gateway.close()
        self.store.close()


def client(url: str, **options: Any) -> Any:
    """A real boto3 client of an end point."""
    import boto3
    from botocore.config import Config

    s3 = options.pop("s3", {"addressing_style": "path"})
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name=options.pop("region", REGION),
        aws_access_key_id="AKIAEXAMPLE",
        aws_secret_access_key="an-example-secret",
        config=Config(s3=s3, retries={"max_attempts": 1}, **options),
    )
