"""Who drives: one process per home holds the lock, the others stand by.

The lock is a file lock in the home directory (a lease row on PostgreSQL). The process that holds
it runs the driver thread; the operating system gives the lock back when it dies.
"""

from __future__ import annotations

import fcntl
import logging
import os
import platform
import selectors
import socket
import sys
import threading
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import OrchestratorError, StaleLock, StoreDamaged
from orchestrator.home import socket_path
from orchestrator.scheduler.loop import LEASE_SECONDS, Driver
from orchestrator.service.file_lock import FileLock
from orchestrator.service.sockets import SocketName, poke

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.clock import Clock
    from orchestrator.store.base import DriverLease, Store

logger = logging.getLogger(__name__)

WAKE_SOCKET = "wake.sock"
SWITCH_SECONDS = 0.0005
"""How long a thread computes before another one may. Python's 5 ms are waited for after every
write to the disk while another thread computes, and a short job has some ten of them in its way."""
LONG_QUEUE = 50
LONG_ROUND_SECONDS = 0.02
REST_SHARE = 6.0
RUNNING_POLL_SECONDS = 1.0
IDLE_ROUND_SECONDS = 30.0
STANDBY_POLL_SECONDS = 1.0
RETRY_SECONDS = (1.0, 1.0, 2.0, 5.0, 10.0, 30.0)
LOOKED_AT_SECONDS = 0.1
"""For how long somebody who only looks at the lock may be taken for its holder."""


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


class DriverLock(FileLock):
    """The file lock of a home directory."""

    def __init__(self, home: Path) -> None:
        super().__init__(home / "driver.lock")

    @staticmethod
    def is_held(home: Path) -> bool:
        """Return whether some process drives this home."""
        try:
            descriptor = os.open(home / "driver.lock", os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False


class WakeSocket:
    """Datagram socket of who drives.

    Args:
        path: Where it is.
        asked: Called when another process has written down what it wants: an empty datagram.
        seen: Called when a supervisor has something to show: it says what.
    """

    def __init__(self, path: Path, *, asked: Callable[[], None], seen: Callable[[], None]) -> None:
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.bind(str(path))
            self._name = SocketName(path)
            path.chmod(0o600)
            self._closing, self._close = socket.socketpair()
        except OSError:
            self._socket.close()
            raise
        self._asked, self._seen = asked, seen
        self._thread = threading.Thread(target=self._listen, name="wake", daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            selector.register(self._closing, selectors.EVENT_READ)
            while all(key.fileobj is self._socket for key, _ in selector.select()):
                if self._socket.recv(4096):
                    self._seen()
                else:
                    self._asked()

    def close(self) -> None:
        """Stop listening and remove the socket."""
        self._close.close()
        self._thread.join()
        self._closing.close()
        self._name.remove()
        self._socket.close()


class Driving:
    """Competes for the lock and, while holding it, runs the driver in a thread.

    Args:
        home: The home directory.
        store: The state.
        make_driver: Builds the driver for a lease.
        clock: The time.
        use_file_lock: Whether the lock file decides (SQLite), or only the lease row.
        lease_seconds: How long the lease row holds without being renewed.
        on_start: Called before the driver is built, until it succeeds: cleans up after a
            predecessor.
        on_end: Called when driving has ended, before the lock is given back.
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
        on_end: Callable[[], None],
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._home = home
        self._store = store
        self._make_driver = make_driver
        self._clock = clock
        self._lock = DriverLock(home) if use_file_lock else None
        self._on_start = on_start
        self._on_end = on_end
        self._scope = machine_scope()
        # Containers may have equal names and process ids; a lease has one owner all the same.
        self._owner = f"{platform.node()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._lease_seconds = lease_seconds
        self._wakes = threading.Event()
        self._closing = threading.Event()
        self._driving = threading.Event()
        self._settled = False  # a whole round was made since the last wake
        self._unfinished = 0
        self._trouble = ""
        self._idle_since = clock.monotonic()
        self._thread: threading.Thread | None = None

    # -- what others ask -------------------------------------------------------------------

    @property
    def is_driving(self) -> bool:
        """Whether this process drives now."""
        return self._driving.is_set()

    def wake(self) -> None:
        """Say, here or to the process that drives, that another tick is worth while."""
        self._wakes.set()
        if not self.is_driving:
            poke(socket_path(self._home, WAKE_SOCKET))

    def is_idle(self, seconds: float) -> bool:
        """Return whether there has been nothing to do for so long."""
        if not self._settled or self._unfinished or self._wakes.is_set():
            return False
        return self._clock.monotonic() - self._idle_since >= seconds

    def try_start(self) -> bool:
        """Begin to drive if nobody else does; return whether this process drives.

        Raises:
            StoreError, LimitExceeded: The lock or the store cannot be written.
        """
        lease = self._acquire(patience_seconds=LOOKED_AT_SECONDS)
        if lease is None:
            return False
        self._driving.set()
        self._thread = threading.Thread(
            target=self._run, args=(lease,), name="driver", daemon=True
        )
        self._thread.start()
        return True

    def stand_by(self) -> None:
        """Drive as soon as nobody else does, whenever that is; returns at once. Idempotent."""
        if self._thread is not None and self._thread.is_alive():
            return
        lease = self._acquire_soon()
        if lease is not None:
            self._driving.set()
        self._thread = threading.Thread(
            target=self._stand_by, args=(lease,), name="driver", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop driving; running jobs go on."""
        self._closing.set()
        self._wakes.set()
        if self._thread is not None:
            self._thread.join()

    # -- the thread ------------------------------------------------------------------------

    def _acquire(self, patience_seconds: float = 0.0) -> DriverLease | None:
        if self._lock is not None and not self._lock.acquire(patience_seconds):
            return None
        lease = None
        try:
            lease = self._store.acquire_driver(
                self._scope,
                owner=self._owner,
                now=self._store.lease_time(self._clock),
                ttl_seconds=self._lease_seconds,
                force=self._lock is not None,
            )
        finally:
            if lease is None and self._lock is not None:
                self._lock.release()
        return lease

    def _acquire_soon(self) -> DriverLease | None:
        """Return a lease; None where there is none now, whatever the cause."""
        try:
            return self._acquire()
        except OrchestratorError as error:
            if error.message != self._trouble:  # once, not every second
                logger.warning("standing by: %s", error.message)
            self._trouble = error.message
            return None

    def _stand_by(self, lease: DriverLease | None) -> None:
        while not self._closing.is_set():
            if lease is not None:
                self._run(lease)
            self._closing.wait(STANDBY_POLL_SECONDS)
            lease = None if self._closing.is_set() else self._acquire_soon()

    def _run(self, lease: DriverLease) -> None:
        self._driving.set()
        sys.setswitchinterval(SWITCH_SECONDS)
        try:
            self._drive(lease)
        except StaleLock as error:
            logger.warning("another driver has taken over %s: %s", self._scope, error.message)
        except StoreDamaged as error:
            logger.error("driving ends: %s", error.message)  # noqa: TRY400  # no traceback
        finally:
            self._driving.clear()
            self._settled = False
            self._on_end()
            self._give_back(lease)

    def _give_back(self, lease: DriverLease) -> None:
        try:
            self._store.release_driver(lease)
        except OrchestratorError as error:
            logger.warning("the driver's lease stays until it expires: %s", error.message)
        finally:
            if self._lock is not None:
                self._lock.release()

    def _drive(self, lease: DriverLease) -> None:
        """Tick until this process ends or another one drives. No fault of a tick ends it."""
        driver: Driver | None = None
        tries = 0
        while not self._closing.is_set():
            self._settled = False
            self._wakes.clear()
            self._check_lock()
            try:
                if driver is None:
                    self._on_start()
                    driver = self._make_driver(lease)
                began = self._clock.monotonic()
                unfinished = driver.tick()
                took = self._clock.monotonic() - began
            except (StaleLock, StoreDamaged):
                raise
            except OrchestratorError as error:
                logger.warning("the store does not answer: %s", error.message)
            except Exception:
                logger.exception("a round of the driver failed")
            else:
                tries = 0
                self._note(unfinished)
                if took > LONG_ROUND_SECONDS and unfinished > LONG_QUEUE:
                    # A long queue makes long rounds: leave most of this process to its clients.
                    self._closing.wait(min(REST_SHARE * took, RUNNING_POLL_SECONDS))
                self._pause(unfinished)
                continue
            self._closing.wait(RETRY_SECONDS[min(tries, len(RETRY_SECONDS) - 1)])
            tries += 1

    def _check_lock(self) -> None:
        if self._lock is not None and not self._lock.is_in_place:
            raise StaleLock(
                f"the lock of {self._home} must not be removed while it is held, it is gone or "
                "another file; what still runs is found again by the next driver"
            )

    def _note(self, unfinished: int) -> None:
        if not unfinished and self._unfinished:
            self._idle_since = self._clock.monotonic()
        self._unfinished = unfinished
        self._settled = True

    def _pause(self, unfinished: int) -> None:
        """Wait until there may be something to do."""
        if unfinished or self._lock is None:
            # Without a lock file, jobs may come from services that cannot poke this process.
            self._wakes.wait(RUNNING_POLL_SECONDS)
            return
        # Whoever has the lock drives, whatever the lease says: only the lock is looked at.
        until = self._clock.monotonic() + IDLE_ROUND_SECONDS
        while not self._wakes.wait(self._lease_seconds / 3):
            self._check_lock()
            if self._clock.monotonic() >= until:
                return
