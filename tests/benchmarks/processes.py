"""What is measured of processes: time, memory, processor."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

MEGA = 1e6


@dataclass(frozen=True)
class Spent:
    """What one program took from start to end."""

    seconds: float
    cpu_seconds: float


def spend(argv: Sequence[str], environment: Mapping[str, str], folder: Path) -> Spent:
    """Run a program to its end, its output thrown away unless it fails.

    Raises:
        RuntimeError: It failed.
    """
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            argv,
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            said = output.read()[-2000:].decode("utf-8", "replace")
            raise RuntimeError(f"{argv[0]} ended with {process.returncode}: {said}")
    return Spent(seconds, used.ru_utime + used.ru_stime)


def status_mb(pid: int, name: str = "VmRSS") -> float:
    """Return a memory line of a process's status in MB (10^6 bytes)."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 / MEGA
    raise LookupError(f"process {pid} has no {name}")


def pss_mb(pid: int) -> float:
    """Return a process's memory with shared pages divided among those who share them, in MB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / MEGA
    raise LookupError(f"process {pid} has no Pss")


def private_mb(pid: int) -> float:
    """Return the memory that would be free if a process ended, in MB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    kilobytes = sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))
    return kilobytes * 1024 / MEGA


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the processor time of processes so far."""
    ticks = 0
    for pid in pids:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        fields = stat.rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    """Return the process ids of a process's children."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += map(int, (task / "children").read_text(encoding="ascii").split())
    return found


def is_gone(pid: int) -> bool:
    """Whether a process has ended; a zombie has."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"
