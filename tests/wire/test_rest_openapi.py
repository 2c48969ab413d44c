"""The OpenAPI document: complete, without free-form objects, and kept by the service."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestrator.server import Server
from tests.wire.conftest import client_of, ended, shell, tuning, tuning_ended, until

HERE = Path(__file__).parent
MIN_SHARE_REACHED = 0.9

LEAVES = """
echo loss=0.5
echo weights > /opt/ml/model/weights
echo more > /opt/ml/output/data/more
echo recorded > /opt/ml/output/tensors/a.trace
"""


@pytest.fixture(scope="module")
def document(shared_client: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = shared_client.get("openapi.json").json()
    return found


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        operation["operationId"]: operation
        for path in document["paths"].values()
        for operation in path.values()
    }


def schemas_in(value: Any, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema of the document, with its place."""
    if isinstance(value, dict):
        if "type" in value or "$ref" in value or "anyOf" in value:
            yield place, value
        for key, inner in value.items():
            if key not in {"example", "examples", "default"}:
                yield from schemas_in(inner, f"{place}/{key}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from schemas_in(inner, f"{place}/{number}")


def test_every_operation_says_what_it_takes_gives_and_refuses(document: dict[str, Any]) -> None:
    found = operations(document)
    assert len(found) == 31
    for name, operation in found.items():
        assert operation["summary"], name
        assert operation["tags"], name
        answers = operation["responses"]
        assert {"400", "401", "503"} <= set(answers), name
        for status, answer in answers.items():
            if status[0] != "2" and name != "has_source":
                schema = answer["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/Problem"}, (name, status)
        good = [answer for status, answer in answers.items() if status[0] == "2"]
        assert len(good) == 1, name
        if name not in {"delete_training_job", "delete_tuning_job", "has_source"}:
            assert all(content["schema"] for content in good[0]["content"].values()), name


def test_no_object_is_free_form_except_maps_of_known_values(document: dict[str, Any]) -> None:
    for place, schema in schemas_in(document["components"]["schemas"], ""):
        if schema.get("type") == "object":
            values = schema.get("additionalProperties")
            is_map = (isinstance(values, dict) and bool(values)) or "patternProperties" in schema
            assert "properties" in schema or is_map, place
            assert values is not True, place
        if schema.get("type") == "array":
            assert schema.get("items") or schema.get("prefixItems"), place
    for place, schema in schemas_in(document["paths"], ""):
        assert schema != {"type": "object"}, place


def test_properties_are_described_where_their_name_does_not_say_all(
    document: dict[str, Any],
) -> None:
    schemas = document["components"]["schemas"]
    assert "handle" not in schemas["Host"]["properties"]
    assert schemas["TrainingJob"]["properties"]["revision"]["description"]
    assert schemas["SubmitRequest"]["properties"]["secrets"]["description"]


@pytest.mark.e2e
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("examples", [5, pytest.param(200, marks=pytest.mark.slow)])
def test_schemathesis_finds_nothing_and_reaches_nearly_all(
    server: Server, document: dict[str, Any], tmp_path: Path, examples: int
) -> None:
    archive, digest = packed(tmp_path)
    with client_of(server) as client:
        fill(client)
        report = tmp_path / "report.ndjson"
        done = run_schemathesis(server, tmp_path, archive, digest, report, examples)
        running = client.get("training-jobs", params={"status_equals": "InProgress"}).json()
        for tuning_job in client.get("tuning-jobs").json()["jobs"]:
            client.post(f"tuning-jobs/{tuning_job['spec']['tuning_job_name']}/stop")
        for job in running["jobs"]:
            client.post(f"training-jobs/{job['name']}/stop", json={"grace_seconds": 0})
        for job in running["jobs"]:
            ended(client, job["name"])
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
    statuses = statuses_by_operation(report)
    reached = {name for name, seen in statuses.items() if any(200 <= s < 300 for s in seen)}
    wanted = {
        f"{method.upper()} {path}"
        for path, methods in document["paths"].items()
        for method in methods
    }
    missed = wanted - reached
    assert len(missed) <= (1 - MIN_SHARE_REACHED) * len(wanted), sorted(missed)


def packed(folder: Path) -> tuple[Path, str]:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        member = tarfile.TarInfo("train.py")
        member.size = 4
        tar.addfile(member, io.BytesIO(b"pass"))
    data = gzip.compress(buffer.getvalue(), mtime=0)
    path = folder / "source.tar.gz"
    path.write_bytes(data)
    return path, hashlib.sha256(data).hexdigest()


def fill(client: httpx.Client) -> None:
    """Jobs that are there while everything is tried: one that left all, one to delete, one to stop."""
    algorithm = {"metric_definitions": [{"name": "train:loss", "regex": "loss=([0-9.]+)"}]}
    specs = [
        shell(LEAVES, "kept-1", algorithm_specification=algorithm, debugger={}),
        shell("true", "ended-1"),
        shell("sleep 600", "running-1"),
    ]
    for spec in specs:
        client.post("training-jobs", json={"spec": spec}).raise_for_status()
    assert ended(client, "kept-1")["artifacts"].keys() == {"model", "output"}
    ended(client, "ended-1")
    until(client, "running-1", "Training")
    searched = {"max_number_of_training_jobs": 11, "max_parallel_training_jobs": 2}
    searches = [
        tuning("echo loss=$SM_HP_RATE", "kept-1", limits=searched),
        tuning("true", "ended-1"),
    ]
    for spec in searches:
        client.post("tuning-jobs", json={"spec": spec}).raise_for_status()
        tuning_ended(client, spec["tuning_job_name"])
    # Computed once, by a process of its own; the service keeps the answer.
    client.get("tuning-jobs/kept-1/importance").raise_for_status()
    client.post("tuning-jobs", json={"spec": tuning("sleep 600", "running-1")}).raise_for_status()


def run_schemathesis(
    server: Server, folder: Path, archive: Path, digest: str, report: Path, examples: int
) -> subprocess.CompletedProcess[str]:
    config = folder / "schemathesis.toml"
    text = (HERE / "schemathesis.toml").read_text().replace("DIGEST", digest)
    hooks = json.dumps("schemathesis_hooks")
    config.write_text(f"hooks = {hooks}\n{text}")
    return subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            f"--config-file={config}",
            "run",
            f"{server.url}/api/v1/openapi.json",
            f"--header=Authorization: Bearer {server.token}",
            f"--max-examples={examples}",
            "--seed=1",
            "--report=ndjson",
            f"--report-ndjson-path={report}",
        ],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": str(HERE),
            "ORCHESTRATOR_TEST_ARCHIVE": str(archive),
            "ORCHESTRATOR_TEST_DIGEST": digest,
            "NO_COLOR": "1",
        },
    )


def statuses_by_operation(report: Path) -> dict[str, set[int]]:
    """What was answered, by method and path as the document has them."""
    found: dict[str, set[int]] = defaultdict(set)
    for line in report.read_text().splitlines():
        scenario = json.loads(line).get("ScenarioFinished")
        if scenario is None:
            continue
        recorder = scenario["recorder"]
        for number, interaction in recorder.get("interactions", {}).items():
            case = recorder["cases"][number]["value"]
            answer = interaction.get("response")
            if answer:
                found[f"{case['method']} {case['path']}"].add(answer["status_code"])
    return found
