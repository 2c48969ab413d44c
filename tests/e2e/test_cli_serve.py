"""``orchestrator serve`` and the command as its client."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.e2e.command import background, cli, cli_json, script

pytestmark = pytest.mark.e2e


def test_a_service_runs_beside_the_shell(orchestrator_home: Path, tmp_path, monkeypatch):
    home = ("--home", str(orchestrator_home))
    started = cli_json("serve", "--detach", "--port", "0", *home)
    url = started["url"]
    try:
        again = cli("serve", "--detach", *home)
        assert again.returncode == 1
        assert f"is served at {url} already" in again.stderr
        assert f"export ORCHESTRATOR_URL={url}\n" in cli("env", *home).stdout
        # By its address, and by its home: the same jobs.
        path = script(tmp_path, "print('hello')\n")
        assert cli("run", path, "--url", url, "--name", "by-address").stdout == "hello\n"
        assert cli("run", path, "--name", "by-home").stdout == "hello\n"
        monkeypatch.setenv("ORCHESTRATOR_URL", url)
        assert [row["name"] for row in cli_json("list")["jobs"]] == ["by-home", "by-address"]
        assert "Completed in " in cli("describe", "by-home").stdout
        export = cli("metrics", "by-home", "--export", "csv", "--output", str(tmp_path / "m.csv"))
        assert export.returncode == 0, export.stderr
        assert cli("open", "@last", "--output", str(tmp_path / "r.html")).returncode == 0
    finally:
        ended = cli("serve", "--stop", *home)
    assert ended.stdout == f"{url} ended; jobs go on\n"
    assert cli("serve", "--stop", *home).returncode == 1
    monkeypatch.delenv("ORCHESTRATOR_URL")
    assert cli("describe", "by-home").returncode == 0


def test_a_service_in_the_foreground_ends_by_ctrl_c(orchestrator_home: Path):
    with background("serve", "--port", "0", "--json") as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        assert Path(told["token_file"]).exists()
        assert cli("list", "--url", told["url"]).returncode == 0
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def test_a_taken_port_is_told(orchestrator_home: Path, free_port: int):
    import socket

    with socket.create_server(("127.0.0.1", free_port)):
        done = cli("serve", "--port", str(free_port))
        assert done.returncode == 2
        assert "choose another with --port" in done.stderr
        detached = cli("serve", "--detach", "--port", str(free_port))
        assert detached.returncode == 1
        assert "choose another with --port" in detached.stderr


def test_an_address_that_others_reach_is_refused(orchestrator_home: Path):
    done = cli("serve", "--host", "0.0.0.0")
    assert done.returncode == 2
    assert "--allow-remote" in done.stderr


def test_a_service_that_is_not_there_is_told(free_port: int):
    done = cli("list", "--url", f"http://127.0.0.1:{free_port}")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
