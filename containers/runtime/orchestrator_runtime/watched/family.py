"""The processes of a bare command: whom a stop asks, and who must not be left behind."""

from __future__ import annotations

import os
import subprocess
import sys

from orchestrator_runtime import stopper, tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Container
else:
    import _signal


class Family(stopper.Stopper):
    """All below this process, and the graceful stop of them.

    Args:
        by_kernel: Whether /proc tells who they are, and orphans become ours. Elsewhere ``ps`` is
            asked; an orphan that has also left our process group is not found there.
    """

    def __init__(self, *, by_kernel: bool = sys.platform.startswith("linux")) -> None:
        super().__init__()
        self._by_kernel = by_kernel
        self._before: frozenset[int] = frozenset()
        if by_kernel:
            tree.adopt_orphans()
        else:
            self._before = frozenset(row[0] for row in _rows()[0])

    def ask_once(self, child: int) -> None:
        """Send SIGTERM to the user's programs, as `Stopper` does, without a deadline."""
        asked, self._asked = self._asked, set()
        self._ask_programs(child)
        self._asked |= asked

    def members(self, child: int) -> list[int]:
        """Return the processes that live."""
        if self._by_kernel:
            return [process.pid for process in tree.walk(tree.roots_below(os.getpid()))]
        return self._listed(child)

    def kill(self, child: int) -> None:
        """Send SIGKILL to everyone."""
        tree.send(self.members(child), _signal.SIGKILL)

    def _ask_programs(self, child: int) -> None:
        if self._by_kernel:
            programs = tree.stop_targets(tree.roots_below(os.getpid()))
            found = [process.identity for process in programs]
        else:  # neither what a process handles nor how it was made is known: all are asked
            found = [(pid, 0) for pid in self._listed(child)]
        new = [identity for identity in found if identity not in self._asked]
        self._asked.update(new)
        tree.send((pid for pid, _ in new), _signal.SIGTERM)

    def _listed(self, child: int) -> list[int]:
        """Return the living processes below this one, and orphans of its group."""
        rows, lister = _rows()
        besides = self._before | {lister}
        return members_of(
            rows, own=os.getpid(), own_group=os.getpgrp(), child=child, besides=besides
        )


def _rows() -> tuple[list[tuple[int, ...]], int]:
    """Return pid, parent and process group of all processes that live, and the pid of ``ps``."""
    command = ("ps", "-A", "-o", "pid=,ppid=,pgid=,stat=")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as lister:
        text, _ = lister.communicate()
    rows = [line.split() for line in text.decode("ascii", "replace").splitlines()]
    return [
        tuple(map(int, row[:3])) for row in rows if len(row) > 3 and row[3][0] != "Z"
    ], lister.pid


def members_of(
    rows: list[tuple[int, ...]], *, own: int, own_group: int, child: int, besides: Container[int]
) -> list[int]:
    """Return who belongs to a family.

    Args:
        rows: Pid, parent and process group of each process.
        own: This process.
        own_group: Its group, which a shell may have filled with other commands of a pipeline.
        child: The command, which may lead a group.
        besides: Processes that are none of it: above all those that were there before, such as the
            script that has started us, which may be an orphan of our group itself.
    """
    children: dict[int, list[int]] = {}
    for pid, parent, group in rows:
        orphan = parent == 1 and group == own_group
        children.setdefault(own if orphan or group == child else parent, []).append(pid)
    found: list[int] = []
    pending = [own]
    while pending:
        below = [
            pid for pid in children.pop(pending.pop(), ()) if pid != own and pid not in besides
        ]
        found += below
        pending += below
    return found
