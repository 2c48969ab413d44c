"""Samples the host and this process: /proc, and NVIDIA's driver where there is one. Never raises."""

from __future__ import annotations

import ctypes
import os
import time
from typing import TYPE_CHECKING, Any

from orchestrator_runtime.trace.record import Gpu, SystemSample

if TYPE_CHECKING:
    from collections.abc import Mapping

LIBRARY = "libnvidia-ml.so.1"
_IDLE, _IO_WAIT, _GUEST = 3, 4, 8  # fields of the first line of /proc/stat; see proc(5)
_USER_TIME, _PARENT_END, _RESIDENT = 11, 22, 21  # of /proc/self/stat behind the name


class Sampler:
    """Takes samples; percentages are those of the time since the sample before.

    Args:
        proc: Where the kernel's files are.
        gpus: What tells of GPUs; the driver's library by default.
    """

    def __init__(self, proc: str = "/proc", gpus: Gpus | None = None) -> None:
        self._proc = proc
        self._gpus = Gpus.open() if gpus is None else gpus
        self._times = self._cpu_times()

    def sample(self) -> SystemSample:
        """Return what is known now."""
        cpu, wait = self._percentages()
        seconds, resident = self._process()
        return SystemSample(
            time.time(),
            cpu,
            wait,
            self._gpus.read(),
            seconds,
            resident,
            os.cpu_count(),
            self._children(),
        )

    def _percentages(self) -> tuple[float | None, float | None]:
        before, self._times = self._times, self._cpu_times()
        if len(before) <= _IO_WAIT or len(before) != len(self._times):
            return None, None
        spent = [max(now - then, 0) for now, then in zip(self._times, before)]
        total = sum(spent)
        if not total:
            return None, None
        idle, waiting = spent[_IDLE], spent[_IO_WAIT]
        return 100.0 * (total - idle - waiting) / total, 100.0 * waiting / total

    def _cpu_times(self) -> list[int]:
        """Return ticks by kind; a guest's are part of its user's already."""
        try:
            return [int(word) for word in self._read("stat").split(b"\n")[0].split()[1:]][:_GUEST]
        except (OSError, ValueError, IndexError):
            return []

    def _process(self) -> tuple[float | None, int | None]:
        try:
            fields = self._read("self/stat").rpartition(b")")[2].split()
            ticks = int(fields[_USER_TIME]) + int(fields[_USER_TIME + 1])
            pages = int(fields[_RESIDENT])
            return ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE")
        except (OSError, ValueError, IndexError):
            return None, None

    def _children(self) -> int | None:
        """Return how many children all threads have, None if the kernel does not tell."""
        try:
            threads = os.listdir(f"{self._proc}/self/task")
        except OSError:
            return None
        count, told = 0, False
        for thread in threads:
            try:
                count += len(self._read(f"self/task/{thread}/children").split())
            except OSError:
                continue
            told = True
        return count if told else None

    def _read(self, name: str) -> bytes:
        with open(f"{self._proc}/{name}", "rb") as file:
            return file.read()


class _Utilization(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class _Memory(ctypes.Structure):
    _fields_ = (
        ("total", ctypes.c_ulonglong),
        ("free", ctypes.c_ulonglong),
        ("used", ctypes.c_ulonglong),
    )


class Gpus:
    """The GPUs that this process may use, by NVML's functions of version 2."""

    def __init__(self, library: Any = None, visible: str | None = None) -> None:
        """Take the library, loaded and started, or None where there are no GPUs."""
        self._library = library
        self._handles = [] if library is None else _handles(library, visible)

    @classmethod
    def open(cls, environment: Mapping[str, str] = os.environ) -> Gpus:
        """Load and start the driver's library, if there is one."""
        try:
            library = ctypes.CDLL(LIBRARY)
            if library.nvmlInit_v2():
                return cls()
            return cls(library, environment.get("CUDA_VISIBLE_DEVICES"))
        except (OSError, AttributeError):
            return cls()

    def read(self) -> tuple[Gpu, ...]:
        """Return all that answer."""
        found = []
        for handle in self._handles:
            used, memory = _Utilization(), _Memory()
            if self._library.nvmlDeviceGetUtilizationRates(handle, ctypes.byref(used)):
                continue  # e.g. a slice of a GPU (MIG), which has no figure of its own
            if self._library.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)):
                continue
            share = 100.0 * memory.used / memory.total if memory.total else 0.0
            found.append(Gpu(float(used.gpu), share))
        return tuple(found)


def _handles(library: Any, visible: str | None) -> list[ctypes.c_void_p]:
    """Return the devices that a list of numbers and names lets through; all without one.

    Numbers are the driver's (CUDA's own with CUDA_DEVICE_ORDER=PCI_BUS_ID).
    """
    if visible is None:
        count = ctypes.c_uint()
        if library.nvmlDeviceGetCount_v2(ctypes.byref(count)):
            return []
        words = [str(index) for index in range(count.value)]
    else:
        words = [word.strip() for word in visible.split(",")]
    handles = []
    for word in words:
        handle = ctypes.c_void_p()
        if word.isdecimal():
            failed = library.nvmlDeviceGetHandleByIndex_v2(int(word), ctypes.byref(handle))
        else:
            failed = library.nvmlDeviceGetHandleByUUID(word.encode(), ctypes.byref(handle))
        if failed:
            break  # as CUDA does: what comes behind a wrong word does not count
        handles.append(handle)
    return handles
