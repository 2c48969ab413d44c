"""The thread that reads rows: a program without callbacks has no other moment for it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

READ_SECONDS = 0.1
"""How often rows are read; the slower the reading, the more rows a ring must hold."""
END_SECONDS = 2.0


class Reader:
    """Calls a function every READ_SECONDS, from the first ``start`` on."""

    def __init__(self, read: Callable[[], object]) -> None:
        self._read = read
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; does nothing when it has begun."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, name="orchestrator-debugger-reader", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """End: TensorFlow must not be called while the interpreter goes away."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(END_SECONDS)

    def _run(self) -> None:
        while not self._over.wait(READ_SECONDS):
            self._read()
