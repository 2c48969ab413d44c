"""The GPUs of this machine, by device node; no driver library is loaded."""

from __future__ import annotations

import re
from pathlib import Path

_DEVICE = re.compile(r"nvidia(\d+)")
_SHARED_NODES = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset")


def present_gpus(dev: Path = Path("/dev")) -> tuple[int, ...]:
    """Return the indices of the GPUs whose device nodes exist."""
    if not dev.is_dir():
        return ()
    found = (_DEVICE.fullmatch(path.name) for path in dev.iterdir())
    return tuple(sorted(int(match[1]) for match in found if match))


def device_nodes(gpus: tuple[int, ...], dev: Path = Path("/dev")) -> tuple[str, ...]:
    """Return the device nodes a job with these GPUs needs, and no other GPU's."""
    if not gpus:
        return ()
    names = [f"nvidia{index}" for index in gpus] + list(_SHARED_NODES)
    return tuple(str(dev / name) for name in names if (dev / name).exists())
