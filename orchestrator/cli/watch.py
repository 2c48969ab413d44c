"""Watches a job until it ends or the user turns away; the only thread that writes is the caller's.

A follower thread puts what happens into a mailbox; the main thread empties it, draws, and looks
after Ctrl-C between two batches, so that no drawing is ever cut in half.
"""

from __future__ import annotations

import signal
import threading
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from orchestrator.errors import InvalidState, OrchestratorError, Unavailable
from orchestrator.sdk.follow import follow_job

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.sdk.lines import OutputLine
    from orchestrator.sdk.transport import Transport
    from orchestrator.spec.record import TrainingJobRecord

TICK_SECONDS = 0.1
MAILBOX_EVENTS = 20_000
METRICS_SECONDS = 2.0
SHOWN_METRICS = 4

Event = tuple[str, Any]


class Choice(Enum):
    """What to do after Ctrl-C."""

    STOP = "stop"
    DETACH = "detach"
    GO_ON = "go on"


class View(Protocol):
    """Shows what happens."""

    is_live: bool
    """Whether metric values and unfinished lines are shown while they change."""

    def lines(self, lines: list[OutputLine]) -> None:
        """Show log lines."""
        ...

    def progress(self, line: OutputLine) -> None:
        """Show a line that has no newline yet, such as a progress bar; empty when it has."""
        ...

    def change(self, record: TrainingJobRecord) -> None:
        """Show that the job has changed."""
        ...

    def metrics(self, values: dict[str, float]) -> None:
        """Show the last metric values."""
        ...

    def tick(self) -> None:
        """Show that time passes; called about ten times a second."""
        ...

    def ask(self, record: TrainingJobRecord) -> Choice:
        """Ask what to do after Ctrl-C; another Ctrl-C while asking raises KeyboardInterrupt."""
        ...

    def close(self) -> None:
        """Leave the screen as it should stay."""
        ...


class Watched(NamedTuple):
    """How watching ended."""

    record: TrainingJobRecord
    detached: bool


class Mailbox:
    """Events from other threads, taken in batches; putting waits while it is full."""

    def __init__(self, limit: int = MAILBOX_EVENTS) -> None:
        self._limit = limit
        self._events: list[Event] = []
        self._changed = threading.Condition()
        self._closed = False

    def put(self, kind: str, value: Any) -> None:
        """Hand an event over."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._events) < self._limit or self._closed)
            self._events.append((kind, value))
            self._changed.notify_all()

    def take(self, timeout_seconds: float) -> list[Event]:
        """Return all events there are, after waiting for the first one."""
        with self._changed:
            self._changed.wait_for(lambda: self._events, timeout_seconds)
            taken, self._events = self._events, []
            self._changed.notify_all()
            return taken

    def close(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class Interrupts:
    """Notes Ctrl-C and SIGTERM instead of dying of them, while in use in the main thread.

    Attributes:
        pending: Ctrl-C was pressed.
        ended: This process shall end: it detaches, so that the terminal is left in order.
    """

    def __init__(self) -> None:
        self.pending = False
        self.ended = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: object) -> None:
        if number == signal.SIGTERM:
            self.ended = True
        else:
            self.pending = True

    def ask(self, question: Callable[[], Choice]) -> Choice:
        """Ask with the usual Ctrl-C, which means to detach."""
        self.pending = False
        if self._before:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            return question()
        except KeyboardInterrupt:
            return Choice.DETACH
        finally:
            if self._before:
                signal.signal(signal.SIGINT, self._note)


def watch(
    transport: Transport,
    record: TrainingJobRecord,
    view: View,
    *,
    logs: bool = True,
    host: str | None = None,
) -> Watched:
    """Show a job until it ends.

    Args:
        transport: How the service is reached.
        record: The job as last seen.
        view: What is shown where.
        logs: Whether log lines are wanted.
        host: Only this host's log lines; None = all hosts'.

    Raises:
        OrchestratorError: The service says something is wrong.
    """
    watcher = _Watcher(transport, record, view, host)
    threading.Thread(target=watcher.follow, args=(logs,), name="follow", daemon=True).start()
    if view.is_live:
        threading.Thread(target=watcher.ask_metrics, name="metrics", daemon=True).start()
    with Interrupts() as interrupts:
        try:
            return watcher.show(interrupts)
        finally:
            watcher.close()


class _Watcher:
    def __init__(
        self, transport: Transport, record: TrainingJobRecord, view: View, host: str | None
    ) -> None:
        self._host = host
        self._transport = transport
        self._record = record
        self._view = view
        self._mailbox = Mailbox()
        self._over = threading.Event()

    # -- other threads ---------------------------------------------------------------------

    def follow(self, logs: bool) -> None:  # a thread's argument
        """Put everything that happens into the mailbox; the end is an event too."""
        ending: Event = ("error", Unavailable("following the job failed; this is a fault of ours"))
        try:
            record = follow_job(
                self._transport,
                self._record,
                on_line=self._put_line if logs else None,
                on_change=lambda record: self._mailbox.put("change", record),
                on_progress=self._put_progress if logs else None,
            )
            ending = ("end", record)
        except OrchestratorError as error:
            ending = ("error", error)
        finally:
            self._mailbox.put(*ending)  # in any case: the main thread waits for it

    def _put_line(self, line: OutputLine) -> None:
        if self._host is None or line.host == self._host:
            self._mailbox.put("line", line)

    def _put_progress(self, line: OutputLine) -> None:
        if self._view.is_live and self._host in {None, line.host}:
            self._mailbox.put("progress", line)

    def ask_metrics(self) -> None:
        """Ask for the last values of a few metrics now and then."""
        while not self._over.wait(METRICS_SECONDS):
            try:
                values = last_values(self._transport, self._record.name)
            except OrchestratorError:
                continue  # a decoration must not end the watching
            if values:
                self._mailbox.put("metrics", values)

    # -- the main thread -------------------------------------------------------------------

    def show(self, interrupts: Interrupts) -> Watched:
        self._view.change(self._record)
        while True:
            ended = self._show_batch(self._mailbox.take(TICK_SECONDS))
            self._view.tick()
            if ended:
                return Watched(self._record, detached=False)
            if interrupts.ended or (interrupts.pending and not self._go_on(interrupts)):
                return Watched(self._record, detached=True)

    def close(self) -> None:
        self._over.set()
        self._mailbox.close()
        self._view.close()

    def _show_batch(self, events: list[Event]) -> bool:
        lines: list[OutputLine] = []
        ended = False
        for kind, value in events:
            if kind == "line":
                lines.append(value)
                continue
            if lines:
                self._view.lines(lines)
                lines = []
            ended = self._show_event(kind, value) or ended
        if lines:
            self._view.lines(lines)
        return ended

    def _show_event(self, kind: str, value: Any) -> bool:
        if kind == "error":
            raise value
        if kind in {"metrics", "progress"}:
            (self._view.metrics if kind == "metrics" else self._view.progress)(value)
            return False
        changed = value.revision != self._record.revision
        self._record = value
        if kind == "change" or changed:
            self._view.change(value)
        return kind == "end"

    def _go_on(self, interrupts: Interrupts) -> bool:
        choice = interrupts.ask(lambda: self._view.ask(self._record))
        if choice is Choice.STOP:
            try:
                self._transport.stop(self._record.name)
            except InvalidState:
                return True  # it ended meanwhile; the end is on its way
        return choice is not Choice.DETACH


def last_values(transport: Transport, name: str) -> dict[str, float]:
    """Return the last value of a job's first few metrics."""
    found = transport.last_metrics(name)[:SHOWN_METRICS]
    return {metric["name"]: metric["value"] for metric in found}
