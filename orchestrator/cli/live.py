"""The view for a terminal: log lines scroll, one status line stays below them. Loads rich."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from orchestrator.cli.views import line_text
from orchestrator.cli.watch import Choice
from orchestrator.clock import Clock, SystemClock
from orchestrator.logs.render import render
from orchestrator.report.words import duration, number

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from orchestrator.sdk.lines import OutputLine
    from orchestrator.spec.record import TrainingJobRecord

HOST_STYLES = ("cyan", "magenta", "green", "yellow", "blue", "red")
REFRESH_SECONDS = 0.1
QUESTION = "[s] stop the job   [d] detach, it goes on   [Enter] go on watching: "


class LiveView:
    """Shows a job on a terminal.

    Args:
        console: The terminal.
        clock: The time.
        read: Asks the user and returns the answer.
        may_stop: Whether Ctrl-C offers to stop the job.
    """

    is_live = True

    def __init__(
        self,
        console: Console | None = None,
        clock: Clock | None = None,
        read: Callable[[str], str] = input,
    ) -> None:
        self._console = console or Console(file=sys.stdout, highlight=False)
        self._clock = clock or SystemClock()
        self._read = read
        self._record: TrainingJobRecord | None = None
        self._values: dict[str, float] = {}
        self._progress = ""
        self._drawn_at = float("-inf")
        self._spinner = Spinner("dots", style="cyan")
        self._live = self._new_live()
        self._live.start()

    def _new_live(self) -> Live:
        return Live(
            console=self._console,
            get_renderable=self._status,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )

    # -- what happens ----------------------------------------------------------------------

    def lines(self, lines: list[OutputLine]) -> None:
        """Let the lines of one batch scroll by above the status line."""
        several = self._record is not None and len(self._record.spec.hosts) > 1
        if not several:
            text = "\n".join(line_text(line, with_host=False) for line in lines)
            self._console.print(
                text, markup=False, highlight=False, emoji=False, soft_wrap=True, style=None
            )
            return
        styled = Text()
        for place, line in enumerate(lines):
            styled.append("\n" if place else "")
            styled.append(f"[{line.host}] ", style=_host_style(line.host))
            styled.append(line_text(line, with_host=False))
        self._console.print(styled, soft_wrap=True)

    def progress(self, line: OutputLine) -> None:
        """Show a line that is still being written from now on."""
        self._progress = render(line.text).strip()

    def change(self, record: TrainingJobRecord) -> None:
        """Show the job's new state."""
        self._record = record
        self._refresh()

    def metrics(self, values: dict[str, float]) -> None:
        """Show the last metric values from now on."""
        self._values = values

    def tick(self) -> None:
        """Let the clock go on."""
        if self._clock.monotonic() - self._drawn_at >= REFRESH_SECONDS:
            self._refresh()

    def _refresh(self) -> None:
        self._drawn_at = self._clock.monotonic()
        self._live.refresh()

    # -- the status line -------------------------------------------------------------------

    def _status(self) -> Table:
        """Return the status line: spinner, phase, elapsed time, metrics or what is waited for."""
        grid = Table.grid(padding=(0, 1))
        grid.add_column(no_wrap=True)
        grid.add_column(no_wrap=True, overflow="ellipsis")
        if self._record is not None:
            grid.add_row(self._spinner, self._status_text(self._record))
        return grid

    def _status_text(self, record: TrainingJobRecord) -> Text:
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(record.secondary_status.value, style="bold")
        text.append(f"  {duration(self._seconds_since(record.created_at))}")
        if record.attempt > 1:
            text.append(f"  attempt {record.attempt}", style="yellow")
        if self._values:
            values = (f"{render(name)} {number(value)}" for name, value in self._values.items())
            text.append(f"  {'  '.join(values)}", style="cyan")
        if self._progress:
            text.append(f"  {self._progress}")
        elif record.message and not self._values:
            text.append(f"  {render(record.message)}", style="dim")
        return text

    def _seconds_since(self, start: datetime) -> float:
        return max(0.0, (self._clock.now() - start).total_seconds())

    # -- Ctrl-C ----------------------------------------------------------------------------

    def ask(self, record: TrainingJobRecord) -> Choice:
        """Ask what to do with the job."""
        if not sys.stdin.isatty():
            return Choice.DETACH
        self._live.stop()
        try:
            self._console.print(f"{record.name} is running. ", end="", markup=False)
            answer = self._read(QUESTION).strip().lower()
        except EOFError:
            answer = "d"
            self._console.print()
        except KeyboardInterrupt:
            self._console.print()  # what follows begins on a line of its own
            raise
        choice = {"s": Choice.STOP, "d": Choice.DETACH}.get(answer[:1], Choice.GO_ON)
        if choice is not Choice.DETACH:
            self._live = self._new_live()
            self._live.start()
        return choice

    def close(self) -> None:
        """Take the status line away."""
        self._live.stop()


def _host_style(host: str) -> str:
    place = host.rpartition("-")[2]
    return HOST_STYLES[(int(place) - 1) % len(HOST_STYLES) if place.isdigit() else 0]
