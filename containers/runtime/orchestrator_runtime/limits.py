"""Memory and CPU limits: a control group where one may be made, else the tree's memory is watched.

Never an address-space limit: frameworks reserve far more than they use.
"""

from __future__ import annotations

import os
import sys
import time

from orchestrator_runtime import tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orchestrator_runtime.cgroups import Group

SAMPLE_SECONDS = 0.5


class MemoryWatch:
    """Enforces the memory limit of one host and knows its peak."""

    def __init__(self, limit_bytes: int | None, group: Group | None) -> None:
        self._limit = limit_bytes
        self._group = group
        self._peak = 0
        self.due_at = float("inf")
        self.by = "none"
        if group is not None and group.limits_memory:
            self.by = group.kind
        elif limit_bytes is not None and sys.platform.startswith("linux"):
            self.by = "pss"
            self.due_at = 0.0

    def exceeded(self) -> bool:
        """Measure the tree; True if it uses more than it may."""
        self.due_at = time.monotonic() + SAMPLE_SECONDS
        if self._limit is None:
            return False
        used = tree_bytes(self._limit)
        self._peak = max(self._peak, used)
        return used > self._limit

    def kills(self) -> int:
        """Return how many processes the kernel killed for memory so far."""
        return self._group.out_of_memory_kills() if self._group is not None else 0

    def peak(self) -> int:
        """Return the largest use that was seen, in bytes; 0 if it was not measured."""
        if self._group is not None:
            self._peak = max(self._peak, self._group.peak_bytes())
        return self._peak

    def close(self) -> None:
        """Remove the control group; the peak stays known."""
        self.peak()
        if self._group is not None:
            self._group.remove()

    def kill(self) -> int:
        """Kill what is in the control group; return how many processes were found."""
        return self._group.kill() if self._group is not None else 0


def tree_bytes(limit: int) -> int:
    """Return what all processes below this one use.

    Resident sizes count shared pages once per process: only if their sum comes near the limit
    are the proportional sizes read, which costs milliseconds per GiB.
    """
    pids = [process.pid for process in tree.walk(tree.roots_below(os.getpid()))]
    resident = sum(_resident_bytes(pid) for pid in pids)
    if resident < limit * 0.8:
        return resident
    return sum(_proportional_bytes(pid) for pid in pids)


def _resident_bytes(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", "rb", buffering=0) as file:
            return int((file.read() or b"").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0  # it has ended


def _proportional_bytes(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb", buffering=0) as file:
            for line in (file.read() or b"").splitlines():
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        return _resident_bytes(pid)  # not readable for us: the larger number must do
    return 0
