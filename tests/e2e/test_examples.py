"""The example jobs as their README says: `orchestrator run jobs/NAME`, with what job.toml asks for."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.jobs import running

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

EPOCHS = 2

every_job = pytest.mark.parametrize(
    ("job", "metric"),
    [
        pytest.param("digits_cnn", "validation:accuracy", marks=pytest.mark.torch),
        pytest.param("digits_keras", "validation:accuracy", marks=pytest.mark.tensorflow),
        pytest.param("series_lstm", "validation:rmse", marks=pytest.mark.torch),
    ],
)


def orchestrator(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a shell does."""
    return subprocess.run(
        [Path(sys.executable).parent / "orchestrator", *words],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def described(folder: Path) -> dict[str, Any]:
    """Return the record of the job that was started last."""
    record: dict[str, Any] = json.loads(orchestrator(folder, "describe", "@last", "--json").stdout)
    return record


class TestAnExample:
    @every_job
    def test_runs_from_its_folder_and_leaves_metrics_and_artifacts(
        self, job: str, metric: str, orchestrator_home: Path, tmp_path: Path
    ):
        words = ["--python", running.interpreter(job), "-H", f"epochs={EPOCHS}"]
        done = orchestrator(tmp_path, "run", str(running.JOBS / job), *words)
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"epoch {EPOCHS}/{EPOCHS} " in done.stdout
        record = described(tmp_path)
        assert record["status"] == "Completed"
        values = {found["name"]: found["value"] for found in record["final_metrics"]}
        assert {"train:loss", metric} < set(values)
        assert any(name.startswith("test:") for name in values)
        assert record["spec"]["algorithm_specification"]["metric_definitions"][0]["name"] == metric
        assert record["spec"]["stopping_condition"]["max_runtime_in_seconds"] == 600
        assert orchestrator(tmp_path, "download", "@last").returncode == 0
        with tarfile.open(tmp_path / "model.tar.gz") as archive:
            assert "model_card.json" in archive.getnames()
