"""Lets the program in a container reach the service of its machine at the address it has there.

The service listens on a loopback address, which in a container is the container itself. What comes to
the same address in here is handed on to a unix socket of the service, whose directory is mounted:
no port is opened on the machine, and no other container gets near. A process of its own does it, which
ends with the program.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time

from orchestrator_runtime import files, signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from typing import NoReturn

    from orchestrator_runtime.contract import RelayPlan
else:
    import _signal

MOST_CONNECTIONS = 128
"""More than these wait; each has two threads, which count to the container's processes."""
CHUNK_BYTES = 1 << 18
SHORTAGE_SECONDS = 0.05


def start(plan: RelayPlan) -> None:
    """Listen, and hand on in a process that ends with this one. Must run on the main thread.

    Raises:
        OSError: The address cannot be listened on.
    """
    listener = listen(plan["host"], plan["port"])
    signals.block()
    parent = os.getpid()
    try:
        if os.fork() == 0:
            _become(listener, plan["socket"], parent)
    finally:
        signals.unblock()
    listener.close()


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        OSError: The address is taken, or the system has none of its kind.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(MOST_CONNECTIONS)
    except OSError:
        listener.close()
        raise
    return listener


def _become(listener: socket.socket, path: str, parent: int) -> NoReturn:
    """Turn this forked process into a relay. A stop does not end it: the program may still save."""
    try:
        signals.restore_defaults(ignored=signals.STOP | {_signal.SIGPIPE})
        if sys.platform.startswith("linux"):
            from orchestrator_runtime import native  # noqa: PLC0415

            native.die_with_parent(parent)
        files.close_all_but(frozenset({0, 1, 2, listener.fileno()}))
        hand_on(listener, path)
    finally:
        os._exit(1)


def hand_on(listener: socket.socket, path: str) -> NoReturn:
    """Connect whoever comes with the socket at a path, for ever."""
    places = threading.Semaphore(MOST_CONNECTIONS)
    while True:
        places.acquire()
        try:
            _accept(listener, path, places)
        except (OSError, RuntimeError):
            # No descriptor or no thread: the trouble of who came, not of who comes.
            places.release()
            time.sleep(SHORTAGE_SECONDS)


def _accept(listener: socket.socket, path: str, places: threading.Semaphore) -> None:
    client, _ = listener.accept()
    try:
        threading.Thread(target=_connect, args=(client, path, places), daemon=True).start()
    except RuntimeError:
        client.close()
        raise


def _connect(client: socket.socket, path: str, places: threading.Semaphore) -> None:
    try:
        with client, socket.socket(socket.AF_UNIX) as service:
            service.connect(path)
            back = threading.Thread(target=_copy_back, args=(service, client), daemon=True)
            back.start()
            _copy(client, service)
            back.join()
    except (OSError, RuntimeError):
        return  # it is not up, or there is no thread: closed, as by an address where nobody listens
    finally:
        places.release()


def _copy_back(service: socket.socket, client: socket.socket) -> None:
    """Copy answers. The service ends a connection whole; a client that is idle would keep its place."""
    _copy(service, client)
    _end(client)


def _copy(source: socket.socket, target: socket.socket) -> None:
    """Copy until the source ends, and end the target's side; when either breaks, both end."""
    try:
        while True:
            data = source.recv(CHUNK_BYTES)
            if not data:
                break
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        for broken in (source, target):
            _end(broken)


def _end(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:  # the other end is gone already
        return
