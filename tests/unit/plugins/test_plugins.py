"""The suite's own guards work: leaks are found, skips are counted, connections stay on this machine."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.plugins import leaks

ROOT = Path(__file__).resolve().parent.parent.parent.parent


def test_a_process_started_with_a_path_of_the_session_is_found(tmp_path):
    program = "import sys; print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", program, str(tmp_path / "jobs")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = leaks.left_processes(str(tmp_path))
        process.communicate()
    assert [line.partition(":")[0] for line in found] == [f"process {process.pid}"]
    assert leaks.left_processes(str(tmp_path)) == []


def test_a_file_in_the_temporary_folder_is_found(own_temporary_folder):
    base = str(own_temporary_folder.parent)
    with tempfile.NamedTemporaryFile() as file:
        assert leaks.left_files(base) == [f"temporary file {Path(file.name).name}"]
    assert leaks.left_files(base) == []


def test_a_connection_that_leaves_this_machine_is_refused():
    with socket.socket() as client, pytest.raises(ConnectionRefusedError, match="loopback"):
        client.connect(("192.0.2.1", 80))


INNER = """
import subprocess, sys
import pytest

def test_skips():
    pytest.skip("no such thing here")

@pytest.mark.gpu
def test_needs_a_gpu():
    pytest.skip("no GPU")

def test_passes():
    pass
"""


def run_inner(folder: Path, body: str, ci: str) -> subprocess.CompletedProcess[str]:
    """Run a test file with this suite's plugins in a session of its own."""
    (folder / "test_inner.py").write_text(body, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    command += ["-c", str(ROOT / "pyproject.toml"), f"--basetemp={folder / 'base'}"]
    command += ["--rootdir", str(folder), str(folder / "test_inner.py")]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "CI": ci}
    environment["ORCHESTRATOR_TEST_PATIENCE_SECONDS"] = "0"
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(("ci", "code"), [("true", 1), ("", 0)])
def test_a_skip_fails_the_session_only_in_ci(tmp_path, ci, code):
    result = run_inner(tmp_path, INNER, ci)
    assert result.returncode == code, result.stdout
    assert "1 passed, 2 skipped" in result.stdout.splitlines()[-1]
    assert ("test_inner.py::test_skips" in result.stdout) == (ci == "true")
    assert "test_inner.py::test_needs_a_gpu" not in result.stdout


LEAKING = """
import tempfile

def test_leaks():
    tempfile.mkstemp()
"""


def test_a_leak_fails_the_session(tmp_path):
    result = run_inner(tmp_path, LEAKING, "")
    assert result.returncode == 1, result.stdout
    assert "left behind" in result.stdout
