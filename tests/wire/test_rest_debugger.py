"""Findings and recorded files over REST."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.wire.conftest import Submit, ended, until

pytestmark = pytest.mark.e2e

TELLS = """
for line in "$@"; do printf '%s\\n' "$line" > "$ORCHESTRATOR_RECORDS"; done
printf 12345 > /opt/ml/output/tensors/a.trace
"""
LINES = [
    '{"kind":"debugger","state":"watching","framework":"torch"}',
    '{"kind":"finding","rule":"non_finite","step":3,"message":"bad","values":{"a":NaN}}',
    "nonsense",
    '{"kind":"finding"}',
]
WAITS = "printf 123 > /opt/ml/output/tensors/a.trace; sleep 600"


def test_what_a_program_tells_is_found_and_its_files_are_read_in_parts(
    client: httpx.Client, submit: Submit
) -> None:
    told = {"container_arguments": ["sh", *LINES]}
    rules = ["non_finite", "dead_units"]
    submit(TELLS, debugger={"rules": rules}, algorithm_specification=told)
    ended(client)
    found: dict[str, Any] = client.get("training-jobs/job-1/findings").raise_for_status().json()
    assert (found["state"], found["framework"]) == ("ended", "torch")
    (finding,) = found["findings"]
    assert (finding["rule"], finding["step"], finding["values"]) == ("non_finite", 3, {"a": "nan"})
    assert [rule["status"] for rule in found["rules"]] == ["IssuesFound", "NoIssuesFound"]
    assert found["ignored_lines"] == 1
    files = client.get("training-jobs/job-1/tensors").json()["files"]
    assert files == [{"name": "a.trace", "size_bytes": 5}]
    path = "training-jobs/job-1/tensors/a.trace"
    part = client.get(path, params={"offset": 1, "limit_bytes": 2})
    assert part.content == b"23"
    assert part.headers["Orchestrator-Next-Offset"] == "3"
    assert part.headers["Orchestrator-Size"] == "5"
    assert part.headers["Orchestrator-Finished"] == "false"
    rest = client.get(path, params={"offset": 3})
    assert (rest.content, rest.headers["Orchestrator-Finished"]) == (b"45", "true")


def test_a_file_of_a_job_that_runs_is_not_finished(client: httpx.Client, submit: Submit) -> None:
    submit(WAITS, debugger={})
    until(client, "job-1", "Training")
    path = "training-jobs/job-1/tensors/a.trace"
    while (answer := client.get(path)).status_code == 404:
        pass
    assert answer.headers["Orchestrator-Finished"] == "false"
    assert client.get("training-jobs/job-1/findings").json()["state"] == "waiting"
    client.post("training-jobs/job-1/stop", json={"grace_seconds": 0})


@pytest.mark.parametrize(
    "path", ["findings", "tensors", "tensors/a.trace", "tensors/..%2Fx.trace", "tensors/x"]
)
def test_what_is_not_there_is_said(shared_client: httpx.Client, path: str) -> None:
    answer = shared_client.get(f"training-jobs/absent/{path}")
    assert answer.status_code in {400, 404}
    assert answer.json()["message"]
