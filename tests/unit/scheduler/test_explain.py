"""Why a job failed, in one sentence: the program's own words where it has any, never a bare code."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.logs.excerpt import ErrorExcerpt
from orchestrator.scheduler.explain import COMPLAINT_CHARACTERS, explain
from orchestrator.scheduler.outcome import Verdict
from orchestrator.scheduler.reconcile import FAILURE_REASON_MAX_CHARACTERS, failure_reason
from orchestrator.spec.record import Explanation
from orchestrator.spec.state import EndReason
from tests.unit.scheduler.seen import exit_record

CODE_1 = "the program exited with code 1"
RAISED = ErrorExcerpt(
    exception_type="KeyError",
    message="'missing'",
    user_frame="helper.py:2 in look",
    last_lines=("KeyError: 'missing'",),
)
FAILURES = [reason for reason in EndReason if reason.failure_prefix is not None]


def why(
    reason: EndReason = EndReason.EXIT_CODE,
    message: str = CODE_1,
    excerpt: ErrorExcerpt | None = None,
    **record: Any,
) -> Explanation:
    found = Verdict(reason, "algo-1", message)
    return explain(found, exit_record(**{"code": 1, **record}), excerpt or ErrorExcerpt())


def test_the_words_of_the_failure_file_come_first() -> None:
    assert why(failure=" my own words\n", excerpt=RAISED).summary == "my own words"


@pytest.mark.parametrize(
    "failure",
    [
        (
            "Traceback (most recent call last):\n"
            '  File "/opt/ml/input/data/sm_drivers/common/utils.py", line 193, in execute_commands\n'
            "    raise subprocess.CalledProcessError(exitcode, commands)\n"
            "subprocess.CalledProcessError: Command '['python3', 'x.py']' returned non-zero exit"
        ),
        "Training Execution failed. For more details, see CloudWatch logs at 'aws/sagemaker'.",
    ],
)
def test_what_sagemakers_driver_left_is_no_words_of_the_program(failure: str) -> None:
    assert why(failure=failure, excerpt=RAISED).summary == (
        "KeyError: 'missing' at helper.py:2 in look"
    )


def test_an_exception_is_named_with_its_place() -> None:
    said = why(excerpt=RAISED)
    assert said.summary == "KeyError: 'missing' at helper.py:2 in look"
    assert (said.exception_type, said.user_frame) == ("KeyError", "helper.py:2 in look")
    assert said.exit_code == 1
    assert said.log_tail == ("KeyError: 'missing'",)


@pytest.mark.parametrize(
    ("excerpt", "summary"),
    [
        (ErrorExcerpt(exception_type="KeyError"), "KeyError"),
        (ErrorExcerpt(exception_type="KeyError", message="'x'"), "KeyError: 'x'"),
        (ErrorExcerpt(), CODE_1),
        (
            ErrorExcerpt(last_lines=("loading", "cannot open data", "bye")),
            f"{CODE_1}: cannot open data",
        ),
        (ErrorExcerpt(last_lines=("loading", "  bye ")), f"{CODE_1}; it last printed: bye"),
        (
            ErrorExcerpt(last_lines=("an error long ago", "1", "2", "3", "4", "5")),
            f"{CODE_1}; it last printed: 5",
        ),
    ],
)
def test_a_bare_exit_code_is_the_last_resort(excerpt: ErrorExcerpt, summary: str) -> None:
    assert why(excerpt=excerpt).summary == summary


@pytest.mark.parametrize(
    ("record", "name"),
    [
        ({"code": None, "signal": 11}, "SIGSEGV"),
        ({"code": 139}, "SIGSEGV"),  # as shells and containers report it
        ({"code": 137}, "SIGKILL"),
        ({"code": 128}, None),
        ({"code": 255}, None),
        ({"code": None, "signal": 999}, None),
    ],
)
def test_signals_have_names(record: dict[str, Any], name: str | None) -> None:
    said = why(**record)
    assert said.signal == name
    if name is not None:
        assert said.hint is not None
        assert said.summary.startswith(f"{CODE_1} (")


def test_memory_that_ran_out_comes_with_the_remedy() -> None:
    said = why(EndReason.OUT_OF_MEMORY, "more than 1 GiB", excerpt=RAISED, code=None, signal=9)
    assert said.summary == "more than 1 GiB"
    assert said.hint is not None
    assert "raise resources.memory_gib" in said.hint


def test_an_installer_speaks_for_itself() -> None:
    lines = ("noise", "[orchestrator] nosuch==9 is not to be had; check its name", "more noise")
    said = why(outcome="install_failed", excerpt=ErrorExcerpt(last_lines=lines))
    assert said.summary == "nosuch==9 is not to be had; check its name"
    assert why(outcome="install_failed", message="pip failed\nat length").summary == "pip failed"


def test_a_host_without_a_record_is_explained_by_what_was_found() -> None:
    said = explain(Verdict(EndReason.LOST, "algo-2", "the host vanished"), None, ErrorExcerpt())
    assert (said.summary, said.host, said.exit_code) == ("the host vanished", "algo-2", None)


@given(st.text(max_size=5000), st.lists(st.text(max_size=400), max_size=8))
def test_whatever_was_printed_a_summary_is_one_line_longer_than_the_finding_at_most(
    message: str, lines: list[str]
) -> None:
    said = why(message=message, excerpt=ErrorExcerpt(last_lines=tuple(lines)))
    assert said.summary.startswith(message)
    assert len(said.summary) <= len(message) + COMPLAINT_CHARACTERS + 30


# -- FailureReason -----------------------------------------------------------------------------


@pytest.mark.parametrize("reason", EndReason)
def test_only_a_failure_has_a_failure_reason(reason: EndReason) -> None:
    said = failure_reason(Verdict(reason, "algo-1", "because"), None)
    if reason.failure_prefix is None:
        assert said is None
    else:
        assert said == f"{reason.failure_prefix}: because (algo-1)"


def test_the_exit_code_is_at_the_end_as_on_sagemaker() -> None:
    found = Verdict(EndReason.EXIT_CODE, None, CODE_1)
    assert failure_reason(found, why(excerpt=RAISED)) == (
        "AlgorithmError: KeyError: 'missing' at helper.py:2 in look, exit code: 1"
    )


@given(
    st.sampled_from(FAILURES),
    st.one_of(st.none(), st.text(max_size=40)),
    st.text(max_size=3000),
    st.one_of(st.none(), st.integers(-(2**31), 2**31)),
)
def test_a_failure_reason_is_never_longer_than_1024_characters(
    reason: EndReason, host: str | None, text: str, code: int | None
) -> None:
    found = Verdict(reason, host, text)
    explanation = Explanation(reason=reason, summary=text, exit_code=code)
    for said in (failure_reason(found, None), failure_reason(found, explanation)):
        assert said is not None
        assert len(said) <= FAILURE_REASON_MAX_CHARACTERS == 1024
        assert said.startswith(f"{reason.failure_prefix}: ")
    if code is not None:
        assert (failure_reason(found, explanation) or "").endswith(f", exit code: {code}")
