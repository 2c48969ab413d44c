"""The real aws command of PyPI, in a process with the variables of ``orchestrator env`` only."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from orchestrator.cli import aws_environment
from orchestrator.server import Server

pytestmark = [pytest.mark.awscli, pytest.mark.timeout(120)]


def aws(
    command: Path, server: Server, home: Path, *words: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    found = aws_environment.variables(server.service.home, server.url)
    return subprocess.run(
        [command, *words],
        env={"HOME": str(home), "PATH": "/usr/bin:/bin", **found, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_it_is_told_who_asks(aws_command: Path, aws_server: Server, tmp_path: Path) -> None:
    done = aws(aws_command, aws_server, tmp_path, "sts", "get-caller-identity")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["Account"] == "000000000000"


def test_it_turns_pages(aws_command: Path, aws_server: Server, tmp_path: Path) -> None:
    words = ["iam", "simulate-principal-policy", "--page-size", "2", "--action-names"]
    words += ["a:1", "a:2", "a:3", "--policy-source-arn", "arn:aws:iam::000000000000:role/x"]
    done = aws(aws_command, aws_server, tmp_path, *words)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["EvaluationResults"]) == 3


def test_it_gets_a_password_for_docker(
    aws_command: Path, aws_server: Server, tmp_path: Path
) -> None:
    done = aws(aws_command, aws_server, tmp_path, "ecr", "get-login-password")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize(
    "words", [("sts", "get-session-token"), ("cloudwatch", "list-dashboards")]
)
def test_it_is_told_at_once_what_is_not_served(
    aws_command: Path, aws_server: Server, tmp_path: Path, words: tuple[str, ...]
) -> None:
    done = aws(aws_command, aws_server, tmp_path, *words)
    assert done.returncode == 255
    assert "(UnknownOperationException)" in done.stderr
    assert "sts:GetCallerIdentity" in done.stderr


def test_a_wrong_secret_is_said(aws_command: Path, aws_server: Server, tmp_path: Path) -> None:
    words = ("sts", "get-caller-identity")
    done = aws(aws_command, aws_server, tmp_path, *words, AWS_SECRET_ACCESS_KEY="x")
    assert done.returncode == 255
    assert "(SignatureDoesNotMatch)" in done.stderr
