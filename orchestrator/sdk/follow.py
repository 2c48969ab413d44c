"""Follows a job until it ends: record changes and log lines of all hosts, as they come."""

from __future__ import annotations

import queue
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.errors import Unavailable
from orchestrator.sdk.lines import LineAssembler, OutputLine
from orchestrator.spec.record import TrainingJobRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.sdk.transport import Transport

LONG_POLL_SECONDS = 10.0
RECONNECT_SECONDS = 0.5
TICK_SECONDS = 1.0
QUEUED_EVENTS = 1024

_Event = tuple[str, Any]
"""Kind and value: a new record, lines, the end of a host's log, or an error."""


def follow_job(
    transport: Transport,
    record: TrainingJobRecord,
    *,
    on_line: Callable[[OutputLine], None] | None = None,
    on_change: Callable[[TrainingJobRecord], None] | None = None,
    on_progress: Callable[[OutputLine], None] | None = None,
    on_tick: Callable[[], None] | None = None,
    timeout_seconds: float | None = None,
) -> TrainingJobRecord:
    """Return the record of the job's end.

    All lines are delivered before the end is. The service may restart in between: reading goes
    on at the same byte.

    Args:
        transport: How the service is reached.
        record: The job as last seen.
        on_line: Gets every line, called in the caller's thread.
        on_change: Gets every new record, called in the caller's thread.
        on_progress: Gets the unfinished line of a host when it has changed, such as a progress
            bar, called in the caller's thread.
        on_tick: Called about once a second, in the caller's thread.
        timeout_seconds: How long to wait; None = for ever.

    Raises:
        TimeoutError: The time is over; the job goes on.
        KeyboardInterrupt: The user turned away; the job goes on. Says how to come back, and in a
            notebook nothing else.
    """
    if on_line is None and on_progress is None and record.status.is_terminal:
        return record
    follower = _Follower(transport, record, Callbacks(on_line, on_change, on_progress, on_tick))
    try:
        return follower.run(timeout_seconds)
    except KeyboardInterrupt:
        raise _detached(record.name) from None
    finally:
        follower.abandon()


def _detached(name: str) -> KeyboardInterrupt:
    """Return an interrupt that IPython shows as one line, without this library's insides."""
    text = (
        f"detached; training job {name} goes on. Come back with TrainingJob.get({name!r}): "
        ".wait(logs=True) follows it, .stop() stops it"
    )
    interrupt = KeyboardInterrupt(text)
    interrupt._render_traceback_ = lambda: [text]  # type: ignore[attr-defined]
    return interrupt


class Callbacks(NamedTuple):
    """Who wants to know what."""

    line: Callable[[OutputLine], None] | None = None
    change: Callable[[TrainingJobRecord], None] | None = None
    progress: Callable[[OutputLine], None] | None = None
    tick: Callable[[], None] | None = None


class _Poller(threading.Thread):
    """Makes long-polling calls and puts what they bring into the queue."""

    def __init__(self, name: str, transport: Transport, events: queue.Queue[_Event]) -> None:
        super().__init__(name=name, daemon=True)
        self.transport = transport
        self.abandoned = threading.Event()
        self._events = events

    def run(self) -> None:
        """Poll until there is no more to come; the service may go away in between."""
        try:
            more = True
            while more and not self.abandoned.is_set():
                try:
                    more = self.poll()
                except Unavailable:
                    self.abandoned.wait(RECONNECT_SECONDS)
        except Exception as error:  # noqa: BLE001  # raised again where it is waited for
            self.put("error", error)

    def poll(self) -> bool:
        """Make one call; return whether there is more to come."""
        raise AssertionError("a poller must say what it polls")

    def put(self, kind: str, value: Any) -> None:
        """Hand something over; waits while the queue is full, unless nobody reads any more."""
        while not self.abandoned.is_set():
            try:
                self._events.put((kind, value), timeout=RECONNECT_SECONDS)
            except queue.Full:
                continue
            return


class _LogReader(_Poller):
    """Reads one host's log of one attempt until it is finished."""

    def __init__(
        self, transport: Transport, events: queue.Queue[_Event], job: str, host: str, attempt: int
    ) -> None:
        super().__init__(f"log {host}", transport, events)
        self._job = job
        self._host = host
        self._attempt = attempt
        self._offset = 0
        self._assembler = LineAssembler(host)
        self._shown = self._assembler.unfinished

    def poll(self) -> bool:
        chunk = self.transport.read_log(
            self._job,
            host=self._host,
            attempt=self._attempt,
            offset=self._offset,
            wait_seconds=LONG_POLL_SECONDS,
        )
        self._offset = chunk["next_offset"]
        lines = self._assembler.feed(chunk["data"])
        if chunk["finished"]:
            lines += self._assembler.close()
        if lines:
            self.put("lines", lines)
        if (unfinished := self._assembler.unfinished) != self._shown:
            self._shown = unfinished
            self.put("progress", unfinished)
        if chunk["finished"]:
            self.put("end", self._host)
        return not chunk["finished"]


class _RecordWatcher(_Poller):
    """Waits for changes of the record until the job has ended."""

    def __init__(
        self, transport: Transport, events: queue.Queue[_Event], record: TrainingJobRecord
    ) -> None:
        super().__init__("watch", transport, events)
        self._record = record

    def poll(self) -> bool:
        if self._record.status.is_terminal:
            return False
        data = self.transport.wait(
            self._record.name, after=self._record.revision, timeout_seconds=LONG_POLL_SECONDS
        )
        newer = TrainingJobRecord.model_validate(data)
        if newer.revision > self._record.revision:
            self._record = newer
            self.put("record", newer)
        return not newer.status.is_terminal


class _Follower:
    """Runs the pollers and hands their events on, in the caller's thread."""

    def __init__(
        self,
        transport: Transport,
        record: TrainingJobRecord,
        on: Callbacks,
    ) -> None:
        self._transport = transport
        self._record = record
        self._on = on
        self._ticked_at = time.monotonic()
        self._events: queue.Queue[_Event] = queue.Queue(QUEUED_EVENTS)
        self._watcher = _RecordWatcher(transport, self._events, record)
        self._readers: dict[tuple[int, str], _LogReader] = {}
        self._first_attempt = max(record.attempt, 1)
        self._ended = 0

    def run(self, timeout_seconds: float | None) -> TrainingJobRecord:
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        self._read_logs()
        self._watcher.start()
        while not (self._record.status.is_terminal and self._ended == len(self._readers)):
            self._take(*self._next(deadline))
        return self._record

    def abandon(self) -> None:
        """Let the pollers end after their present call."""
        for poller in (self._watcher, *self._readers.values()):
            poller.abandoned.set()

    def _read_logs(self) -> None:
        """Start a reader for every host of every attempt, since this began, that has none."""
        if self._on.line is None and self._on.progress is None:
            return
        name = self._record.name
        for attempt in range(self._first_attempt, self._record.attempt + 1):
            for host, _, _ in self._record.spec.hosts:
                if (attempt, host) not in self._readers:
                    reader = _LogReader(self._transport, self._events, name, host, attempt)
                    self._readers[attempt, host] = reader
                    reader.start()

    def _next(self, deadline: float | None) -> _Event:
        while True:
            self._tick()
            left = (
                TICK_SECONDS
                if deadline is None
                else min(TICK_SECONDS, deadline - time.monotonic())
            )
            if left <= 0:
                raise TimeoutError(
                    f"training job {self._record.name} has not ended in time; it goes on"
                )
            try:
                # A bounded wait lets KeyboardInterrupt through on every platform.
                return self._events.get(timeout=left)
            except queue.Empty:
                continue

    def _tick(self) -> None:
        if self._on.tick is not None and time.monotonic() - self._ticked_at >= TICK_SECONDS:
            self._ticked_at = time.monotonic()
            self._on.tick()

    def _take(self, kind: str, value: Any) -> None:
        if kind == "record":
            self._record = value
            self._read_logs()
            if self._on.change is not None:
                self._on.change(value)
        elif kind == "lines" and self._on.line is not None:
            for line in value:
                self._on.line(line)
        elif kind == "progress" and self._on.progress is not None:
            self._on.progress(value)
        elif kind == "end":
            self._ended += 1
        elif kind == "error":
            raise value
