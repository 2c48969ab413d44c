"""Small texts of the interface: events, positions, numbers, log lines, records."""

from __future__ import annotations

import json
import logging
import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator.api.errors import problem_response, violations
from orchestrator.api.journal import JsonLines
from orchestrator.api.prometheus import family
from orchestrator.api.stream import Position, event, log_position
from orchestrator.api.views import SubmitRequest, TrainingJob, job_json
from orchestrator.errors import InvalidSpec, NotFound, StoreError, Unauthorized
from orchestrator.spec.job import TrainingJobSpec
from orchestrator.spec.record import HostRecord, MetricValue, TrainingJobRecord
from orchestrator.spec.state import SecondaryStatus, TrainingJobStatus

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def record(**fields: object) -> TrainingJobRecord:
    spec = TrainingJobSpec.parse(
        {
            "training_job_name": "job",
            "algorithm_specification": {"container_entrypoint": ["run"]},
        }
    )
    values: dict[str, object] = {
        "number": 1,
        "spec": spec,
        "arn": "arn",
        "status": TrainingJobStatus.IN_PROGRESS,
        "secondary_status": SecondaryStatus.PENDING,
        "created_at": MOMENT,
        "modified_at": MOMENT,
    }
    return TrainingJobRecord.model_validate(values | fields)


@given(st.text())
def test_no_text_can_forge_an_event(text: str) -> None:
    sent = event("lines", json.dumps({"text": text}), "1:5").decode()
    assert sent.splitlines()[:2] == ["event: lines", "id: 1:5"]
    assert sent.count("\n") == 4
    assert json.loads(sent.split("data: ")[1]) == {"text": text}


@pytest.mark.parametrize(
    ("given_id", "position"),
    [("", Position(7, 3)), ("12", Position(7, 12)), ("2:12", Position(2, 12))],
)
def test_a_stream_goes_on_behind_the_last_event(given_id: str, position: Position) -> None:
    assert log_position(given_id, 7, 3) == position


@given(st.text(max_size=20))
def test_any_id_is_understood_or_refused(text: str) -> None:
    try:
        position = log_position(text, None, 0)
    except InvalidSpec:
        return
    assert position.offset >= 0


def test_numbers_are_written_whole_and_labels_escaped() -> None:
    text = family("jobs", "gauge", "Jobs.", {(("name", 'a"b\\c\nd'),): 12345678, (): 0.5})
    assert text.splitlines() == [
        "# HELP jobs Jobs.",
        "# TYPE jobs gauge",
        'jobs{name="a\\"b\\\\c\\nd"} 12345678',
        "jobs 0.5",
    ]


@given(st.text(), st.text())
def test_a_log_record_is_one_line_of_json(message: str, name: str) -> None:
    """Fault 26: nothing in a message begins a new line."""
    made = logging.LogRecord(name, logging.INFO, "file", 1, "%s", (message,), None)
    line = JsonLines().format(made)
    assert len(line.splitlines()) == 1
    assert json.loads(line)["message"] == message


def test_a_record_is_shown_without_handles() -> None:
    host = HostRecord(
        host="algo-1", rank=0, instance_group="g", instance_type="local", handle={"secret": 1}
    )
    shown = json.loads(job_json(record(hosts=[host])))
    assert "handle" not in shown["hosts"][0]
    assert TrainingJob.model_validate(shown).hosts[0].host == "algo-1"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.5])
def test_every_metric_value_survives_json(value: float) -> None:
    metric = MetricValue(name="loss", value=value, at=MOMENT)
    text = job_json(record(final_metrics=[metric]))
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    read = TrainingJobRecord.model_validate_json(text).final_metrics[0].value
    assert read == value or (math.isnan(read) and math.isnan(value))


def test_a_record_is_the_same_behind_the_wire() -> None:
    original = record()
    assert TrainingJobRecord.model_validate_json(job_json(original)) == original


def test_an_error_has_one_shape() -> None:
    answer = problem_response(NotFound("no \ud800 such", details={"n": 1}))
    assert answer.status_code == 404
    assert json.loads(bytes(answer.body)) == {
        "code": "not_found",
        "message": "no \\ud800 such",
        "details": {"n": "1"},
    }
    assert "retry-after" in problem_response(StoreError("locked")).headers
    assert problem_response(Unauthorized("who")).headers["www-authenticate"] == "Bearer"


def test_all_broken_rules_are_named_at_once() -> None:
    with pytest.raises(ValidationError) as caught:
        SubmitRequest.model_validate({"spec": {"training_job_name": "bad name", "priority": 9999}})
    message = violations(caught.value.errors()).message
    assert "2 rules" in message
    assert "spec.training_job_name" in message
    assert "got 9999" in message
