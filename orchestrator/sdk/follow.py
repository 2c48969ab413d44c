"""Follows a job until it ends: record changes and log lines of all hosts, as they come."""

from __future__ import annotations

import queue
import threading
import time
from typing import Any, TYPE_CHECKING

from orchestrator.errors import Unavailable
from orchestrator.sdk.lines import LineAssembler, OutputLine
from orchestrator.spec.record import TrainingJobRecord

if TYPE_CHECKING:
    from orchestrator.sdk.transport import Transport
    from collections.abc import Callable

LONG_POLL_SECONDS = 10.0
RECONNECT_SECONDS = 0.5

_Event = tuple[str, Any]


class _Reader(threading.Thread):
    """Reads one host's log of one attempt into the queue until it is finished."""

    def __init__(
        self, transport: Transport, name: str, host: str, attempt: int, events: queue.Queue[_Event]
    ) -> None:
        super().__init__(name=f"log {host}", daemon=True)
        self._transport = transport
        self._job = name
        self._host = host
        self._attempt = attempt
        self._events = events
        self._abandoned = threading.Event()

    def abandon(self) -> None:
        """End after the present call."""
        self._abandoned.set()

    def run(self) -> None:
        assembler = LineAssembler(self._host)
        offset, finished = 0, False
        while not finished and not self._abandoned.is_set():
            try:
                chunk = self._transport.read_log(
                    self._job,
                    host=self._host,
                    attempt=self._attempt,
                    offset=offset,
                    wait_seconds=LONG_POLL_SECONDS,
                )
            except Unavailable:
                self._abandoned.wait(RECONNECT_SECONDS)
                continue
            offset, finished = chunk["next_offset"], chunk["finished"]
            self._events.put(("lines", assembler.feed(chunk["data"])))
        self._events.put(("lines", assembler.close()))
        self._events.put(("end", self._host))


class _Watcher(threading.Thread):
    """Waits for changes of the record and puts each into the queue."""

    def __init__(
        self, transport: Transport, record: TrainingJobRecord, events: queue.Queue[_Event]
    ) -> None:
        super().__init__(name="watch", daemon=True)
        self._transport = transport
        self._record = record
        self._events = events
        self._abandoned = threading.Event()

    def abandon(self) -> None:
        """End after the present call."""
        self._abandoned.set()

    def run(self) -> None:
        record = self._record
        while not record.status.is_terminal and not self._abandoned.is_set():
            try:
                data = self._transport.wait(
                    record.name, after=record.revision, timeout_seconds=LONG_POLL_SECONDS
                )
            except Unavailable:
                self._abandoned.wait(RECONNECT_SECONDS)
                continue
            except Exception as error:  # noqa: BLE001  # handed to the waiting thread
                self._events.put(("error", error))
                return
            newer = TrainingJobRecord.model_validate(data)
            if newer.revision > record.revision:
                record = newer
                self._events.put(("record", record))


def follow_job(
    transport: Transport,
    record: TrainingJobRecord,
    *,
    on_line: Callable[[OutputLine], None] | None = None,
    on_change: Callable[[TrainingJobRecord], None] | None = None,
    timeout_seconds: float | None = None,
) -> TrainingJobRecord:
    """Return the record of the job's end.

    All lines are delivered before the end is. The service may restart in between: reading goes
    on at the same byte.

    Args:
        on_line: Gets every line, called in the caller's thread.
        on_change: Gets every new record, called in the caller's thread.

    Raises:
        TimeoutError: The time is over; the job goes on.
    """
    if on_line is None and record.status.is_terminal:
        return record
    deadline = time.monotonic() + timeout_seconds if timeout_seconds is not None else None
    events: queue.Queue[_Event] = queue.Queue(maxsize=1024)
    watcher = _Watcher(transport, record, events)
    readers: dict[tuple[int, str], _Reader] = {}

    def read_attempt(current: TrainingJobRecord) -> None:
        if on_line is None:
            return
        for host, _, _ in current.spec.hosts if current.attempt else ():
            if (current.attempt, host) not in readers:
                reader = _Reader(transport, current.name, host, current.attempt, events)
                readers[current.attempt, host] = reader
                reader.start()

    read_attempt(record)
    watcher.start()
    ended = 0
    try:
        while not (record.status.is_terminal and ended == len(readers)):
            kind, value = _next(events, deadline, record.name)
            if kind == "record":
                record = value
                read_attempt(record)
                if on_change is not None:
                    on_change(record)
            elif kind == "lines" and on_line is not None:
                for line in value:
                    on_line(line)
            elif kind == "end":
                ended += 1
            elif kind == "error":
                raise value
    finally:
        watcher.abandon()
        for reader in readers.values():
            reader.abandon()
    return record


def _next(events: queue.Queue[_Event], deadline: float | None, name: str) -> _Event:
    while True:
        left = deadline - time.monotonic() if deadline is not None else None
        if left is not None and left <= 0:
            raise TimeoutError(f"training job {name} has not ended in time; it goes on")
        try:
            # A bounded wait lets KeyboardInterrupt through on every platform.
            return events.get(timeout=min(left, 1.0) if left is not None else 1.0)
        except queue.Empty:
            continue
