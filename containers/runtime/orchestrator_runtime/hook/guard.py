"""Keeps the debugger's faults away from the program that it watches."""

from __future__ import annotations

import functools
import os
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

        @functools.wraps(function, updated=())
        def guarded(*args: Any, **kwargs: Any) -> Any | None:
            if not self.open:
                return None
            try:
                return function(*args, **kwargs)
            except Exception as error:  # noqa: BLE001
                self.caught(error)
                return None

        return guarded

    def caught(self, error: Exception) -> None:
        """Take note of what was raised."""
        self._faults += 1
        self.open = self._faults < MOST_FAULTS
        text = _description(error)
        if self.open:
            say(f"a step could not be recorded: {text}")
            return
        say(f"unmonitored from here on: {text}")
        try:
            records.send_record(
                {"kind": "debugger", "state": "unmonitored", "reason": text[:1000]}
            )
        except Exception as failure:  # noqa: BLE001
            say(f"that is known here only: {_description(failure)}")


def _description(error: Exception) -> str:
    place = traceback.extract_tb(error.__traceback__)[-1]
    try:
        text = str(error)
    except Exception as failure:  # noqa: BLE001 -- an error of the user's rule may be any class
        text = f"no text: {type(failure).__name__}"
    where = f"{os.path.basename(place.filename)}, line {place.lineno}"
    return f"{type(error).__name__}: {text} ({where})"
