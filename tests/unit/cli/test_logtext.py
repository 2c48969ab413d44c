"""Whole logs, their ends, and their bytes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli import logtext
from orchestrator.errors import InvalidSpec, NotFound
from tests.unit.cli.records import Jobs, record

TWO_HOSTS = {"resource_config": {"instance_count": 2}}


def texts(lines) -> list[str]:
    return [line.text for line in lines]


@given(
    lines=st.lists(st.text(alphabet="aä€ \t\r", max_size=9), max_size=30),
    count=st.integers(0, 35),
    ends=st.booleans(),
)
def test_the_tail_is_the_end_of_all_lines(lines, count, ends):
    data = "\n".join(lines) + ("\n" if ends and lines else "")
    jobs = Jobs(record("job"), logs={("job", "algo-1"): data.encode()})
    every = texts(logtext.lines("algo-1", logtext.chunks(jobs, "job", "algo-1")))
    found = texts(logtext.tail_lines(jobs, "job", "algo-1", count))
    assert found == (every[-count:] if count else [])


def test_the_tail_of_a_long_log_reads_only_its_end():
    data = b"".join(b"line %07d\n" % n for n in range(200_000))
    jobs = Jobs(record("job"), logs={("job", "algo-1"): data})
    found = texts(logtext.tail_lines(jobs, "job", "algo-1", 3))
    assert found == ["line 0199997", "line 0199998", "line 0199999"]
    assert jobs.read_bytes <= 2 * logtext.TAIL_BYTES


def test_the_tail_of_lines_longer_than_the_window_is_still_whole():
    data = b"a" * 300_000 + b"\n" + b"b" * 300_000 + b"\n"
    jobs = Jobs(record("job"), logs={("job", "algo-1"): data})
    found = texts(logtext.tail_lines(jobs, "job", "algo-1", 1))
    assert found == ["b" * 300_000]


def test_hosts_follow_each_other_with_their_names(capsys):
    logs = {("job", "algo-1"): b"a\n\x1b[31mb\n", ("job", "algo-2"): b"c\n"}
    jobs = Jobs(record("job", spec=TWO_HOSTS), logs=logs)
    job = jobs.records["job"]
    every = logtext.hosts(job, None)
    logtext.print_lines(jobs, job, every, attempt=None, tail=None, as_json=False)
    assert capsys.readouterr().out == "[algo-1] a\n[algo-1] b\n[algo-2] c\n"
    logtext.print_lines(jobs, job, ("algo-1",), attempt=None, tail=1, as_json=True)
    assert json.loads(capsys.readouterr().out) == {
        "event": "log",
        "host": "algo-1",
        "text": "\x1b[31mb",
    }


def test_raw_bytes_are_as_they_are(capfdbinary):
    data = bytes(range(256)) * 10
    jobs = Jobs(record("job"), logs={("job", "algo-1"): data})
    logtext.print_raw(jobs, jobs.records["job"], ("algo-1",), attempt=None, follow=False)
    assert capfdbinary.readouterr().out == data


def test_raw_bytes_of_several_hosts_at_once_are_refused():
    jobs = Jobs(record("job", spec=TWO_HOSTS))
    with pytest.raises(InvalidSpec, match="add --host algo-1"):
        logtext.print_raw(
            jobs, jobs.records["job"], ("algo-1", "algo-2"), attempt=None, follow=False
        )


def test_an_unknown_host_is_told_with_the_known_ones():
    job = record(spec=TWO_HOSTS)
    assert logtext.hosts(job, "algo-2") == ("algo-2",)
    with pytest.raises(NotFound, match="one of algo-1, algo-2, got 'algo-9'"):
        logtext.hosts(job, "algo-9")


@pytest.mark.parametrize("wrong", [{"attempt": 1, "tail": None}, {"attempt": None, "tail": 5}])
def test_following_shows_whole_jobs_only(wrong):
    with pytest.raises(InvalidSpec, match="leave it out"):
        logtext.check_follow(**wrong)
