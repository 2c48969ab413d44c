"""What a report gathers, and how its file is written."""

from __future__ import annotations

import stat

import pytest

from orchestrator.cli.reporting import LONGEST_LINE, gather, show
from orchestrator.errors import InvalidSpec
from orchestrator.report.file import write
from tests.unit.cli.records import Jobs, curve, record

SPEC = {"tags": [{"key": "team", "value": "a"}]}


def test_a_report_has_curves_tags_and_the_ends_of_the_logs():
    data = b"".join(b"line %d\n" % n for n in range(10)) + b"x" * 5000 + b"\n"
    jobs = Jobs(
        record("job", spec=SPEC),
        logs={("job", "algo-1"): data},
        curves={("job", "loss"): curve("loss", [1.0, None])},
    )
    report = gather(jobs, jobs.records["job"], lines=3)
    assert report.tags == {"team": "a"}
    assert [series.name for series in report.curves] == ["loss"]
    (tail,) = report.logs
    assert tail.lines[:2] == ("line 8", "line 9")
    assert tail.lines[2].endswith("… (3,000 more characters)")
    assert len(tail.lines[2]) < LONGEST_LINE + 40
    assert (tail.total_bytes, tail.is_whole) == (len(data), False)


def test_a_short_log_is_whole():
    jobs = Jobs(record("job"), logs={("job", "algo-1"): b"one\ntwo\n"})
    (tail,) = gather(jobs, jobs.records["job"], lines=2).logs
    assert tail.lines == ("one", "two")
    assert tail.is_whole


def test_no_log_lines_may_be_wanted():
    jobs = Jobs(record("job"), logs={("job", "algo-1"): b"one\n"})
    (tail,) = gather(jobs, jobs.records["job"], lines=0).logs
    assert (tail.lines, tail.is_whole) == ((), False)


def test_the_file_appears_whole_and_is_the_owners(tmp_path):
    path = tmp_path / "report.html"
    write(path, "first")
    write(path, "second ü")
    assert path.read_text(encoding="utf-8") == "second ü"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


@pytest.mark.parametrize(
    ("place", "words"), [("new/report.html", "mkdir -p .*new`"), (".", "is a directory")]
)
def test_no_directory_is_made_for_the_file(tmp_path, place, words):
    with pytest.raises(InvalidSpec, match=words):
        write(tmp_path / place, "text")
    assert not list(tmp_path.iterdir())


def test_without_a_screen_no_browser_is_started(tmp_path, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    assert not show(tmp_path / "report.html")
