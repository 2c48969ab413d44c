"""Where the service listens, and what is allowed there."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.api.context import Limits
from orchestrator.api.guard import is_loopback
from orchestrator.errors import InvalidSpec

logger = logging.getLogger(__name__)

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


@dataclass(frozen=True)
class RelaySocket:
    """Where containers come to, whose own loopback address is not this machine's.

    It opens no more than the port does: any user of this machine may connect, who has a token is
    served.

    Attributes:
        listening: The socket.
        path: Its name.
        inode: Its own number; another service may have put another socket there since.
    """

    listening: socket.socket
    path: Path
    inode: int

    @classmethod
    def at(cls, path: Path) -> RelaySocket | None:
        """Listen at a path; None where that cannot be done, which is logged."""
        listening = socket.socket(socket.AF_UNIX)
        # Named when it listens: at no moment does the name lead nowhere.
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            path.parent.chmod(0o755)  # users of containers are others
            with _short(path.parent) as directory:
                _remove_dead(directory)
                draft.unlink(missing_ok=True)
                listening.bind(f"{directory}/{draft.name}")
            draft.chmod(0o666)
            listening.listen(BACKLOG)
            inode = draft.stat().st_ino
            draft.replace(path)
        except OSError as error:
            listening.close()
            logger.warning("containers do not reach this service: %s: %s", path, error.strerror)
            return None
        listening.setblocking(False)
        return cls(listening, path, inode)

    def close(self) -> None:
        """Stop listening. Idempotent."""
        self.listening.close()
        with suppress(FileNotFoundError):
            if self.path.lstat().st_ino == self.inode:
                self.path.unlink()


@contextmanager
def _short(directory: Path) -> Iterator[Path]:
    """Name a directory so that names in it are short enough for sockets; others have 108 bytes in all."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        short = Path(f"/proc/self/fd/{descriptor}")
        yield short if short.exists() else directory
    finally:
        os.close(descriptor)


def _remove_dead(directory: Path) -> None:
    """Remove the sockets of services that were killed."""
    for path in directory.iterdir():
        if not path.is_socket():
            continue
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)
            except OSError:
                continue  # it is busy
