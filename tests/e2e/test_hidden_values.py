"""Values whose names say that they are secret reach the program, and nobody else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator import ModelTrainer, TrainingJob
from orchestrator.cli import reporting
from orchestrator.embedded import LocalTransport
from orchestrator.errors import JobFailed
from orchestrator.report.job import render_job
from orchestrator.sdk.http import HttpTransport
from orchestrator.server import ServeOptions, Server
from orchestrator.settings import Settings

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

SCRIPT = """
import argparse, os
parser = argparse.ArgumentParser()
parser.add_argument("--api_token")
parser.add_argument("--tokenizer")
given = parser.parse_args()
print(len(given.api_token), len(os.environ["DB_PASSWORD"]), given.tokenizer)
raise ValueError(f"{given.api_token} and {os.environ['DB_PASSWORD']} were refused")
"""
PASSWORD, TOKEN = "correct-horse", "hf_0123456789"


def test_they_are_masked_in_log_reason_answers_and_report(
    trainer: Callable[..., ModelTrainer], orchestrator_home: Path
) -> None:
    job = trainer(
        SCRIPT,
        environment={"DB_PASSWORD": PASSWORD},
        hyperparameters={"api_token": TOKEN, "tokenizer": "bert-base"},
    ).train(job_name="job", logs=False)
    with pytest.raises(JobFailed) as failed:
        job.result()
    lines = list(job.logs())
    assert f"{len(TOKEN)} {len(PASSWORD)} bert-base" in lines  # the program had them
    assert "ValueError: *** and *** were refused" in lines
    with Server(Settings(home=orchestrator_home), ServeOptions(port=0)) as server:
        remote = HttpTransport(server.url, home=orchestrator_home)
        local = LocalTransport(orchestrator_home)
        said = [
            str(failed.value),
            *lines,
            str(remote.describe("job")),
            str(local.describe("job")),
            str(remote.list_jobs()),
            render_job(reporting.gather(local, TrainingJob.get("job", local).record, lines=100)),
        ]
        remote.close()
        local.close()
    for text in said:
        assert PASSWORD not in text
        assert TOKEN not in text
