"""What a program says itself: scalars and tensors for the next step's record; pure.

``report_metric`` tells them as well while anything is watched; see `orchestrator_runtime.records`.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from orchestrator_runtime import records
from orchestrator_runtime.rules.documented.tensors import OWN_SCALARS

if TYPE_CHECKING:
    from collections.abc import Callable

RESERVED = frozenset((*OWN_SCALARS, "_found_inf", "_unscale"))
"""Scalars that the recorder makes itself. A reported ``loss`` counts where none was seen."""
MOST_NAMES = 1000
"""Different names in one run: a trace numbers them, and one with steps in them never ends."""


class Given:
    """What was given since the last step; safe in threads.

    Args:
        save: Takes name, tensor and collection; None where no tensors are taken.
    """

    def __init__(self, save: Callable[[str, Any, str], None] | None = None) -> None:
        self.save = save
        self._lock = threading.Lock()
        self._scalars: dict[str, Any] = {}
        self._names: set[str] = set()

    def scalar(self, name: str, value: Any) -> None:
        """Keep a number, the latest of its name."""
        if name in RESERVED:
            return
        with self._lock:
            if name not in self._names:
                if len(self._names) >= MOST_NAMES:
                    return
                self._names.add(name)
            self._scalars[name] = value

    def take(self) -> dict[str, Any]:
        """Return the scalars since the last call."""
        if not self._scalars:
            return self._scalars
        with self._lock:
            taken, self._scalars = self._scalars, {}
        return taken


_open: list[Given] = []


def open_given(given: Given) -> None:
    """Have a run's record take part in what the program says."""
    _open.append(given)
    records.on_metric = tell_scalar


def close_given(given: Given) -> None:
    """Let it take part no more."""
    if given in _open:
        _open.remove(given)
    if not _open:
        records.on_metric = None


def anything_open() -> bool:
    """Return whether anything is watched."""
    return bool(_open)


def tell_scalar(name: str, value: Any) -> None:
    """Give a number to all that is watched."""
    for given in _open[:]:
        given.scalar(name, value)


def tell_tensor(name: str, tensor: Any, collection: str) -> None:
    """Give a tensor to all that is watched."""
    for given in _open[:]:
        if given.save is not None:
            given.save(name, tensor, collection)
