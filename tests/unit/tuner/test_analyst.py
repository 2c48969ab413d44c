"""A tuning job looked at by another process: answers, refusals, a process that dies or takes long."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from orchestrator.errors import InvalidState, LimitExceeded, OrchestratorError, Unavailable
from orchestrator.tuner.analyst import Analyst
from orchestrator.tuner.results import LEAST_RESULTS
from tests.unit.tuner.judged import RATE, WIDTH, record, searched
from tests.unit.tuner.world import tuning_spec

RECORD, JOBS = record(tuning_spec(RATE, WIDTH)), searched(LEAST_RESULTS)
READS = "import json, sys; letter = json.load(sys.stdin)"


def analyst(code: str, **more) -> Analyst:
    return Analyst((sys.executable, "-c", code), **more)


def test_the_process_gets_everything_and_its_answer_is_returned():
    one = analyst(
        f"{READS}; print(json.dumps({{'result': [letter['ask'], len(letter['jobs'])]}}))"
    )
    answer: object = one.importance(RECORD, JOBS, "loss")
    assert answer == ["importance", 11]


def test_what_the_process_refuses_is_refused():
    said = "{'error': {'code': 'invalid_state', 'message': 'no'}}"
    with pytest.raises(InvalidState, match="no"):
        analyst(f"{READS}; print(json.dumps({said}))").importance(RECORD, JOBS, "loss")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import sys; sys.exit('out of luck')", "ended with 1: out of luck"),
        ("import os; os.kill(os.getpid(), 9)", "ended with -9: it said nothing"),
        ("print('half an ans')", "ended with 0"),
    ],
)
def test_a_process_that_dies_is_an_error_that_says_so(code, words):
    with pytest.raises(OrchestratorError, match=words):
        analyst(code).importance(RECORD, JOBS, "loss")


def test_one_that_takes_long_is_ended():
    slow = analyst("import signal; signal.pause()", longest_seconds=0.2)
    with pytest.raises(LimitExceeded, match=r"may take 0.2 s, that of 't' with its 11 training"):
        slow.importance(RECORD, JOBS, "loss")


def test_who_asks_when_the_service_ends_gets_an_error():
    told = threading.Event()
    slow = analyst(f"import signal; {READS}; signal.pause()")
    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(slow.importance, RECORD, JOBS, "loss")
        asked.add_done_callback(lambda _: told.set())
        while not told.wait(0.05):
            slow.close()
        assert isinstance(asked.exception(), OrchestratorError)
    with pytest.raises(Unavailable, match="is ending"):
        slow.importance(RECORD, JOBS, "loss")


def test_a_report_without_plotly_says_what_to_install():
    bare = analyst("", is_installed=lambda package: package != "plotly")
    with pytest.raises(InvalidState, match=r"pip install 'orchestrator\[report\]'"):
        bare.report(RECORD, JOBS)


def test_the_real_process_tells_importance():
    shares = Analyst().importance(RECORD, JOBS, "loss")
    assert sum(shares.values()) == pytest.approx(1)
    assert set(shares) == {"rate", "width"}
