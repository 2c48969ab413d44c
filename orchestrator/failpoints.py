"""Named steps at which a test can kill, stop or fail the driver.

Every step between two durable facts has a name in a registry; the crash tests walk the whole
of it, so a new step cannot be forgotten: an unknown name fails at once.
``ORCHESTRATOR_FAILPOINT=<name>:<kill|stop|raise|enospc>[:<marker file>]`` arms one; with a marker
file it fires once per file, so that the restarted process runs on. ``stop`` stops the process
until it gets SIGCONT; then it goes on as if nothing had been.
"""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

FAILPOINTS = (
    "submit.before_commit",
    "submit.after_commit",
    "stop.after_commit",
    "aside.before_move",
    "aside.between_moves",
    "aside.after_move",
    "place.before_commit",
    "place.after_commit",
    "stage.before_inputs",
    "stage.after_inputs",
    "start.before_plan",
    "start.after_plan",
    "start.after_spawn",
    "start.before_commit",
    "start.after_commit",
    "observe.before_commit",
    "observe.after_commit",
    "stop.before_signal",
    "stop.after_signal",
    "collect.before_publish",
    "collect.between_artifacts",
    "collect.after_publish",
    "end.before_commit",
    "end.after_commit",
    "retry.before_commit",
    "retry.after_commit",
    "cleanup.before_remove",
    "cleanup.after_remove",
)
"""On the way of a training job."""
TUNING_FAILPOINTS = (
    "create_tuning.before_commit",
    "create_tuning.after_commit",
    "stop_tuning.after_commit",
    "tune.before_commit",
    "tune.after_commit",
    "tune.after_submit",
    "tune_end.before_sweep",
)
"""On the way of a tuning job, beside those of its training jobs."""
VARIABLE = "ORCHESTRATOR_FAILPOINT"


def failpoint(name: str) -> None:
    """Do nothing, unless this point is armed by the environment.

    Args:
        name: One of ``FAILPOINTS`` or ``TUNING_FAILPOINTS``.

    Raises:
        KeyError: When the name is not registered.
        RuntimeError: When armed with ``raise``.
        OSError: When armed with ``enospc``.
    """
    if name not in FAILPOINTS and name not in TUNING_FAILPOINTS:
        raise KeyError(name)
    armed = os.environ.get(VARIABLE, "")
    if not armed.startswith(f"{name}:"):
        return
    _, action, *marker = armed.split(":", 2)
    if marker and not _first_time(Path(marker[0])):
        return
    _fire(name, action)


def _first_time(marker: Path) -> bool:
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _fire(name: str, action: str) -> None:
    if action == "enospc":
        raise OSError(errno.ENOSPC, "no space left on device (failpoint)", name)
    if action not in {"kill", "stop"}:
        raise RuntimeError(f"failpoint {name}")
    os.kill(os.getpid(), signal.SIGKILL if action == "kill" else signal.SIGSTOP)
