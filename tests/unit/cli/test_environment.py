"""``env``: settings as shell code that is safe to eval, and the running service."""

from __future__ import annotations

import json
import os
import socket
import subprocess

import pytest

from orchestrator.cli import main
from orchestrator.cli.environment import look, running_service, shell_lines
from orchestrator.cli.lookup import local_home


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "my 'home'"
    folder.mkdir()
    return folder


def evaluated(home, variable: str) -> str:
    """What a shell has in a variable after ``eval "$(orchestrator env)"``."""
    code = "\n".join([*shell_lines(look(home)), f'printf %s "${variable}"'])
    done = subprocess.run(
        ["/bin/sh", "-e", "-c", code], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_a_shell_can_eval_it_whatever_the_names_are(home, monkeypatch):
    monkeypatch.setenv("LANG", "C\nrm -rf nothing; exit 3")
    assert evaluated(home, "ORCHESTRATOR_HOME") == str(home)


@pytest.fixture
def listening():
    """The address of a socket that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def served(home, url: str, pid: int | None = None) -> None:
    facts = {"url": url, "pid": os.getpid() if pid is None else pid}
    (home / "server.json").write_text(json.dumps(facts))


def test_a_running_service_becomes_the_address_of_clients(home, listening):
    served(home, listening)
    assert evaluated(home, "ORCHESTRATOR_URL") == listening


def test_a_process_that_took_the_number_of_a_service_is_none(home, free_port):
    served(home, f"http://127.0.0.1:{free_port}")
    assert running_service(home) is None


def test_a_service_of_the_home_that_the_environment_names_is_here(home, listening, monkeypatch):
    assert local_home(home, None) == home
    monkeypatch.setenv("ORCHESTRATOR_URL", listening)
    assert local_home(home, None) is None
    served(home, listening)
    assert local_home(home, None) == home
    assert local_home(home, "http://elsewhere:1") is None


@pytest.mark.parametrize("text", ["", "{}", '{"url": "x", "pid": 999999999}', "[1]"])
def test_a_stale_note_of_a_service_is_none(home, text):
    (home / "server.json").write_text(text)
    assert running_service(home) is None


def test_what_the_shell_sets_is_marked_and_passwords_are_hidden(home, monkeypatch):
    monkeypatch.setenv("ORCHESTRATOR_DATABASE_URL", "postgresql+psycopg://me:secret@host/db")
    monkeypatch.setenv("ORCHESTRATOR_CPU_SLOTS", "2.5")
    text = "\n".join(shell_lines(look(home)))
    assert "secret" not in text
    assert "# * ORCHESTRATOR_CPU_SLOTS               2.5" in text
    assert "#   ORCHESTRATOR_PYTHON" in text


def test_a_job_inherits_no_credentials(home, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden-1")
    monkeypatch.setenv("PIP_INDEX_TOKEN", "hidden-2")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    found = look(home)["job_environment"]
    assert "AWS_SECRET_ACCESS_KEY" not in found
    assert found["PIP_INDEX_TOKEN"] == "***"
    assert found["OMP_NUM_THREADS"] == "3"


def test_it_is_json_too(home, capsys):
    assert main.main(["env", "--json", "--home", str(home)]) == 0
    body = json.loads(capsys.readouterr().out)
    assert body["home"] == str(home)
    assert body["settings"]["isolation"] == "auto"
    assert not (home / "store.sqlite3").exists()


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("PIP_INDEX_URL", "https://me:hunter2@host.example/a", "https://***@host.example/a"),
        ("PIP_INDEX_URL", "https://hunter2@host.example/a@b", "https://***@host.example/a@b"),
        ("PIP_INDEX_URL", "https://me:x@hunter2@host.example", "https://***@host.example"),
        ("PIP_EXTRA_INDEX_URL", "https://a https://me:hunter2@b", "https://a https://***@b"),
        ("HTTPS_PROXY", "me:hunter2@proxy.example:3128", "***@proxy.example:3128"),
        ("HTTPS_PROXY", "http://proxy.example:3128", "http://proxy.example:3128"),
    ],
)
def test_passwords_in_addresses_are_hidden(home, monkeypatch, name, value, shown):
    monkeypatch.setenv(name, value)
    assert "hunter2" not in json.dumps(look(home))
    assert look(home)["job_environment"][name] == shown


def test_a_shell_of_a_job_that_another_machine_runs_says_where_it_is_possible(
    home, monkeypatch, capsys
):
    assert main.main(["shell", "job", "--home", str(home)]) == 1
    assert "machine that runs" not in capsys.readouterr().err
    monkeypatch.setenv("ORCHESTRATOR_URL", "http://far:1")
    assert main.main(["shell", "job", "--home", str(home)]) == 1
    said = capsys.readouterr().err
    assert "http://far:1" in said
    assert "on the machine that runs the job" in said


def test_the_service_that_this_shell_asks_stays_the_one(home, monkeypatch):
    monkeypatch.setenv("ORCHESTRATOR_URL", "http://far:1")
    lines = list(shell_lines(look(home)))
    assert "export ORCHESTRATOR_URL=http://far:1  # as this shell has it" in lines
    assert not any("no service runs" in line for line in lines)
