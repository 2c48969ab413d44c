"""The gateway on a live loopback server: signatures are verified, as in a service; who signs nothing is believed."""

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
from orchestrator.api.aws.endpoint import Endpoint, Threads
from orchestrator.api.aws.job_access import JobAccess
from orchestrator.api.aws.keys import Keys, issue
from orchestrator.api.aws.received import is_signed
from orchestrator.api.aws.s3.gateway import S3Gateway
from orchestrator.api.aws.sigv4 import Verifier
from orchestrator.api.pools import Pool
from orchestrator.blobs.buckets import BucketStore
from orchestrator.clock import SystemClock

REGION = "us-east-1"
TOKEN = "a-token-for-tests"
KEY = issue(TOKEN)


class Doors:
    """A signed request is verified; any other reaches the gateway as it is, which no service allows."""

    def __init__(self, gateway: S3Gateway) -> None:
        self._gateway = gateway
        self._pool = Pool("unused", 1, 1)
        verifier = Verifier(Keys([TOKEN]), SystemClock(), verifies=True)
        access = JobAccess(None, issue(TOKEN, for_jobs=True))
        threads = Threads(self._pool, self._pool, self._pool, self._pool)
        self._endpoint = Endpoint(threads, verifier, {}, access, gateway)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if is_signed(scope):
            await self._endpoint(scope, receive, send)
            return
        request = Request(scope, receive)
        payload = request.headers.get("x-amz-content-sha256", UNSIGNED_PAYLOAD)
        answer = await self._gateway(request, Caller("nobody", REGION, "s3", payload))
        await answer(scope, receive, send)

    def close(self) -> None:
        """End the threads."""
        self._gateway.close()
        self._pool.close()


class LiveGateway:
    """A home's buckets behind a port. Use it as a context.

    Attributes:
        url: The end point.
        store: The buckets.
    """

    def __init__(self, home: Path) -> None:
        self.store = BucketStore(home)
        self._doors = Doors(S3Gateway(self.store))
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._server = uvicorn.Server(
            uvicorn.Config(self._doors, lifespan="off", log_config=None, access_log=False)
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
        self._doors.close()
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
        aws_access_key_id=KEY.id,
        aws_secret_access_key=KEY.secret,
        config=Config(s3=s3, retries={"max_attempts": 1}, **options),
    )
