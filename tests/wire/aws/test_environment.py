"""``orchestrator env``: one eval is the only step, and ``--check`` is a real round trip."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cli import main
from orchestrator.server import ServeOptions, Server
from orchestrator.settings import Settings

ASK = "import boto3; print(boto3.client('sts').get_caller_identity()['Arn'])"


@pytest.fixture
def home(aws_server: Server) -> str:
    return str(aws_server.service.home)


def test_one_eval_is_the_only_step(home: str, tmp_path: Path) -> None:
    command = f'{sys.executable} -m orchestrator.cli.main env --home "$1"'
    script = f'eval "$({command})" && exec {sys.executable} -c "{ASK}"'
    left_over = {
        "AWS_SESSION_TOKEN": "old",
        "AWS_PROFILE": "work",
        "HTTP_PROXY": "http://127.0.0.1:9",
    }
    done = subprocess.run(
        ["/bin/sh", "-e", "-c", script, "sh", home],
        env={**os.environ, **left_over, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout.strip().endswith(":assumed-role/orchestrator/orchestrator"), done.stderr


def test_the_check_says_what_was_answered(home: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["env", "--check", "--home", home]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split()[:2] == ["ok", "sts:GetCallerIdentity"]
    assert main.main(["env", "--check", "--json", "--home", home]) == 0
    body = json.loads(capsys.readouterr().out)
    assert body["ok"] is True
    assert {step["name"] for step in body["checks"]} >= {"sts:GetCallerIdentity", "iam:GetRole"}


def test_a_profile_that_is_left_over_changes_nothing(
    home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "not-there")
    assert main.main(["env", "--check", "--home", home]) == 0


def test_the_check_fails_with_what_the_service_said(
    aws_server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_URL", aws_server.url)
    monkeypatch.setenv("ORCHESTRATOR_TOKEN", "a-token-that-opens-nothing")
    assert main.main(["env", "--check", "--home", str(tmp_path)]) == 1
    assert "fail  sts:GetCallerIdentity" in capsys.readouterr().out


@pytest.fixture
def without_aws(tmp_path: Path) -> Iterator[Server]:
    settings = Settings(home=tmp_path / "home", aws_api=False)
    with Server(settings, ServeOptions(port=0)) as running:
        yield running


def test_it_can_be_switched_off(without_aws: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["env", "--check", "--home", str(without_aws.service.home)]) == 1
    assert "fail  sts:GetCallerIdentity" in capsys.readouterr().out


def test_signatures_may_be_ignored_on_loopback_only(tmp_path: Path) -> None:
    from orchestrator.errors import InvalidSpec

    settings = Settings(home=tmp_path / "home", aws_verify_signatures=False)
    options = ServeOptions(host="0.0.0.0", port=0, allow_remote=True)
    with pytest.raises(InvalidSpec, match="AWS_VERIFY_SIGNATURES"):
        Server(settings, options)


def test_ignored_signatures_open_to_any_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import boto3

    settings = Settings(home=tmp_path / "home", aws_verify_signatures=False)
    with Server(settings, ServeOptions(port=0)) as running:
        client = boto3.client(
            "sts",
            endpoint_url=running.url,
            region_name="eu-west-1",
            aws_access_key_id="any",
            aws_secret_access_key="any",
        )
        assert client.get_caller_identity()["Account"] == "000000000000"
