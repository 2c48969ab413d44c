"""Views: plain lines, JSON lines, and the live one of terminals."""

from __future__ import annotations

import io
import re
import sys

import pytest
from rich.console import Console

from orchestrator.cli.live import LiveView
from orchestrator.cli.views import JsonView, PlainView, detach_note
from orchestrator.cli.watch import Choice
from orchestrator.sdk.lines import OutputLine
from tests.unit.cli.records import at, record, running

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
TWO_HOSTS = {"resource_config": {"instance_count": 2}}


class Clock:
    """A clock that stands still."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def now(self):
        return at(self.seconds)

    def monotonic(self) -> float:
        return self.seconds


def line(text: str, host: str = "algo-1") -> OutputLine:
    return OutputLine(host, text)


def test_lines_go_to_standard_output_and_everything_else_to_standard_error(capsys):
    view = PlainView()
    view.change(running())
    view.lines([line("one"), line("two")])
    view.change(record())
    out, err = capsys.readouterr()
    assert out == "one\ntwo\n"
    assert err == "Training: Training program is running\n"


def test_a_state_is_told_once(capsys):
    view = PlainView()
    view.change(running(revision=1))
    view.change(running(revision=2))
    assert capsys.readouterr().err.count("\n") == 1


def test_changes_can_be_left_out(capsys):
    view = PlainView(show_changes=False)
    view.change(running())
    assert capsys.readouterr() == ("", "")


def test_lines_cannot_steer_the_terminal_and_progress_bars_are_collapsed(capsys):
    PlainView().lines(
        [line("\x1b]0;title\x07\x1b[31mred\x1b[0m \x07bell"), line(" 10%\r 99%\r100%")]
    )
    assert capsys.readouterr().out == "red bell\n100%\n"


def test_lines_have_their_host_where_there_are_several(capsys):
    view = PlainView(show_changes=False)
    view.change(running(spec=TWO_HOSTS))
    view.lines([line("a"), line("b", "algo-2")])
    assert capsys.readouterr().out == "[algo-1] a\n[algo-2] b\n"


def test_nobody_to_ask_means_to_detach():
    assert PlainView().ask(running()) is Choice.DETACH


def test_who_turns_away_is_told_how_to_come_back():
    note = detach_note(running("mine"))
    assert "orchestrator logs -f mine" in note
    assert "orchestrator stop mine" in note


def test_json_lines_have_the_text_as_it_was_printed():
    seen: list[object] = []
    view = JsonView(seen.append)
    view.change(running("mine"))
    view.change(running("mine"))
    view.lines([line("\x1b[31mred")])
    assert seen == [
        {
            "event": "status",
            "name": "mine",
            "status": "InProgress",
            "secondary_status": "Training",
            "message": "Training program is running",
            "attempt": 1,
        },
        {"event": "log", "host": "algo-1", "text": "\x1b[31mred"},
    ]


# -- the live view -------------------------------------------------------------------------


@pytest.fixture
def screen() -> io.StringIO:
    return io.StringIO()


def live(
    screen: io.StringIO, *, seconds: float = 65, answer: str = "", width: int = 80
) -> LiveView:
    console = Console(
        file=screen,
        force_terminal=True,
        width=width,
        height=24,
        highlight=False,
        color_system=None,
    )
    return LiveView(console, Clock(seconds), read=lambda _question: answer)


def shown(screen: io.StringIO) -> str:
    return ESCAPES.sub("", screen.getvalue())


def last_status(screen: io.StringIO) -> str:
    """The status line as it was drawn last."""
    return [part for part in re.split(r"[\r\n]+", shown(screen)) if "Training" in part][-1].strip()


def test_the_status_line_has_phase_time_and_message(screen):
    view = live(screen)
    view.change(running())
    assert "Training  1 min 05 s  Training program is running" in last_status(screen)
    view.close()


def test_the_status_line_has_the_last_metric_values(screen):
    view = live(screen)
    view.change(running(attempt=2))
    view.metrics({"loss": 0.123456789, "evil\x1b[2J": 1.0})
    view.tick()
    view.change(running(attempt=2))
    assert "attempt 2  loss 0.123457  evil 1" in last_status(screen)
    view.close()


def test_the_status_line_never_takes_more_than_one_line(screen):
    view = live(screen, width=40)
    view.change(running(message="m" * 200))
    assert len(last_status(screen)) <= 40
    view.close()


def test_log_lines_scroll_by_whole_and_safe(screen):
    view = live(screen, width=40)
    view.change(running())
    view.lines([line("[bold]no markup[/bold] " + "x" * 100), line("\x1b[2Jtwo")])
    text = shown(screen)
    assert "[bold]no markup[/bold] " + "x" * 100 in text
    assert "\x1b[2Jtwo" not in screen.getvalue()
    assert "two" in text
    view.close()


def test_log_lines_have_their_host_where_there_are_several(screen):
    view = live(screen)
    view.change(running(spec=TWO_HOSTS))
    view.lines([line("a"), line("[b]", "algo-2")])
    assert "[algo-1] a" in shown(screen)
    assert "[algo-2] [b]" in shown(screen)
    view.close()


def test_nothing_of_the_status_line_is_left_at_the_end(screen):
    view = live(screen)
    view.change(running())
    view.close()
    assert "\x1b[2K" in screen.getvalue().rpartition("Training")[2]


class Keyboard(io.StringIO):
    """Standard input of somebody who types."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("answer", "choice"),
    [
        ("s", Choice.STOP),
        ("STOP", Choice.STOP),
        ("d", Choice.DETACH),
        ("", Choice.GO_ON),
        ("what?", Choice.GO_ON),
    ],
)
def test_the_answer_decides(screen, monkeypatch, answer, choice):
    monkeypatch.setattr(sys, "stdin", Keyboard())
    view = live(screen, answer=answer)
    view.change(running())
    assert view.ask(running("mine")) is choice
    assert "mine is running" in shown(screen)
    view.close()


def test_the_end_of_input_means_to_detach(screen, monkeypatch):
    def read(_question: str) -> str:
        raise EOFError

    monkeypatch.setattr(sys, "stdin", Keyboard())
    view = LiveView(Console(file=screen, force_terminal=True), Clock(1), read)
    assert view.ask(running()) is Choice.DETACH
    view.close()


def test_without_a_keyboard_nobody_is_asked(screen, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    view = live(screen, answer="s")
    assert view.ask(running()) is Choice.DETACH
    view.close()
