"""The graceful stop: SIGTERM to the user's programs, a deadline, then the end of the whole tree."""

from __future__ import annotations

import os
import sys
import time

from orchestrator_runtime import contract, files, tree
from orchestrator_runtime.status import now

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal

    from orchestrator_runtime.contract import Outcome, StopRequest
else:
    import _signal

ROUND_SECONDS = 0.5
"""How often programs that appeared meanwhile are asked too."""


def read_request(directory: str | None) -> StopRequest | None:
    """Return the driver's request to stop, None if there is none (or none that can be read)."""
    if directory is None:
        return None
    try:
        request = files.read_object(os.path.join(directory, contract.STOP_FILE))
        return {
            "intent": str(request["intent"]),
            "requested_at": float(request["requested_at"]),
            "grace_seconds": float(request["grace_seconds"]),
        }
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        os.write(2, f"{contract.STOP_FILE} is no request to stop: {error!r}\n".encode())
        return None


def seconds_left(request: StopRequest) -> float:
    """Return what is left of the grace; a clock that jumped can only shorten it."""
    spent = now() - request["requested_at"]
    return min(max(request["grace_seconds"] - spent, 0.0), max(request["grace_seconds"], 0.0))


class Stopper:
    """A stop under way. ``outcome`` is None until one was asked for; the first one names it."""

    def __init__(self) -> None:
        self.outcome: Outcome | None = None
        self.intent: str | None = None
        self._kill_at = 0.0
        self._next_round = 0.0
        self._asked: set[tuple[int, int]] = set()

    def ask(self, outcome: Outcome, intent: str | None, grace_seconds: float) -> bool:
        """Begin a stop; a later, stricter one only brings the end forward. True for the first."""
        kill_at = time.monotonic() + grace_seconds
        if self.outcome is None:
            self.outcome, self.intent = outcome, intent
            self._kill_at = kill_at
            return True
        self._kill_at = min(self._kill_at, kill_at)
        return False

    @property
    def wake_at(self) -> float | None:
        """When ``tick`` is due, in monotonic time."""
        if self.outcome is None:
            return None
        return min(self._next_round, self._kill_at)

    def tick(self, child: int) -> bool:
        """Ask the programs that were not asked yet; True when the grace is over."""
        moment = time.monotonic()
        if moment >= self._kill_at:
            return True
        if moment >= self._next_round:
            self._next_round = moment + ROUND_SECONDS
            self._ask_programs(child)
        return False

    def _ask_programs(self, child: int) -> None:
        if not sys.platform.startswith("linux"):
            if not self._asked:
                self._asked.add((child, 0))
                tree.send_to_group(child, _signal.SIGTERM)
            return
        for process in tree.stop_targets(tree.roots_below(os.getpid())):
            if process.identity not in self._asked:
                self._asked.add(process.identity)
                tree.send((process.pid,), _signal.SIGTERM)
