"""What people see of a job: text of a failure, HTML in a notebook; nothing in it is acted on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.sdk.jobs import TrainingJob, failure_text
from orchestrator.sdk.notebook import in_notebook, job_html, tuning_html
from orchestrator.spec.job import TrainingJobSpec
from orchestrator.spec.record import Artifact, Explanation, MetricValue, TrainingJobRecord
from orchestrator.spec.state import EndReason, SecondaryStatus, TrainingJobStatus
from orchestrator.spec.tuned import ObjectiveStatus, TunedJob
from orchestrator.store.memory import MemoryStore
from orchestrator.testing.store_jobs import SetClock
from orchestrator.tuner.overview import overview_of
from tests.unit.tuner.world import tuning_spec

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def failed(**explanation: Any) -> TrainingJobRecord:
    """Return a failed job."""
    why = {"reason": EndReason.EXIT_CODE, "summary": "it broke"} | explanation
    return TrainingJobRecord(
        number=1,
        spec=TrainingJobSpec(
            training_job_name="job",
            algorithm_specification={"container_entrypoint": ("true",)},  # type: ignore[arg-type]
        ),
        arn="arn",
        status=TrainingJobStatus.FAILED,
        secondary_status=SecondaryStatus.FAILED,
        end_reason=EndReason.EXIT_CODE,
        message="the program exited with code 1",
        attempt=2,
        created_at=NOW,
        modified_at=NOW,
        final_metrics=(MetricValue(name="loss", value=0.123456789, at=NOW),),
        artifacts={"model": Artifact(uri="/there/model.tar.gz", bytes=1, files=1)},
        explanation=Explanation(**why),
    )


def test_a_failure_is_told_with_place_code_hint_and_last_lines() -> None:
    text = failure_text(
        failed(
            summary="ValueError: boom",
            host="algo-2",
            user_frame="train.py:12 in step",
            exit_code=1,
            hint="try less",
            log_tail=("line 1", "line 2"),
        )
    )
    assert text.splitlines() == [
        "training job job failed: ValueError: boom",
        "  on host algo-2, at train.py:12 in step",
        "  exit code 1",
        "  hint: try less",
        "  last log lines:",
        "    line 1",
        "    line 2",
    ]


def test_a_signal_is_named() -> None:
    assert "exit code None (SIGKILL)" in failure_text(failed(signal="SIGKILL"))


def test_a_failure_without_explanation_still_says_why() -> None:
    record = failed().model_copy(update={"explanation": None})
    assert failure_text(record) == "training job job Failed: the program exited with code 1"


def test_a_job_is_a_table_in_a_notebook() -> None:
    html = job_html(failed(hint="try less"))
    for part in ("Failed / Failed", "0.123457", "/there/model.tar.gz", "it broke", "try less"):
        assert part in html


@given(st.text())
def test_no_text_becomes_markup(text: str) -> None:
    html = job_html(failed(summary=f"<script>{text}</script>", hint=text))
    assert "<script" not in html
    assert html.count("<table>") == 1


def test_a_handle_is_readable() -> None:
    transport: Any = None
    job = TrainingJob(failed(), transport)
    assert repr(job) == "TrainingJob('job', Failed/Failed)"
    assert job._repr_html_() == job_html(job.record)
    assert not in_notebook()


def test_a_tuning_job_in_a_cell() -> None:
    best = TunedJob(
        index=1,
        definition_name="only",
        job_name="t-001",
        values={"rate": "<b>0.1</b>", "api_key": "hidden"},
        created_at=NOW,
        objectives=(0.25,),
        objective_status=ObjectiveStatus.SUCCEEDED,
        status=TrainingJobStatus.COMPLETED,
    )
    store = MemoryStore(clock=SetClock())
    record = store.tunings.create(tuning_spec(), arn="arn:t", now=NOW)
    found = tuning_html(overview_of(record, [best]))
    assert "1 of 6 ended, best loss 0.25" in found
    assert "t-001" in found
    assert "&lt;b&gt;0.1" in found
    assert "hidden" not in found
