"""The process tree below the supervisor: who is in it, whom a stop must reach, how it is killed."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable, Iterable, Iterator
else:
    import _signal

PF_EXITING = 0x4
"""Kernel flag of a process that is about to end; its files are closed after that."""
PF_FORKNOEXEC = 0x40
"""Kernel flag of a process that was forked and has not executed a program of its own."""
_HELPERS = (b"multiprocessing.", b"--multiprocessing-fork", b"joblib.externals.loky")
"""Marks of processes that Python starts as parts of a program, though with an exec."""


class Process:
    """One process as /proc shows it."""

    __slots__ = ("children", "flags", "pid", "start_time")

    def __init__(self, pid: int, flags: int, start_time: int) -> None:
        self.pid = pid
        self.flags = flags
        self.start_time = start_time
        self.children: list[Process] = []

    @property
    def identity(self) -> tuple[int, int]:
        """What tells it from a later process with the same pid."""
        return self.pid, self.start_time


def roots_below(pid: int) -> list[Process]:
    """Return the living children of a process, each with its own tree.

    Processes that only wait to be reaped are left out. Empty where there is no /proc.
    """
    look = _children if os.path.exists(f"/proc/{pid}/task/{pid}/children") else _scan()
    top = Process(pid, 0, 0)
    pending = [top]
    while pending:
        node = pending.pop()
        node.children = look(node.pid)
        pending += node.children
    return top.children


def _children(pid: int) -> list[Process]:
    """Return the children of a process, which belong to any of its threads."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    found = []
    for thread in threads:
        for child in _read(f"/proc/{pid}/task/{thread}/children").split():
            process, _ = _look(int(child))
            if process is not None:
                found.append(process)
    return found


def _scan() -> Callable[[int], list[Process]]:
    """Return a look-up of children in a list of all processes, where the kernel keeps none."""
    parents: dict[int, list[Process]] = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        process, parent = _look(int(name)) if name.isdigit() else (None, 0)
        if process is not None:
            parents.setdefault(parent, []).append(process)
    return lambda pid: parents.pop(pid, [])


def _look(pid: int) -> tuple[Process | None, int]:
    """Return a process and its parent's pid; None if it is gone or only waits to be reaped."""
    stat = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    if len(stat) < 20 or _is_dead(stat):
        return None, 0
    return Process(pid, int(stat[6]), int(stat[19])), int(stat[1])


def _is_dead(stat: list[bytes]) -> bool:
    """Return whether a process has no thread left; its first one may end before the others."""
    return stat[0] in (b"Z", b"X") and int(stat[17]) <= 1


def walk(processes: Iterable[Process]) -> Iterator[Process]:
    """Yield the processes and all below them, parents first."""
    pending = list(processes)
    while pending:
        node = pending.pop()
        yield node
        pending += node.children


def stop_targets(roots: Iterable[Process]) -> list[Process]:
    """Return the processes that a graceful stop must reach: the user's own programs.

    Signals to a shell or launcher die there, so the *leaves* of the tree are asked. A program
    that forked workers without executing anything new (data loaders) counts as one leaf with
    them: its first process is asked if it handles SIGTERM or none of them does, else those
    workers that do.
    """
    targets = []
    for root in roots:
        for group in _leaf_programs(root):
            targets += _who_listens(group)
    return targets


def _leaf_programs(root: Process) -> Iterator[list[Process]]:
    """Yield, for each program without programs below it, its processes; the first one first."""
    pending = [root]
    while pending:
        top = pending.pop()
        members, others = [top], []
        inner = list(top.children)
        while inner:
            process = inner.pop()
            if _is_part(process):
                members.append(process)
                inner += process.children
            else:
                others.append(process)
        pending += others
        if not others:
            yield members


def _is_part(process: Process) -> bool:
    if process.flags & PF_FORKNOEXEC:
        return True
    command = _read(f"/proc/{process.pid}/cmdline")
    return any(mark in command for mark in _HELPERS)


def _who_listens(members: list[Process]) -> list[Process]:
    listening = [process for process in members if handles_sigterm(process.pid)]
    if not listening or listening[0] is members[0]:
        return members[:1]
    return listening


def handles_sigterm(pid: int) -> bool:
    """Return whether a process has a handler for SIGTERM."""
    for line in _read(f"/proc/{pid}/status").splitlines():
        if line.startswith(b"SigCgt:"):
            return bool(int(line.split()[1], 16) >> (_signal.SIGTERM - 1) & 1)
    return False


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that none can hide.

    The first process of a container is that already; other systems than Linux cannot.
    """
    if sys.platform.startswith("linux") and os.getpid() != 1:
        from orchestrator_runtime import native  # noqa: PLC0415 -- ctypes; bubblewrap needs it not

        native.adopt_orphans()


def send(pids: Iterable[int], number: int) -> None:
    """Signal processes; those that ended meanwhile are passed over."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):  # gone, or a set-uid program
            continue


def send_to_group(pid: int, number: int) -> None:
    """Signal the process group of a program that leads its session."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def kill_everything(child: int) -> int:
    """Kill the program and all below this process once; return how many were found alive."""
    if os.getpid() == 1:
        send((-1,), _signal.SIGKILL)  # a container of our own: all but us, at one instant
    if not sys.platform.startswith("linux"):
        send_to_group(child, _signal.SIGKILL)
        return 0
    alive = [process.pid for process in walk(roots_below(os.getpid()))]
    send(alive, _signal.SIGKILL)
    return len(alive)


def _read(path: str) -> bytes:
    """Return a file of /proc; empty when its process is gone."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read() or b""
    except OSError:
        return b""


def is_alive(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    stat = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return len(stat) > 17 and not _is_dead(stat)


def is_ending(pid: int) -> bool:
    """Return whether a process has ended or is about to."""
    process, _ = _look(pid)
    return process is None or bool(process.flags & PF_EXITING)
