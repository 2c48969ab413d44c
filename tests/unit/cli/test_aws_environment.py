"""What is printed for AWS's clients: safe to eval, past proxies, and only with a token."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from orchestrator.api.aws.keys import issue
from orchestrator.cli import aws_environment, main
from orchestrator.cli.aws_environment import dotenv_lines, shell_lines, variables

URL = "http://127.0.0.1:8760"
TOKEN = "a-token-of-twenty-characters"
PROXIES = ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy")


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "my 'home'"
    folder.mkdir()
    (folder / "token").write_text(TOKEN)
    return folder


def test_all_that_clients_need_is_there(home):
    found = variables(home, URL)
    assert found["AWS_ENDPOINT_URL"] == found["S3_ENDPOINT_URL"] == URL
    assert found["AWS_ALLOW_HTTP"] == "true"
    assert found["AWS_ACCESS_KEY_ID"] == issue(TOKEN).id
    assert found["AWS_SECRET_ACCESS_KEY"] == issue(TOKEN).secret
    assert found["AWS_REGION"] == found["AWS_DEFAULT_REGION"] == "us-east-1"
    assert found["AWS_EC2_METADATA_DISABLED"] == "true"


def test_the_sdks_defaults_file_is_the_one_it_reads(home):
    path = Path(variables(home, URL)["SAGEMAKER_USER_CONFIG_OVERRIDE"])
    body = yaml.safe_load(path.read_text())
    modules = body["SageMaker"]["PythonSDK"]["Modules"]
    assert modules["TelemetryOptOut"] is True
    assert modules["Session"]["DefaultS3Bucket"] == "sagemaker-us-east-1-000000000000"
    role = body["SageMaker"]["TrainingJob"]["RoleArn"]
    assert role == "arn:aws:iam::000000000000:role/orchestrator"


def test_without_a_service_or_a_token_there_is_nothing(home, tmp_path):
    assert variables(home, None) == {}
    assert variables(tmp_path / "empty", URL) == {}
    assert not (tmp_path / "empty").exists()


def test_a_homes_token_is_not_for_services_elsewhere(home, monkeypatch):
    assert variables(home, "http://gpu-box.example:8760") == {}
    monkeypatch.setenv("ORCHESTRATOR_TOKEN", "another-token-of-some-length")
    found = variables(home, "http://gpu-box.example:8760")
    assert found["AWS_ACCESS_KEY_ID"] == issue("another-token-of-some-length").id


def evaluated(found, variable: str) -> str:
    code = "\n".join([*shell_lines(found), f'printf %s "${{{variable}-unset}}"'])
    done = subprocess.run(
        ["/bin/sh", "-eu", "-c", code], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_a_shell_can_eval_it_whatever_the_home_is_called(home):
    found = variables(home, URL)
    for name, value in found.items():
        assert evaluated(found, name) == value


def test_what_would_go_before_it_is_unset(home, monkeypatch):
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL_SAGEMAKER"):
        monkeypatch.setenv(name, "left over")
        assert evaluated(variables(home, URL), name) == "unset"


def test_a_proxy_is_passed_by(home, monkeypatch):
    assert "NO_PROXY" not in variables(home, URL)
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    assert variables(home, URL)["NO_PROXY"] == "127.0.0.1"
    monkeypatch.setenv("no_proxy", "corp.example")
    assert variables(home, URL)["no_proxy"] == "corp.example,127.0.0.1"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert "NO_PROXY" not in variables(home, URL)


def test_a_dotenv_file_quotes_only_what_it_must():
    lines = dotenv_lines({"A": "http://127.0.0.1:1/x", "B": 'a b"$c', "C": ""})
    assert list(lines) == ["A=http://127.0.0.1:1/x", 'B="a b\\"\\$c"', "C="]


def test_one_form_is_printed(home, capsys):
    assert main.main(["env", "--dotenv", "--json", "--home", str(home)]) == 2
    assert "one of --shell" in capsys.readouterr().err
    assert main.main(["env", "--dotenv", "--home", str(home)]) == 0
    assert capsys.readouterr().out.splitlines() == [f'ORCHESTRATOR_HOME="{home}"']
    assert main.main(["env", "--json", "--home", str(home)]) == 0
    assert json.loads(capsys.readouterr().out)["aws"] == {}


def test_a_check_needs_a_service(home, capsys):
    assert main.main(["env", "--check", "--home", str(home)]) == 1
    assert "orchestrator serve" in capsys.readouterr().err
    assert not (home / aws_environment.DEFAULTS_FILE).exists()
