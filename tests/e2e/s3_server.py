"""An S3 server on loopback that can go away and come back with everything it had."""

from __future__ import annotations

import contextlib
import socket
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


class S3Server:
    """moto behind a switch.

    Attributes:
        url: Its endpoint.
        refuses: Says of a request (method, path) whether its connection is cut instead.
        cuts: How many connections were cut.
    """

    def __init__(self) -> None:
        from moto.moto_server.werkzeug_app import (
            DomainDispatcherApplication,
            create_backend_app,
        )
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Silent(WSGIRequestHandler):
            def log(self, type: str, message: str, *args: object) -> None:
                """Say nothing."""

        self.refuses: Callable[[str, str], bool] = lambda _method, _path: False
        self.cuts = 0
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server(
            "127.0.0.1", 0, self._answer, threaded=True, request_handler=Silent
        )
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def _answer(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        if self.refuses(environ["REQUEST_METHOD"], environ["PATH_INFO"]):
            self.cuts += 1
            with contextlib.suppress(OSError):  # the client was faster
                environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            return []
        answer: Iterable[bytes] = self._app(environ, start)
        return answer

    def go_away(self, ending: str = "") -> None:
        """Answer nobody any more, of what ends so."""
        self.cuts = 0
        self.refuses = lambda _method, path: path.endswith(ending)

    def come_back(self) -> None:
        """Answer everybody again."""
        self.refuses = lambda _method, _path: False

    def close(self) -> None:
        """Stop for good."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


class Bucket:
    """A fresh bucket of a server, seen with boto3 itself.

    Attributes:
        name: Its name.
        uri: Its address.
        server: Where it is.
    """

    def __init__(self, server: S3Server) -> None:
        import boto3

        self.server = server
        self.name = f"b-{uuid.uuid4().hex}"
        self.uri = f"s3://{self.name}"
        self.client: Any = boto3.client("s3", endpoint_url=server.url, region_name="us-east-1")
        self.client.create_bucket(Bucket=self.name)

    def put(self, **objects: str) -> None:
        """Write objects; ``__`` in a name stands for ``/``."""
        for name, text in objects.items():
            self.client.put_object(
                Bucket=self.name, Key=name.replace("__", "/"), Body=text.encode()
            )

    def names(self, prefix: str = "") -> list[str]:
        """Names of the objects below a prefix, without it."""
        found = self.client.list_objects_v2(Bucket=self.name, Prefix=prefix).get("Contents", [])
        return [each["Key"].removeprefix(prefix) for each in found]

    def read(self, key: str) -> bytes:
        """Content of one object."""
        content: bytes = self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        return content


@pytest.fixture(scope="module")
def s3_server() -> Iterator[S3Server]:
    """One server for a module."""
    server = S3Server()
    yield server
    server.close()


@pytest.fixture
def bucket(
    s3_server: S3Server, orchestrator_home: object, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bucket]:
    """A bucket that the home's driver reaches with the usual variables and our setting."""
    del orchestrator_home  # its jobs must end before the server goes
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "an-example-secret")
    monkeypatch.setenv("ORCHESTRATOR_S3_ENDPOINT", s3_server.url)
    bucket = Bucket(s3_server)
    yield bucket
    s3_server.come_back()
    bucket.client.close()
