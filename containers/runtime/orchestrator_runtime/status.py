"""Phases of one host: ``status.json`` and the datagram that wakes the driver."""

from __future__ import annotations

import errno
import os
import time

from orchestrator_runtime import contract, files, jsonlite

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket as _socket

    from orchestrator_runtime.contract import HostPlan, PhaseRecord
else:
    import _socket  # the socket package imports selectors and enum

# A driver that is away, busy or gone: it will look by itself. Anything else is worth a trace.
_NOBODY_LISTENS = frozenset(
    {errno.ENOENT, errno.ECONNREFUSED, errno.EAGAIN, errno.ENOBUFS, errno.EACCES, errno.EPERM}
)


def now() -> float:
    """Return the wall-clock time in epoch seconds, to the microsecond."""
    return time.time_ns() // 1000 / 1e6


class Status:
    """What this host is doing, and since when."""

    def __init__(self, directory: str | None, plan: HostPlan | None) -> None:
        """Start without a phase. Without a directory nothing is written, without a plan nobody told."""
        self._path = os.path.join(directory, contract.STATUS_FILE) if directory else None
        self._plan = plan
        self.phases: list[PhaseRecord] = []
        self.program_pid: int | None = None

    def enter(self, phase: str, *, tell: bool = True) -> None:
        """Record a phase change and tell the driver, unless there will be more to tell at once."""
        self.phases.append({"phase": phase, "at": now()})
        self.write()
        if tell:
            self.poke(phase)

    def write(self) -> None:
        """Write ``status.json``. A full disk is no reason to disturb the job."""
        if self._path is None:
            return
        try:
            files.write_object(
                self._path,
                {
                    "format": contract.FORMAT,
                    "phase": self.phases[-1]["phase"] if self.phases else "",
                    "phases": self.phases,
                    "program_pid": self.program_pid,
                },
                durable=False,
            )
        except OSError:
            return

    def poke(self, phase: str) -> None:
        """Send one datagram to whoever listens; never waits, never fails."""
        if self._plan is None or not self._plan["notify"]:
            return
        address = self._plan["notify"]
        message = jsonlite.dumps(
            {
                "job_name": self._plan["job_name"],
                "attempt": self._plan["attempt"],
                "host": self._plan["host"],
                "phase": phase,
            }
        ).encode()
        try:
            sender = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
            try:
                sender.setblocking(False)
                sender.sendto(message, address)
            finally:
                sender.close()
        except OSError as error:
            # "path too long" comes without an errno
            if error.errno is not None and error.errno not in _NOBODY_LISTENS:
                os.write(2, f"notify {address}: {error}\n".encode())
