from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.logs import collapse_progress, render, strip_controls


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 🏖️", "plain é 🏖️"),
        ("tab\tstays", "tab\tstays"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;window title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b31mred", "red"),
        ("\x1b(Bcharset", "charset"),
        ("\x1bcreset", "reset"),
        ("cut off \x1b[31", "cut off "),
        ("bell\x07 back\x08space del\x7f null\x00", "bell backspace del null"),
        ("\u202eevil\u2066 order", "evil order"),
        ("two\u2028lines\u2029", "twolines"),
        ("\x1b[2J\x1b[H\x1b[?1049hclear", "clear"),
    ],
)
def test_escapes_and_controls_are_removed(text, shown):
    assert strip_controls(text) == shown


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("no progress", "no progress"),
        ("10%\r50%\r100%", "100%"),
        ("windows line\r", "windows line"),
        ("\r\r", ""),
        ("\r 3/3 loss: 0.1\r", " 3/3 loss: 0.1"),
    ],
)
def test_progress_collapses_to_what_was_drawn_last(text, left):
    assert collapse_progress(text) == left


@given(st.text())
def test_nothing_that_steers_a_terminal_is_left(text):
    shown = render(text)
    assert not [c for c in shown if unicodedata.category(c) == "Cc" and c != "\t"]
    assert "\u2028" not in shown
    assert render(shown) == shown


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "S", "Zs"])))
def test_text_without_controls_is_kept(text):
    assert render(text) == text


def test_a_hostile_line_of_escapes_takes_linear_work():
    # 2 MiB that a quadratic expression would chew on for hours.
    assert render("\x1b]" * 1_000_000) == ""
    assert render("\x1b[" + "1;" * 1_000_000) == ""
