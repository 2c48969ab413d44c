"""The use cases over a unix socket: what SDK and CLI talk to when no service URL is set.

One JSON object a line. Request ``{"method", "params"}``, answer ``{"result"}`` or
``{"error": {"code", "message", "details"}}``. Only the owner of the home directory can open the
socket; that is the whole authorisation.
"""

from __future__ import annotations

import inspect
import json
import logging
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from orchestrator.errors import InvalidSpec, OrchestratorError, Unavailable
from orchestrator.service.sockets import SocketName

if TYPE_CHECKING:
    from pathlib import Path

logger = logging.getLogger(__name__)

MAX_REQUEST_BYTES = 16 << 20
SEND_SECONDS = 30
"""How long a client may take to read before it is given up: it may have been stopped."""
ACCEPT_AGAIN_SECONDS = 0.5

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
    except OSError as error:
        logger.exception("request failed")
        return {"error": {"code": Unavailable.code, "message": refused(error).message}}
    except Exception as error:
        logger.exception("request failed")
        return {"error": {"code": "internal", "message": f"internal error: {error!r}"}}


def refused(error: OSError) -> Unavailable:
    """Return what a refusal of the operating system means for a client."""
    where = f": {error.filename}" if error.filename else ""
    return Unavailable(
        f"the system refused what is needed ({error.strerror or error}{where}); check the free "
        "disk space (df, df -i) and the limits of open files and processes (ulimit -n, -u)"
    )


def _call(methods: Methods, line: bytes) -> Any:
    try:
        request = json.loads(line)
        method, params = methods[request["method"]], request.get("params", {})
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidSpec(
            f"a request is one JSON object with a known method, got {line[:200]!r}"
        ) from error
    try:
        inspect.signature(method).bind(**params)
    except TypeError as error:
        raise InvalidSpec(f"{request['method']}: {error}; see the transport's methods") from error
    return method(**params)


class _Handler(socketserver.StreamRequestHandler):
    server: RpcServer

    def setup(self) -> None:
        super().setup()
        limit = struct.pack("ll", SEND_SECONDS, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)

    def handle(self) -> None:
        try:
            while line := self.rfile.readline(MAX_REQUEST_BYTES):
                if not self._answered(line):
                    return
        except OSError:
            return  # the client went away

    def _answered(self, line: bytes) -> bool:
        """Answer one request; False ends the connection."""
        if not self.server.begin():
            return False  # the client asks again, whoever drives then
        try:
            reply = json.dumps(answer(self.server.methods, line))
            self.wfile.write(reply.encode() + b"\n")
        finally:
            self.server.end()
        return line.endswith(b"\n")  # what follows a line that was cut is no request


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
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._answering = 0
        self._paused = False
        self._quiet_since = time.monotonic()
        path.unlink(missing_ok=True)
        super().__init__(str(path), _Handler)
        self._name = SocketName(path)
        path.chmod(0o600)
        self._thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.2}, name="rpc", daemon=True
        )
        self._thread.start()

    # -- requests --------------------------------------------------------------------------

    def begin(self) -> bool:
        """Note that a request is being answered; False while none may be."""
        with self._lock:
            if self._paused:
                return False
            self._answering += 1
            return True

    def end(self) -> None:
        """Note that a request was answered."""
        with self._lock:
            self._answering -= 1
            self._quiet_since = time.monotonic()

    def is_quiet(self, seconds: float) -> bool:
        """Return whether nobody has asked for anything for so long."""
        with self._lock:
            return not self._answering and time.monotonic() - self._quiet_since >= seconds

    def pause(self) -> bool:
        """Refuse requests from now on, unless one is being answered; return whether they are."""
        with self._lock:
            self._paused = not self._answering
            return self._paused

    def resume(self) -> None:
        """Answer requests again."""
        with self._lock:
            self._paused = False

    # -- connections -----------------------------------------------------------------------

    def get_request(self) -> Any:
        """Accept a connection."""
        try:
            return super().get_request()
        except OSError as error:  # no descriptor is left: the client waits until one is
            logger.warning("a connection cannot be accepted: %s", error.strerror)
            time.sleep(ACCEPT_AGAIN_SECONDS)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Hand a new connection to a thread."""
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Let go of a connection."""
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        with self._lock:
            return len(self._connections)

    def close(self) -> None:
        """Stop serving, end all connections and remove the socket. Idempotent."""
        with self._lock:
            self._paused = True
        self._name.remove()
        self.shutdown()
        self.server_close()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            _end(connection)


def _end(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it has ended already
