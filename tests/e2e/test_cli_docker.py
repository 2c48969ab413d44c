"""The command with the Docker back end: run, shell, build."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.backends.docker_values import LABEL_ATTEMPT, LABEL_HOME, LABEL_JOB
from tests.e2e.command import cli, cli_json, script
from tests.e2e.conftest import eventually
from tests.setup.images import BASE

pytestmark = [pytest.mark.e2e, pytest.mark.docker]

IMAGE = f"{BASE}:latest"
PATIENT = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("ready", flush=True)
signal.pause()
"""


def test_a_script_runs_in_an_image(orchestrator_home: Path, tmp_path):
    program = "import os, sys\nprint(os.environ['SM_MODEL_DIR'], sys.argv[1:])\nsys.exit(4)\n"
    done = cli("run", script(tmp_path, program), "--image", IMAGE, "--", "--a", "b c")
    assert done.stdout == "/opt/ml/model ['--a', 'b c']\n", done.stderr
    assert done.returncode == 4
    assert cli_json("describe", "@last")["spec"]["backend"] == "docker"


def test_a_shell_is_in_the_container(orchestrator_home: Path, tmp_path):
    name = cli("run", script(tmp_path, PATIENT), "--image", IMAGE, "--detach").stdout.strip()
    eventually(lambda: "ready" in cli("logs", name).stdout, 60)
    done = cli("shell", name, "--", "sh", "-c", "ls /opt/ml; exit 9")
    assert done.returncode == 9, done.stderr
    assert "model" in done.stdout.split()
    assert cli("stop", name, "--grace", "5", "--wait").returncode == 0


def test_an_image_that_is_not_there_is_told_before_anything_starts(
    orchestrator_home: Path, tmp_path
):
    done = cli("run", script(tmp_path, "print()"), "--image", "no/such-image:1")
    assert done.returncode == 1
    assert done.stderr.startswith("error: image 'no/such-image:1' must exist")
    assert cli_json("list")["jobs"] == []


def test_a_directory_is_baked_into_an_image_once(orchestrator_home: Path, tmp_path):
    (tmp_path / "job.toml").write_text(f'entry_script = "main.py"\ntraining_image = "{IMAGE}"\n')
    script(tmp_path, "print('baked')\n", "main.py")
    words = ("build", str(tmp_path), "--name", "cli-test", "--quiet")
    first = cli_json(*words)
    try:
        assert first["built"] is True
        again = cli(*words)
        assert again.stdout.strip() == first["image"]
        assert "was there already" in again.stderr
    finally:
        from orchestrator.packaging.image import ImageBuilder

        builder = ImageBuilder()
        builder.remove(first["image"])
        builder.close()


def test_a_build_without_a_base_image_is_told(tmp_path):
    done = cli("build", script(tmp_path, "print()"))
    assert done.returncode == 2
    assert "give --base-image" in done.stderr


def test_containers_that_no_running_job_needs_are_collected(orchestrator_home: Path):
    import docker

    client = docker.from_env()
    labels = {LABEL_HOME: str(orchestrator_home), LABEL_JOB: "gone", LABEL_ATTEMPT: "1"}
    left = client.containers.create(IMAGE, "true", labels=labels)
    other = client.containers.create(IMAGE, "true", labels={**labels, LABEL_HOME: "/elsewhere"})
    try:
        dry = cli_json("gc", "--dry-run")["removed"]
        assert dry == [{"kind": "container", "name": left.name, "size_bytes": 0}]
        assert cli_json("gc")["removed"] == dry
        assert cli_json("gc")["removed"] == []
        other.reload()  # another home's is left alone
    finally:
        other.remove(force=True)
        client.close()


def test_a_running_container_of_a_job_that_the_store_has_forgotten_is_kept(
    orchestrator_home: Path,
):
    import docker

    client = docker.from_env()
    labels = {LABEL_HOME: str(orchestrator_home), LABEL_JOB: "lost", LABEL_ATTEMPT: "1"}
    living = client.containers.run(IMAGE, ["sleep", "300"], detach=True, labels=labels)
    try:
        found = cli_json("gc", "--lost-jobs")
        assert found["removed"] == []
        assert [(item["kind"], item["name"]) for item in found["kept"]] == [
            ("container", living.name)
        ]
        living.reload()
        assert living.status == "running"
        living.kill()
        living.wait()
        found = cli_json("gc")
        assert [item["name"] for item in found["removed"]] == [living.name]
    finally:
        client.close()
