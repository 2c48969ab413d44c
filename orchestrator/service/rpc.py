"""The use cases over a unix socket: what SDK and CLI talk to when no service URL is set.

One JSON object a line. Request ``{"method", "params"}``, answer ``{"result"}`` or
``{"error": {"code", "message", "details"}}``. Only the owner of the home directory can open the
socket; that is the whole authorisation.
"""

from __future__ import annotations

import json
import logging
import socketserver
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from orchestrator.errors import InvalidSpec, OrchestratorError

if TYPE_CHECKING:
    import socket
    from pathlib import Path

logger = logging.getLogger(__name__)

MAX_REQUEST_BYTES = 16 << 20

Methods = dict[str, Callable[..., Any]]


def answer(methods: Methods, line: bytes) -> dict[str, Any]:
    """Return the answer to one request line.

    Args:
        methods: What can be called; each takes keyword arguments of JSON values and returns one.
        line: The request.
    """
    try:
        return {"result": _call(methods, line)}
    except OrchestratorError as error:
        return {"error": {"code": error.code, "message": error.message, "details": error.details}}
    except Exception as error:
        logger.exception("request failed")
        return {"error": {"code": "internal", "message": f"internal error: {error!r}"}}


def _call(methods: Methods, line: bytes) -> Any:
    try:
        request = json.loads(line)
        method, params = methods[request["method"]], request.get("params", {})
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidSpec(
            f"a request is one JSON object with a known method, got {line[:200]!r}"
        ) from error
    return method(**params)


class _Handler(socketserver.StreamRequestHandler):
    server: RpcServer

    def handle(self) -> None:
        self.server.track(self.connection)
        try:
            while line := self.rfile.readline(MAX_REQUEST_BYTES):
                reply = json.dumps(answer(self.server.methods, line))
                self.wfile.write(reply.encode() + b"\n")
        except OSError:
            return  # the client went away
        finally:
            self.server.untrack(self.connection)


class RpcServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Serves the methods; one thread per connection.

    Args:
        path: Where the socket is put; one that is there is replaced.
        methods: What can be called.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, path: Path, methods: Methods) -> None:
        self.methods = methods
        self.path = path
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        path.unlink(missing_ok=True)
        super().__init__(str(path), _Handler)
        path.chmod(0o600)
        self._thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.2}, name="rpc", daemon=True
        )
        self._thread.start()

    def track(self, connection: socket.socket) -> None:
        """Remember an open connection."""
        with self._lock:
            self._connections.add(connection)

    def untrack(self, connection: socket.socket) -> None:
        """Forget a closed connection."""
        with self._lock:
            self._connections.discard(connection)

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        with self._lock:
            return len(self._connections)

    def close(self) -> None:
        """Stop serving and remove the socket."""
        self.path.unlink(missing_ok=True)
        self.shutdown()
        self.server_close()
