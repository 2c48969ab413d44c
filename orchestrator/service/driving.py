"""Who drives: one process per home holds the lock, the others stand by.

The lock is a file lock in the home directory (a lease row on PostgreSQL). The process that holds
it runs the driver thread; the operating system gives the lock back when it dies.
"""

from __future__ import annotations

import fcntl
import logging
import os
import platform
import socket
import threading
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import OrchestratorError, StaleLock, StoreError
from orchestrator.scheduler.loop import LEASE_SECONDS, Driver

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.clock import Clock
    from orchestrator.store.base import DriverLease, Store

logger = logging.getLogger(__name__)

WAKE_SOCKET = "wake.sock"
RUNNING_POLL_SECONDS = 1.0
STANDBY_POLL_SECONDS = 1.0
STORE_RETRY_SECONDS = 1.0


def machine_scope() -> str:
    """Return what this machine's drivers are responsible for: its own processes and engine."""
    for path in (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id")):
        try:
            text = path.read_text("ascii").strip()
        except OSError:
            continue
        if text:
            return f"host:{text}"
    return f"host:{platform.node()}-{uuid.getnode():x}"


class DriverLock:
    """The file lock of a home directory."""

    def __init__(self, home: Path) -> None:
        self._path = home / "driver.lock"
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Take the lock unless another process holds it."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Give the lock back. Idempotent."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @staticmethod
    def is_held(home: Path) -> bool:
        """Return whether some process drives this home."""
        probe = DriverLock(home)
        if not (home / "driver.lock").exists():
            return False
        if probe.acquire():
            probe.release()
            return False
        return True


class WakeSocket:
    """Datagram socket that supervisors poke when something happened."""

    def __init__(self, path: Path, wake: Callable[[], None]) -> None:
        self.path = path
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        path.chmod(0o600)
        self._wake = wake
        self._thread = threading.Thread(target=self._listen, name="wake", daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while True:
            try:
                message = self._socket.recv(4096)
            except OSError:
                return
            if message == b"close":
                return
            self._wake()

    def close(self) -> None:
        """Stop listening and remove the socket."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
            own.sendto(b"close", str(self.path))
        self._thread.join()
        self._socket.close()
        self.path.unlink(missing_ok=True)


class Driving:
    """Competes for the lock and, while holding it, runs the driver in a thread.

    Args:
        home: The home directory.
        store: The state.
        make_driver: Builds the driver for a lease.
        clock: The time.
        use_file_lock: Whether the lock file decides (SQLite), or only the lease row.
        on_start: Called once when driving begins: cleans up after a predecessor.
    """

    def __init__(
        self,
        *,
        home: Path,
        store: Store,
        make_driver: Callable[[DriverLease], Driver],
        clock: Clock,
        use_file_lock: bool,
        on_start: Callable[[], None],
    ) -> None:
        self._home = home
        self._store = store
        self._make_driver = make_driver
        self._clock = clock
        self._lock = DriverLock(home) if use_file_lock else None
        self._on_start = on_start
        self._scope = machine_scope()
        self._wakes = threading.Event()
        self._closing = threading.Event()
        self._driving = threading.Event()
        self._unfinished = 0
        self._idle_since = clock.monotonic()
        self._thread: threading.Thread | None = None

    # -- what others ask -------------------------------------------------------------------

    @property
    def is_driving(self) -> bool:
        """Whether this process drives now."""
        return self._driving.is_set()

    def wake(self) -> None:
        """Say that another tick is worth while."""
        self._wakes.set()

    def idle_seconds(self) -> float:
        """Return for how long there has been nothing to do; 0 while there is."""
        if self._unfinished or self._wakes.is_set():
            return 0.0
        return self._clock.monotonic() - self._idle_since

    def try_start(self) -> bool:
        """Begin to drive if nobody else does; return whether this process drives."""
        lease = self._acquire()
        if lease is None:
            return False
        self._driving.set()
        self._thread = threading.Thread(
            target=self._run, args=(lease,), name="driver", daemon=True
        )
        self._thread.start()
        return True

    def stand_by(self) -> None:
        """Drive as soon as nobody else does; returns at once."""
        if self.try_start():
            return
        self._thread = threading.Thread(target=self._wait_for_lock, name="standby", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop driving; running jobs go on."""
        self._closing.set()
        self._wakes.set()
        if self._thread is not None:
            self._thread.join()

    # -- the thread ------------------------------------------------------------------------

    def _acquire(self) -> DriverLease | None:
        if self._lock is not None and not self._lock.acquire():
            return None
        lease = self._store.acquire_driver(
            self._scope,
            owner=f"{platform.node()}:{os.getpid()}",
            now=self._clock.now(),
            ttl_seconds=LEASE_SECONDS,
            force=self._lock is not None,
        )
        if lease is None and self._lock is not None:
            self._lock.release()
        return lease

    def _wait_for_lock(self) -> None:
        while not self._closing.wait(STANDBY_POLL_SECONDS):
            try:
                lease = self._acquire()
            except StoreError as error:
                logger.warning("standing by: %s", error.message)
                continue
            if lease is not None:
                self._driving.set()
                self._run(lease)
                return

    def _run(self, lease: DriverLease) -> None:
        try:
            self._on_start()
            self._drive(self._make_driver(lease))
        except StaleLock:
            logger.warning("another driver has taken over %s", self._scope)
        except Exception:
            logger.exception("the driver failed")
            raise
        finally:
            self._driving.clear()
            self._give_back(lease)

    def _give_back(self, lease: DriverLease) -> None:
        try:
            self._store.release_driver(lease)
        except OrchestratorError as error:
            logger.warning("the driver's lease stays until it expires: %s", error.message)
        if self._lock is not None:
            self._lock.release()

    def _drive(self, driver: Driver) -> None:
        while not self._closing.is_set():
            self._wakes.clear()
            try:
                unfinished = driver.tick()
            except StaleLock:
                raise
            except OrchestratorError as error:
                logger.warning("the store does not answer: %s", error.message)
                self._wakes.wait(STORE_RETRY_SECONDS)
                continue
            if self._unfinished and not unfinished:
                self._idle_since = self._clock.monotonic()
            self._unfinished = unfinished
            self._wakes.wait(RUNNING_POLL_SECONDS if unfinished else LEASE_SECONDS / 3)
