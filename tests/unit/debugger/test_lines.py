"""debugger.jsonl: the program may write anything into it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.debugger.evaluation import evaluate
from orchestrator.debugger.lines import MOST_FINDINGS, Lines, read_lines
from orchestrator.debugger.lines import _Found as Found
from orchestrator.debugger.texts import shown_text
from tests.unit.debugger.seen import ENDED, WATCHING, finding, watched, write

TEXT = st.text('a\u00e9\x1b\n\u2028"', max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)
MEMBERS = tuple({**finding(), **WATCHING, **ENDED, "reason": "", "error": ""})


def test_a_finding_is_read_with_all_it_says(tmp_path: Path):
    write(tmp_path, WATCHING, finding(stop=True), ENDED)
    lines = read_lines(tmp_path, watched())
    (found,) = lines.findings
    assert (found.attempt, found.host, found.rule, found.step) == (1, "algo-1", "non_finite", 7)
    assert found.values == {"l2": "nan", "loss": 2.5}
    assert found.remedies == ("lower it",)
    assert found.stop
    assert [state.state for state in lines.states] == ["watching", "ended"]
    assert (lines.ignored, lines.left_out) == (0, 0)


def test_attempts_and_hosts_come_in_their_order_and_foreign_ones_not_at_all(tmp_path: Path):
    job = watched(attempt=2, spec={"resource_config": {"instance_count": 2}})
    for attempt in (3, 2, 1):
        for host in ("algo-3", "algo-2", "algo-1"):
            write(tmp_path, finding(), attempt=attempt, host=host)
    found = [(each.attempt, each.host) for each in read_lines(tmp_path, job).findings]
    assert found == [(1, "algo-1"), (1, "algo-2"), (2, "algo-1"), (2, "algo-2")]


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"\xff\xfe",
        b"[" * 5000,
        b"null",
        b"x" * 20_000,
        finding(step=None),
        finding(step=-1),
        finding(step=True),
        finding(step=1 << 70),
        finding(rule=""),
        finding(rule=["x"]),
        {**WATCHING, "state": "fine"},
        {**WATCHING, "state": []},
        {"kind": "metric"},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_counted(tmp_path: Path, line: Any):
    write(tmp_path, line, finding())
    lines = read_lines(tmp_path, watched())
    assert len(lines.findings) == 1
    assert lines.ignored == 1


def test_a_line_that_is_still_written_waits(tmp_path: Path):
    write(tmp_path, finding(), tail=b'{"kind": "find')
    lines = read_lines(tmp_path, watched())
    assert (len(lines.findings), lines.ignored) == (1, 0)


def test_findings_that_are_too_many_are_counted(tmp_path: Path):
    write(tmp_path, *[finding()] * (MOST_FINDINGS + 5))
    lines = read_lines(tmp_path, watched())
    assert (len(lines.findings), lines.left_out) == (MOST_FINDINGS, 5)


@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
def test_only_a_plain_file_is_read(tmp_path: Path, kind: str):
    write(tmp_path, finding(), host="elsewhere")
    directory = tmp_path / "attempts" / "1" / "algo-1"
    directory.mkdir()
    path = directory / "debugger.jsonl"
    if kind == "link":
        path.symlink_to(tmp_path / "attempts" / "1" / "elsewhere" / "debugger.jsonl")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    assert read_lines(tmp_path, watched()) == Lines()


def test_texts_cannot_steer_a_terminal_and_hide_what_is_secret(tmp_path: Path):
    job = watched(spec={"environment": {"API_KEY": 'tricky"value\\1'}})
    write(tmp_path, finding(message='\x1b[2J key tricky"value\\1\nnext', layers=["a\x07b"]))
    (found,) = read_lines(tmp_path, job).findings
    assert found.message == "[2J key *** next"
    assert found.layers == ("a b",)


@given(
    st.dictionaries(st.sampled_from([*MEMBERS]), JSON), st.sampled_from(["finding", "debugger"])
)
def test_no_line_breaks_a_report(line: dict[str, Any], kind: str):
    found = Found(shown_text())
    found.take(1, "algo-1", json.dumps({**line, "kind": kind}).encode())
    report = evaluate(watched(), found.lines())
    json.dumps(report.model_dump(mode="json"), allow_nan=False)
