"""Views for pipes, files and programs: plain lines, or JSON lines."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from orchestrator.cli.output import note, print_json
from orchestrator.cli.watch import Choice
from orchestrator.logs.render import render

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.sdk.lines import OutputLine
    from orchestrator.spec.record import TrainingJobRecord


def line_text(line: OutputLine, *, with_host: bool) -> str:
    """Return a log line as it is shown: safe, with its host where there are several."""
    text = render(line.text)
    return f"[{line.host}] {text}" if with_host else text


def detach_note(record: TrainingJobRecord) -> str:
    """Return what somebody who turns away should know."""
    return (
        f"detached; {record.name} goes on\n"
        f"  follow it   orchestrator logs -f {record.name}\n"
        f"  stop it     orchestrator stop {record.name}"
    )


class PlainView:
    """Log lines to standard output, what happens to standard error.

    Args:
        show_changes: Whether status changes are told.
    """

    is_live = False

    def __init__(self, *, show_changes: bool = True) -> None:
        self._show_changes = show_changes
        self._shown: tuple[str, str] | None = None

    def lines(self, lines: list[OutputLine]) -> None:
        """Write the lines of one batch."""
        sys.stdout.write("".join(f"{self._text(line)}\n" for line in lines))
        sys.stdout.flush()

    def _text(self, line: OutputLine) -> str:
        return line_text(line, with_host=self._several_hosts)

    _several_hosts = False

    def progress(self, line: OutputLine) -> None:
        """Not asked for: the line comes when it is finished."""

    def change(self, record: TrainingJobRecord) -> None:
        """Tell a new status or a new message, once."""
        self._several_hosts = len(record.spec.hosts) > 1
        now = (record.secondary_status.value, record.message)
        if self._show_changes and now != self._shown and not record.status.is_terminal:
            self._shown = now
            note(f"{now[0]}: {render(now[1])}" if now[1] else now[0])

    def metrics(self, values: dict[str, float]) -> None:
        """Not asked for."""

    def tick(self) -> None:
        """Time passes unseen."""

    def ask(self, record: TrainingJobRecord) -> Choice:
        """Nobody is there to ask: let the job go on."""
        del record
        return Choice.DETACH

    def close(self) -> None:
        """Leave nothing to undo."""


class JsonView(PlainView):
    """One JSON object a line: ``{"event": "log" | "status", …}``.

    Args:
        emit: Prints one value.
    """

    def __init__(self, emit: Callable[[Any], None] = print_json) -> None:
        super().__init__()
        self._emit = emit

    def lines(self, lines: list[OutputLine]) -> None:
        """Write one object for each line; the text is as it was printed."""
        for line in lines:
            self._emit({"event": "log", "host": line.host, "text": line.text})

    def change(self, record: TrainingJobRecord) -> None:
        """Write a new status, once."""
        now = (record.secondary_status.value, record.message)
        if now != self._shown:
            self._shown = now
            self._emit(
                {
                    "event": "status",
                    "name": record.name,
                    "status": record.status.value,
                    "secondary_status": now[0],
                    "message": now[1],
                    "attempt": record.attempt,
                }
            )
