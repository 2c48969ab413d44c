"""Wakes the driver when a container of ours has ended. Only a hint: polling finds it too."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from orchestrator.backends.docker_engine import Engine
from orchestrator.backends.docker_values import LABEL_HOME
from orchestrator.clock import Clock, SystemClock
from orchestrator.errors import EngineUnreachable

logger = logging.getLogger(__name__)

PAUSES_SECONDS = (0.2, 0.5, 1, 2, 5)
WATCHED = ("die", "oom", "destroy")
# What the SDK's stream raises when the engine goes away, or when it is closed while it is read.
_STREAM_ENDS = (EngineUnreachable, OSError, ValueError, RuntimeError, AttributeError)


class EventWatch:
    """Follows the engine's events in a thread of its own, with a client of its own.

    Args:
        engine: Whose events.
        home: The home directory, as the label has it.
        wake: Called for every event, and whenever events may have been missed.
        clock: Says from when on events are asked for.
    """

    def __init__(
        self, engine: Engine, home: str, wake: Callable[[], None], clock: Clock | None = None
    ) -> None:
        self._engine = engine
        self._home = home
        self._wake = wake
        self._clock = clock or SystemClock()
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stream: Any = None

    def start(self) -> None:
        """Begin to follow, unless this is done already."""
        with self._lock:
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(
                    target=self._run, name="docker-events", daemon=True
                )
                self._thread.start()

    def close(self) -> None:
        """Stop following."""
        self._closing.set()
        with self._lock:
            stream, thread = self._stream, self._thread
            if stream is not None:
                stream.close()
        if thread is not None:
            thread.join(timeout=5)

    def _run(self) -> None:
        since = int(self._clock.now().timestamp())
        failures = 0
        while not self._closing.is_set():
            try:
                since, failures = self._follow(since), 0
            except _STREAM_ENDS as error:
                logger.debug("the engine's events cannot be followed: %s", error)
                failures += 1
            self._wake()
            self._closing.wait(PAUSES_SECONDS[min(failures, len(PAUSES_SECONDS) - 1)])

    def _follow(self, since: int) -> int:
        """Follow until the stream ends; return from when on to follow next."""
        client = self._engine.connect()
        try:
            filters = {"event": list(WATCHED), "label": f"{LABEL_HOME}={self._home}"}
            stream = client.events(since=since, filters=filters, decode=True)
            with self._lock:
                if self._closing.is_set():
                    stream.close()
                    return since
                self._stream = stream
            try:
                for event in stream:
                    since = max(since, int(event.get("time", 0)))
                    self._wake()
            finally:
                with self._lock:
                    self._stream = None
            return since
        finally:
            client.close()
