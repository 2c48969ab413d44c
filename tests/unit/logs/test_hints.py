from __future__ import annotations

import pytest

from orchestrator.logs import ErrorExcerpt, exit_meaning, hint_for


@pytest.mark.parametrize(
    ("exception_type", "message", "word"),
    [
        ("ModuleNotFoundError", "No module named 'xgboost'", "xgboost"),
        ("torch.OutOfMemoryError", "CUDA out of memory. Tried to allocate", "smaller batch"),
        ("MemoryError", "", "memory_gib"),
        (
            "FileNotFoundError",
            "[Errno 2] No such file or directory: '/opt/ml/input/data/train/x'",
            "'train'",
        ),
        ("FileNotFoundError", "[Errno 2] No such file or directory: 'x.csv'", "does not exist"),
        ("KeyError", "'SM_CHANNEL_TEST'", "TEST"),
        (None, "train.py: error: unrecognized arguments: --lr 0.1", "--lr"),
        (None, "rank 1 failed first: Signal 9 (SIGKILL) received by PID 3", "memory"),
        ("OSError", "[Errno 28] No space left on device", "disk is full"),
        ("SyntaxError", "invalid syntax", "does not parse"),
    ],
)
def test_common_failures_have_a_hint_that_names_the_thing(exception_type, message, word):
    hint = hint_for(ErrorExcerpt(exception_type=exception_type, message=message))
    assert word in (hint or "")


def test_no_hint_is_made_up():
    assert hint_for(ErrorExcerpt(exception_type="ValueError", message="loss is 3")) is None
    assert hint_for(ErrorExcerpt()) is None


def test_braces_in_a_message_are_no_placeholders():
    hint = hint_for(ErrorExcerpt(message="x: error: unrecognized arguments: --{0.__class__}"))
    assert "--{0.__class__}" in (hint or "")


@pytest.mark.parametrize(
    ("exit_code", "signal_number", "words"),
    [
        (1, None, "exit code 1: the program ended with an error"),
        (3, None, "exit code 3"),
        (127, None, "exit code 127: the program was not found"),
        (137, None, "exit code 137, signal 9 (SIGKILL)"),
        (None, 11, "signal 11 (SIGSEGV): invalid memory access"),
        (None, 120, "signal 120 (SIG120)"),
        (None, None, "no exit code is known"),
    ],
)
def test_exit_codes_and_signals_are_told_in_words(exit_code, signal_number, words):
    assert words in exit_meaning(exit_code, signal_number)
