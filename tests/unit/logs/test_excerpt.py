"""The samples in ``failures/`` are what real programs printed (Python 3.11, torch 2.13, Keras 3.15)."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.logs import LogFile, error_excerpt, explain_text

FAILURES = Path(__file__).parent / "failures"


def explain(name):
    return explain_text((FAILURES / f"{name}.txt").read_text())


@pytest.mark.parametrize(
    ("name", "exception_type", "message", "user_frame"),
    [
        ("blank", "ValueError", "", "misc.py:56 in blank"),
        ("chain_ctx", "ValueError", "second", "misc.py:9 in chain_ctx"),
        ("chain_from", "ValueError", "config is broken", "misc.py:6 in chain_from"),
        ("data_loader", "ValueError", "bad sample 4", "dl.py:6 in __getitem__"),
        ("exit_callback", "ValueError", "real2", "misc.py:32 in atexit_"),
        ("ignored_in_del", "ValueError", "real", "misc.py:27 in ignored"),
        ("localclass", "localclass.<locals>.Boom", "x", "misc.py:22 in localclass"),
        ("missing_module", "ModuleNotFoundError", "No module named", "badimp.py:1 in <module>"),
        (
            "multi",
            "RuntimeError",
            "first line\nsecond line\n\nlast paragraph",
            "misc.py:15 in multi",
        ),
        ("note", "ValueError", "noted\nhint: look here", "misc.py:55 in note"),
        ("pool", "ValueError", "invalid literal", "misc.py:14 in pool"),
        ("concurrent", "ValueError", "invalid literal", "misc.py:50 in concurrent"),
        ("recursion", "RecursionError", "maximum recursion depth", "misc.py:19 in rec"),
        ("rich", "KeyError", "'a'", "misc.py:3 in inner"),
        ("sagemaker_v3", "ValueError", "the loss exploded at step 7", "failing.py:5 in train"),
        ("statedict", "RuntimeError", "Error(s) in loading state_dict", "misc.py:18 in statedict"),
        ("syntax", "SyntaxError", "invalid syntax", "syntax.py:1"),
        ("syntax_in_module", "SyntaxError", "invalid syntax", "syntax.py:1"),
        ("thread", "KeyError", "'a'", "misc.py:3 in inner"),
        ("group", "ExceptionGroup", "many (2 sub-exceptions)", "misc.py:11 in group"),
        ("torch_spawn", "RuntimeError", "worker boom", "spawn.py:3 in worker"),
        ("torchrun_ranks", "ValueError", "loss exploded at step 3", "ddp.py:6 in step"),
        ("torchrun_record", "KeyError", "missing column 'label'", "rec.py:4 in main"),
        ("keras_fit", "ValueError", "expected axis -1 of input shape", "kerasfail.py:6 in train"),
        ("keras_layer", "ValueError", "my layer broke", "keraslayer.py:3 in call"),
    ],
)
def test_the_exception_and_the_users_frame_are_found(name, exception_type, message, user_frame):
    excerpt = explain(name)
    assert excerpt.exception_type == exception_type
    assert message in (excerpt.message or "")
    assert excerpt.user_frame == user_frame
    assert excerpt.traceback


@pytest.mark.parametrize(
    ("name", "message", "user_frame"),
    [
        ("argparse", "misc.py: error: unrecognized arguments: --foo 1", None),
        ("fatal_signal", "Fatal Python error: Segmentation fault", "misc.py:40 in segv"),
        ("missing_script", "can't open file '/opt/ml/code/nofile.py'", None),
        ("missing_module_run", "No module named 'nomod'", None),
        ("torchrun_killed", "rank 1 failed first: Signal 9 (SIGKILL)", None),
    ],
)
def test_failures_that_raise_nothing_are_named_by_their_line(name, message, user_frame):
    excerpt = explain(name)
    assert excerpt.exception_type is None
    assert message in (excerpt.message or "")
    assert excerpt.user_frame == user_frame


def test_the_rank_that_failed_first_is_named_and_its_error_told():
    assert explain("torchrun_ranks").rank == 1
    assert explain("torchrun_killed").rank == 1


def test_a_peer_that_lost_its_connection_is_not_taken_for_the_cause():
    lines = (FAILURES / "torchrun_ranks.txt").read_text().split("\n")
    without_rank_1 = "\n".join(line for line in lines if not line.startswith("[rank1]"))
    excerpt = explain_text(without_rank_1)
    assert (excerpt.rank, excerpt.exception_type) == (1, None)
    assert excerpt.message == "rank 1 failed first: exit code 1"


def test_ranks_that_print_in_turns_are_told_apart():
    lines = (FAILURES / "torchrun_ranks.txt").read_text().split("\n")
    ranks = [[x for x in lines if x.startswith(f"[rank{n}]")] for n in (0, 1)]
    mixed = [line for pair in zip(*ranks, strict=False) for line in pair]
    excerpt = explain_text("\n".join(mixed))
    assert (excerpt.rank, excerpt.message) == (1, "loss exploded at step 3")


def test_causes_are_kept():
    assert explain("chain_from").causes == ("KeyError: 'a'",)
    assert explain("chain_ctx").causes == ("KeyError: 'a'",)


def test_a_traceback_that_was_handled_long_ago_is_not_the_reason():
    excerpt = explain("handled_long_ago")
    assert (excerpt.exception_type, excerpt.message) == (None, None)
    assert excerpt.last_lines[-1] == "epoch 299"


def test_one_that_was_handled_just_now_says_how_much_followed():
    text = (FAILURES / "thread.txt").read_text() + "".join(f"epoch {n}\n" for n in range(60))
    excerpt = explain_text(text)
    assert (excerpt.message, excerpt.lines_after) == ("'a'", 60)


def test_the_last_twenty_lines_are_safe_to_show():
    text = "".join(f"{n}\r\x1b[31mline {n}\x1b[0m\n" for n in range(30))
    assert explain_text(text).last_lines == tuple(f"line {n}" for n in range(10, 30))


def test_code_that_lies_elsewhere_is_shown_relative_to_its_root():
    text = (FAILURES / "chain_from.txt").read_text().replace("/opt/ml/code", "/home/me/job/src")
    assert explain_text(text).user_frame == "/home/me/job/src/misc.py:6 in chain_from"
    assert (
        explain_text(text, code_roots=["/home/me/job"]).user_frame == "src/misc.py:6 in chain_from"
    )


def test_a_traceback_is_found_between_other_output():
    text = (
        "epoch 1\nTraceback (most recent call last):\n"
        '  File "/opt/ml/code/train.py", line 3, in main\n    step()\n'
        "downloading 40%\n"  # another process
        "ValueError: boom\n"
    )
    assert explain_text(text).message == "boom"


def test_a_traceback_that_was_cut_off_is_passed_over():
    text = 'Traceback (most recent call last):\n  File "/opt/ml/code/train.py", line 3, in main\n'
    assert explain_text(text).exception_type is None
    assert explain_text("Traceback (most recent call last):").last_lines


def test_a_library_failure_without_user_code_has_no_frame():
    text = (
        "Traceback (most recent call last):\n"
        '  File "/usr/lib/python3.11/site-packages/lib/main.py", line 3, in main\n    x()\n'
        "OSError: gone\n"
    )
    assert (explain_text(text).message, explain_text(text).user_frame) == ("gone", None)


@pytest.mark.parametrize(
    "line",
    [
        "ERROR: Could not find a version that satisfies the requirement torhc",
        "sh: 1: trian: not found",
        "terminate called after throwing an instance of 'std::bad_alloc'",
        "Segmentation fault (core dumped)",
        "2026-11-25 10:00:00 CRITICAL: the data set is empty",
    ],
)
def test_other_errors_are_named_by_their_line(line):
    assert explain_text(f"start\n{line}\nbye\n").message == line


def test_the_end_of_a_log_file_is_read(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"\xff\x00noise\n" * 500_000 + (FAILURES / "multi.txt").read_bytes())
    excerpt = error_excerpt(LogFile(path))
    assert excerpt.user_frame == "misc.py:15 in multi"
    assert error_excerpt(LogFile(tmp_path / "none")).last_lines == ()


pieces = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "Traceback (most recent call last):",
                '  File "/opt/ml/code/a.py", line 1, in f',
                "    x()",
                "ValueError: boom",
                "KeyError",
                "During handling of the above exception, another exception occurred:",
                "",
                "[rank0]: Traceback (most recent call last):",
                "[rank0]: OSError: gone",
                '[rank0]:   File "a.py", line 1, in f',
                "Root Cause (first observed failure):",
                "  rank      : 1 (local_rank: 1)",
                "╭─── Traceback (most recent call last) ───╮",
                "│ /a.py:1 in f │",
                "╰───╯",
                "  + Exception Group Traceback (most recent call last):",
                "  | X: y",
                '  File "a.py", line 1',
                "SyntaxError: x",
                "Exception ignored in: x",
            ]
        ),
        st.text(max_size=30),
    ),
    max_size=40,
)


@given(pieces)
def test_whatever_a_program_prints_is_read_without_failing(lines):
    excerpt = explain_text("\n".join(lines))
    assert len(excerpt.last_lines) <= 20


@pytest.mark.parametrize(
    "text",
    [
        "Root Cause (first observed failure):\n" * 50_000,
        "\n" * 2_000_000,
        ("╭─ Traceback (most recent call last)\n│ x:1 in" + " " * 1900 + "y\n") * 1000,
        " " * 2_000_000 + "|",
        "  + Exception Group Traceback (most recent call last):\n" + (" " * 1990 + "x\n") * 1000,
        (
            'Traceback (most recent call last):\n  File "a", line 1, in f\nKeyError: 1\n'
            "During handling of the above exception, another exception occurred:\n"
        )
        * 20_000,
        "A" * 2_000_000,
        '  Traceback (most recent call last):\n  File "a", line 1, in f\n' * 10_000,
        "╭─ Traceback (most recent call last)\n│ x:1 in f\n" * 10_000,
    ],
    ids=["reports", "newlines", "boxes", "spaces", "groups", "chain", "letters", "heads", "tops"],
)
@pytest.mark.timeout(30)
def test_hostile_output_takes_bounded_work(text):
    explain_text(text)
