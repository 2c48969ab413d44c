"""Keeps the debugger's faults away from the program that it watches."""

from __future__ import annotations

import functools
import traceback
from typing import TYPE_CHECKING, Any

from orchestrator_runtime import records
from orchestrator_runtime.hook.monitor import say

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_FAULTS = 3


class Guard:
    """Catches what the debugger's own code raises; after MOST_FAULTS it is left out altogether.

    Attributes:
        open: Whether the debugger still works.
    """

    def __init__(self) -> None:
        self.open = True
        self._faults = 0

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any | None]:
        """Wrap a function so that it returns None instead of raising."""

        @functools.wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> Any | None:
            if not self.open:
                return None
            try:
                return function(*args, **kwargs)
            except Exception as error:  # noqa: BLE001
                self._fault(error)
                return None

        return guarded

    def _fault(self, error: Exception) -> None:
        self._faults += 1
        place = traceback.extract_tb(error.__traceback__)[-1]
        text = f"{type(error).__name__}: {error} ({place.name}, line {place.lineno})"
        if self._faults < MOST_FAULTS:
            say(f"a step could not be recorded: {text}")
            return
        self.open = False
        say(f"unmonitored from here on: {text}")
        records.send_record({"kind": "debugger", "state": "unmonitored", "reason": text[:1000]})
