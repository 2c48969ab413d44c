"""Where the service listens, and what is allowed there."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

from orchestrator.api.context import Limits
from orchestrator.api.guard import is_loopback
from orchestrator.errors import InvalidSpec

DEFAULT_PORT = 8760
BACKLOG = 1024
DEAD_CLIENT_MILLISECONDS = 60_000


@dataclass(frozen=True)
class ServeOptions:
    """Where and for whom to serve.

    Attributes:
        host: Address to listen on.
        port: Port; 0 = any free one.
        allow_remote: Allow an address that other machines reach.
        allow_insecure_local: Then also allow jobs that run as plain processes of this machine.
        allowed_hosts: Further names in the Host header.
        limits: Bounds of the HTTP interface.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    allow_remote: bool = False
    allow_insecure_local: bool = False
    allowed_hosts: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)


def bind(options: ServeOptions) -> socket.socket:
    """Return a socket that listens where the options say.

    Raises:
        InvalidSpec: That is not allowed, taken or impossible.
    """
    host, port = options.host, options.port
    if not is_loopback(host) and not options.allow_remote:
        raise InvalidSpec(
            f"host must be a loopback address such as 127.0.0.1, got {host!r}, which other "
            "machines reach; add --allow-remote if they shall (put TLS in front of it)"
        )
    if not 0 <= port <= 65535:
        raise InvalidSpec(f"port must be 0 (any free one) to 65535, got {port}; see --port")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listening = socket.socket(family, kind, protocol)
    except (OSError, OverflowError) as error:
        raise InvalidSpec(
            f"host and port must name an address, got {host}:{port}: {error}"
        ) from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # A client that stops reading for good is dropped by the kernel; accepted sockets
            # inherit this.
            listening.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_CLIENT_MILLISECONDS
            )
        listening.bind(address)
        listening.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        listening.close()
        raise InvalidSpec(
            f"the port must be free and allowed, got {host}:{port} "
            f"({getattr(error, 'strerror', None) or error}); choose another with --port, or "
            "--port 0 for any free one"
        ) from error
    listening.setblocking(False)
    return listening
