"""Text, tables, errors and JSON as they are printed."""

from __future__ import annotations

import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli import output
from orchestrator.cli.tables import draw
from orchestrator.errors import NotFound
from orchestrator.report.words import duration, number, size


class Terminal(io.StringIO):
    """Says that somebody looks."""

    def isatty(self) -> bool:
        return True


@given(st.text())
def test_safe_text_steers_no_terminal(text):
    shown = output.safe(text)
    assert all(c.isprintable() or c in "\n\t" or not c.isascii() for c in shown)
    assert "\x1b" not in shown
    assert "\x9b" not in shown


def test_safe_text_keeps_its_line_ends():
    assert output.safe("one\ntwo\x1b[31m red\n") == "one\ntwo red\n"


def test_a_table_is_aligned_and_its_cells_are_safe():
    rows = [("a", "\x1b[2Jlong cell"), ("bbb", "c")]
    assert output.table(rows, ("N", "TEXT")) == ["N    TEXT", "a    long cell", "bbb  c"]


def test_styles_are_for_terminals_that_want_them(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert output.styled("x", "red", io.StringIO()) == "x"
    assert output.styled("x", "red", Terminal()) == "\x1b[1;31mx\x1b[0m"
    assert output.styled("x", "no such style", Terminal()) == "x"
    monkeypatch.setenv("NO_COLOR", "1")
    assert output.styled("x", "red", Terminal()) == "x"


def test_errors_go_to_standard_error(capsys):
    output.print_error(NotFound("no \x1b[31mjob", details={"a": 1}), as_json=False)
    out, err = capsys.readouterr()
    assert (out, err) == ("", "error: no job\n")


def test_errors_as_json_have_code_message_and_details(capsys):
    output.print_error(NotFound("no job", details={"a": 1}), as_json=True)
    body = json.loads(capsys.readouterr().err)
    assert body == {"error": {"code": "not_found", "message": "no job", "details": {"a": 1}}}


def test_a_table_in_a_pipe_is_not_cut(capsys):
    draw([("x" * 300, "Completed")], ("NAME", "STATUS"), status_column=1)
    assert "x" * 300 in capsys.readouterr().out


def test_a_table_on_a_terminal_is_cut_at_its_edge_and_coloured(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    draw([("job", "Failed", "m" * 200)], ("NAME", "STATUS", "MESSAGE"), status_column=1)
    shown = terminal.getvalue()
    assert "\x1b[31mFailed" in shown
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in shown.splitlines()]
    assert max(map(len, lines)) == 40


def test_the_names_in_a_table_are_never_cut_before_the_message_is(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("COLUMNS", "80")
    draw([("n" * 63, "m" * 200)], ("NAME", "MESSAGE"))
    assert "n" * 63 in terminal.getvalue()


def test_no_narrow_column_gives_way_to_a_long_last_one(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("COLUMNS", "80")
    draw([("1", "n" * 40, "7.8 s", "0.25", "m" * 200)], ("", "NAME", "TOOK", "LOSS", "VALUES"))
    words = re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue()).split()
    assert words[:9] == ["NAME", "TOOK", "LOSS", "VALUES", "1", "n" * 40, "7.8", "s", "0.25"]
    assert words[9].startswith("mmm")
    assert words[9].endswith("m…")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.00 s"),
        (0.094, "0.09 s"),
        (0.42, "0.42 s"),
        (6.94, "6.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (7800, "2 h 10 min"),
        (270_000, "3 d 3 h"),
    ],
)
def test_durations_are_for_people(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1450, "1.45 kB"),
        (2_130_000, "2.13 MB"),
        (10**16, "1e+04 TB"),
    ],
)
def test_sizes_are_for_people(count, text):
    assert size(count) == text


def test_numbers_have_six_digits():
    assert number(0.123456789) == "0.123457"
    assert number(float("nan")) == "nan"
