"""The report of a job: everything on one page, nothing loaded, nothing secret."""

from __future__ import annotations

import re

import pytest

from orchestrator.report.chart import Series
from orchestrator.report.job import JobReport, LogTail, phases, render_job
from orchestrator.report.timeline import Phase, timeline
from tests.unit.cli.records import at, failed, record, running, transitions
from tests.unit.report.reading import HOSTILE, Page


def report(job, **parts) -> str:
    values = {"record": job, "made_at": at(70), "version": "1.2.3", **parts}
    return render_job(JobReport(**values))


FULL_SPEC = {
    "hyper_parameters": {"epochs": "3", "api_key": "hidden-1"},
    "environment": {"MODE": "fast", "HF_TOKEN": "hidden-2"},
    "secrets": ["DB_PASSWORD"],
    "input_data_config": [{"channel_name": "train", "uri": "s3://bucket/data"}],
    "source_code": {
        "digest": "b" * 64,
        "entry_script": "train.py",
        "arguments": ["--password", "hidden-3", "--seed", "7"],
    },
    "algorithm_specification": {
        "metric_definitions": [{"name": "loss", "regex": "loss=([0-9.]+)"}]
    },
}


def full() -> str:
    """A report with everything in it."""
    job = failed().model_copy(
        update={"spec": record("bad-1", spec=FULL_SPEC).spec, "notes": {"sandbox": "bubblewrap"}}
    )
    return report(
        job,
        curves=(Series("loss", (1.0, 2.0), (2.0, 1.0), 2), Series("once", (1.0,), (7.0,), 1)),
        logs=(LogTail("algo-1", 1, ("line 1", "line 2"), 1450, is_whole=False),),
        tags={"team": "vision"},
    )


def test_a_page_is_well_formed_and_loads_nothing():
    text = full()
    page = Page(text)
    names = {name for name, _ in page.tags}
    assert not names & {"script", "link", "iframe", "img", "object", "embed", "base", "form", "a"}
    for name, attributes in page.tags:
        loads = {"src", "href", "srcset", "data", "action", "xlink:href", "poster"} & set(
            attributes
        )
        assert not loads, f"{name} loads {loads}"
        assert not [key for key in attributes if key.startswith("on")]
    assert not re.search(r"url\(|@import|https?://", text)


def test_a_policy_forbids_what_might_slip_in():
    policies = [a["content"] for n, a in Page(full()).tags if a.get("http-equiv")]
    assert policies
    assert str(policies[0]).startswith("default-src 'none'")


def test_everything_about_a_job_is_there():
    text = Page(full()).text
    for part in (
        "bad-1",
        "Failed",
        "ValueError: boom at train.py:4 in step",
        "do not raise it",
        "starting",
        "Phases",
        "algo-1, attempt 1: the last 2 lines (1.45 kB)",
        "line 2",
        "epochs",
        "s3://bucket/data",
        "loss=([0-9.]+)",
        "DB_PASSWORD",
        "team",
        "vision",
        "bubblewrap",
        "b" * 64,
        "orchestrator run . --entry-script train.py",
        "from orchestrator import",
        "orchestrator 1.2.3 · 2026-03-01 12:01:10 UTC",
    ):
        assert part in text, part


def test_secrets_are_nowhere():
    assert "hidden" not in full()


def test_curves_of_more_than_one_point_are_drawn():
    page = Page(full())
    labels = [a.get("aria-label") for n, a in page.tags if n == "svg"]
    assert "curve of loss" in labels
    assert "curve of once" not in labels


@pytest.mark.parametrize("part", ["summary", "hint", "user_frame", "exception_message"])
def test_an_explanation_cannot_break_the_page(part):
    text = report(failed(**{part: HOSTILE}))
    Page(text)
    assert "<script" not in text
    assert "\x1b" not in text


def test_no_foreign_text_can_break_the_page():
    spec = {
        "hyper_parameters": {HOSTILE: HOSTILE},
        "environment": {"NAME": HOSTILE},
        "source_code": {"digest": "a" * 64, "entry_script": HOSTILE, "arguments": [HOSTILE]},
        "input_data_config": [{"channel_name": "train", "uri": f"/{HOSTILE}"}],
        "tags": [{"key": HOSTILE, "value": HOSTILE}],
    }
    job = record(
        spec=spec,
        message=HOSTILE,
        notes={HOSTILE: HOSTILE},
        final_metrics=[{"name": HOSTILE, "value": 1.0, "at": at(3)}],
        artifacts={HOSTILE: {"uri": f"file:///{HOSTILE}", "bytes": 1, "files": 1}},
    )
    text = report(
        job,
        curves=(Series(HOSTILE, (1.0, 2.0), (1.0, float("nan")), 2),),
        logs=(LogTail(HOSTILE, 1, (HOSTILE, "</pre>"), 1, is_whole=True),),
        tags={HOSTILE: HOSTILE},
    )
    Page(text)
    assert "<script" not in text
    assert "\x1b" not in text
    assert "<\\/script" not in text


def test_a_running_job_has_a_report_too():
    text = Page(report(running("mine"))).text
    assert "running for 1 min 10 s" in text
    assert "Training" in text


def test_a_job_that_was_never_placed_has_a_report():
    waiting = [{"status": "Pending", "started_at": at(0)}]
    job = running("mine", transitions=waiting, hosts=[], attempt=0, secondary_status="Pending")
    assert "Pending 1 min 10 s" in report(job)


def test_a_log_that_is_whole_says_so():
    tail = LogTail("algo-1", 1, (), 0, is_whole=True)
    text = Page(report(record(), logs=(tail,))).text
    assert "algo-1, attempt 1: all of it (0 bytes)" in text
    assert "(nothing was printed)" in text


def test_what_is_empty_is_left_out():
    text = Page(report(record(artifacts={}, final_metrics=[]))).text
    assert "Artifacts" not in text
    assert "Metrics" not in text
    assert "Hyperparameters" not in text


def test_the_phases_have_their_attempts():
    both = [*transitions("Completed")[:-1], *transitions("Completed", attempt=2)]
    found = phases(record(transitions=both, attempt=2), at(70))
    assert {phase.attempt for phase in found} == {1, 2}


def test_the_timeline_is_to_scale_and_has_a_row_for_each_attempt():
    bars = timeline(
        [
            Phase("Pending", 1, at(0), at(25)),
            Phase("Training", 1, at(25), at(100)),
            Phase("Training", 2, at(100), at(200)),
        ]
    )
    assert bars is not None
    widths = [float(w) for w in re.findall(r'width="([\d.]+)"', bars)]
    assert widths[1] == pytest.approx(3 * widths[0], rel=0.01)
    assert "attempt 1" in bars
    assert "attempt 2" in bars
    assert "Training 1 min 15 s" in bars


def test_no_time_is_no_timeline():
    assert timeline([]) is None
    assert timeline([Phase("Completed", 1, at(4), at(4))]) is None
