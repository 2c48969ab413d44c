"""Control groups, versions 1 and 2: one group per host, made below the supervisor's own."""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orchestrator_runtime.contract import Limits

_KILL = 9
_CPU_PERIOD_US = 100_000
_YOUNG_SECONDS = 60
CONTROLLERS = frozenset({"memory", "cpu", "pids"})
PREFIX = "orchestrator-"
"""Names of groups begin with this and end with their supervisor's pid."""


class Group:
    """One control group; in version 1 it has a directory per controller."""

    def __init__(self, kind: str, directories: dict[str, str], aside: str | None = None) -> None:
        self.kind = kind
        self._aside = aside
        self._directories = directories
        self.limits_memory = False
        self.limits_cpu = False

    def enter(self) -> None:
        """Move the calling process in; its children follow."""
        for directory in set(self._directories.values()):
            _write(f"{directory}/cgroup.procs", "0")

    def limit(self, limits: Limits) -> None:
        """Set the limits that the group can enforce."""
        memory, cpus, pids = limits["memory_bytes"], limits["cpus"], limits.get("pids")
        if memory is not None and "memory" in self._directories:
            self.limits_memory = self._limit_memory(self._directories["memory"], memory)
        if cpus is not None and "cpu" in self._directories:
            self.limits_cpu = self._limit_cpu(self._directories["cpu"], cpus)
        if pids is not None and "pids" in self._directories:
            _try_write(f"{self._directories['pids']}/pids.max", str(pids))

    def _limit_memory(self, directory: str, limit: int) -> bool:
        if self.kind == "cgroup-v2":
            _try_write(f"{directory}/memory.swap.max", "0")
            return _try_write(f"{directory}/memory.max", str(limit))
        done = _try_write(f"{directory}/memory.limit_in_bytes", str(limit))
        _try_write(f"{directory}/memory.memsw.limit_in_bytes", str(limit))
        return done

    def _limit_cpu(self, directory: str, cpus: float) -> bool:
        quota = max(int(cpus * _CPU_PERIOD_US), 1000)
        if self.kind == "cgroup-v2":
            return _try_write(f"{directory}/cpu.max", f"{quota} {_CPU_PERIOD_US}")
        _try_write(f"{directory}/cpu.cfs_period_us", str(_CPU_PERIOD_US))
        return _try_write(f"{directory}/cpu.cfs_quota_us", str(quota))

    def peak_bytes(self) -> int:
        """Return the most memory the group ever used; 0 if it is not counted."""
        directory = self._directories.get("memory")
        name = "memory.peak" if self.kind == "cgroup-v2" else "memory.max_usage_in_bytes"
        text = _read(f"{directory}/{name}") if directory else ""
        return int(text) if text.strip().isdigit() else 0

    def out_of_memory_kills(self) -> int:
        """Return how many processes of the group the kernel killed for memory."""
        directory = self._directories.get("memory")
        name = "memory.events" if self.kind == "cgroup-v2" else "memory.oom_control"
        for line in _read(f"{directory}/{name}").splitlines() if directory else ():
            key, _, value = line.partition(" ")
            if key == "oom_kill":
                return int(value)
        return 0

    def kill(self) -> int:
        """Kill all processes of the group once; return how many were found."""
        found = 0
        for directory in set(self._directories.values()):
            _try_write(f"{directory}/cgroup.kill", "1")
            for pid in _read(f"{directory}/cgroup.procs").split():
                found += 1
                try:
                    os.kill(int(pid), _KILL)
                except ProcessLookupError:
                    continue
        return found

    def remove(self) -> None:
        """Remove the group; one that is still busy stays, until a later supervisor sweeps."""
        for directory in set(self._directories.values()):
            _remove(directory)
        if self._aside is not None:
            own = os.path.dirname(self._aside)
            for controller in CONTROLLERS:
                _try_write(f"{own}/cgroup.subtree_control", f"-{controller}")
            _try_write(f"{own}/cgroup.procs", "0")
            _remove(self._aside)


def create(name: str, limits: Limits) -> Group | None:
    """Make a group with these limits; None if nothing is to be limited or none may be made."""
    if limits["memory_bytes"] is None and limits["cpus"] is None and limits.get("pids") is None:
        return None
    group = _create_v2(name) or _create_v1(name)
    if group is not None:
        group.limit(limits)
    return group


def _create_v1(name: str) -> Group | None:
    mounts = _mounts("cgroup")
    directories = {}
    for line in _read("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in CONTROLLERS.intersection(controllers.split(",")):
            parent = _locate(mounts, controller, path)
            if parent is None or not os.path.isdir(parent):
                continue
            _sweep(parent)
            if _make(f"{parent}/{name}"):
                directories[controller] = f"{parent}/{name}"
    return Group("cgroup-v1", directories) if directories else None


def _create_v2(name: str) -> Group | None:
    """Make a group below our own, which must be delegated to us and hold nobody else.

    A group with controllers may hold no processes itself: the supervisor moves to a sibling.
    """
    for line in _read("/proc/self/cgroup").splitlines():
        if not line.startswith("0::"):
            continue
        own = _locate(_mounts("cgroup2"), "", line[3:])
        if own is None or "memory" not in _read(f"{own}/cgroup.controllers").split():
            return None
        aside, inner = f"{own}/supervisor-{os.getpid()}", f"{own}/{name}"
        if not _make(aside):
            return None
        if _try_write(f"{aside}/cgroup.procs", "0"):
            for controller in CONTROLLERS:
                _try_write(f"{own}/cgroup.subtree_control", f"+{controller}")
            if "memory" in _read(f"{own}/cgroup.subtree_control").split() and _make(inner):
                return Group("cgroup-v2", dict.fromkeys(CONTROLLERS, inner), aside)
            _try_write(f"{own}/cgroup.procs", "0")
        _remove(aside)
    return None


def _mounts(kind: str) -> list[tuple[str, str, set[str]]]:
    """Return root, mount point and options of the mounts of one file system type."""
    found = []
    for line in _read("/proc/self/mountinfo").splitlines():
        mine, _, rest = line.partition(" - ")
        fields, details = mine.split(), rest.split()
        if details and details[0] == kind:
            found.append((fields[3], fields[4], set(details[-1].split(","))))
    return found


def _locate(mounts: list[tuple[str, str, set[str]]], controller: str, path: str) -> str | None:
    for root, point, options in mounts:
        if controller and controller not in options:
            continue
        below = os.path.relpath(path, root) if root != "/" else path.lstrip("/")
        if not below.startswith(".."):
            return os.path.normpath(os.path.join(point, below))
    return None


def _sweep(parent: str) -> None:
    """Remove the empty groups of supervisors that were killed.

    Young ones are left: they may belong to a supervisor of another pid namespace.
    """
    for name in os.listdir(parent):
        pid = name.rpartition("-")[2]
        if name.startswith(PREFIX) and pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
            try:
                age = time.time() - os.stat(f"{parent}/{name}").st_mtime
            except FileNotFoundError:
                continue
            if age > _YOUNG_SECONDS:
                _remove(f"{parent}/{name}")


def _remove(directory: str) -> None:
    """Remove a group if it is empty."""
    try:
        os.rmdir(directory)
    except OSError:
        return


def _make(directory: str) -> bool:
    try:
        os.mkdir(directory)
    except OSError:
        return False
    return True


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _try_write(path: str, text: str) -> bool:
    try:
        _write(path, text)
    except OSError:
        return False
    return True


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
