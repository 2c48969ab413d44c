"""Which images run, and as what: SageMaker's rules, and clear errors before anything starts."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from orchestrator_runtime import contract

from orchestrator.backends.base import AttemptContext
from orchestrator.errors import ImageError, InvalidSpec
from orchestrator.testing.backend_contract import Program, Wish, exit_of
from tests.docker.backend_harness import DockerHarness, docker, docker_harness

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, base_image: str) -> Iterator[DockerHarness]:
    """One home for all tests here."""
    with docker_harness(tmp_path_factory.mktemp("home"), base_image) as harness:
        yield harness


@pytest.fixture
def derived(base_image: str) -> Iterator[Any]:
    """Make images out of the base image; they are removed afterwards."""
    made = []

    def make(name: str, script: str, *changes: str) -> str:
        container = docker("create", base_image, "sh", "-c", script)
        docker("start", "--attach", container)
        image = f"orchestrator-test/{name}:throwaway"
        arguments = [word for change in changes for word in ("--change", change)]
        docker("commit", *arguments, container, image)
        docker("rm", container)
        made.append(image)
        return image

    yield make
    for image in set(made):
        docker("rmi", image)


def image_job(home: DockerHarness, image: str, **spec: Any) -> AttemptContext:
    """A job that names nothing but an image."""
    algorithm = {"training_image": image, **spec.pop("algorithm", {})}
    spec = {"backend": "docker", "algorithm_specification": algorithm, **spec}
    return home.plain(Wish(Program.SUCCEEDS), spec)


def run(home: DockerHarness, context: AttemptContext) -> tuple[Any, str]:
    """Run a job to its end; return its exit record and what it printed."""
    handles = home.start(context)
    record = exit_of(home.ended(context, "algo-1", handles["algo-1"]))
    home.backend.release(context)
    return record, (context.host_directory("algo-1") / contract.LOG_FILE).read_text()


# Which program: all rules are in tests/unit/backends/test_docker_plan.py.


def test_an_image_with_a_train_program_is_run_as_sagemaker_runs_it(
    home: DockerHarness, derived: Any
):
    script = "printf '#!/bin/sh\\necho trained $# $SM_HP_LR\\n' > /usr/local/bin/train; chmod 755 /usr/local/bin/train"
    image = derived("with-train", script, 'CMD ["echo", "never"]')
    record, log = run(home, image_job(home, image, hyper_parameters={"lr": "0.5"}))
    assert (record["exit_code"], log.strip()) == (0, "trained 0 0.5")


def test_an_image_without_train_runs_its_own_command(home: DockerHarness, derived: Any):
    image = derived("with-command", "true", 'CMD ["sh", "-c", "pwd; exit 4"]', "WORKDIR /usr/lib")
    record, log = run(home, image_job(home, image))
    assert (record["exit_code"], log.strip()) == (4, "/usr/lib")


def test_a_script_named_by_sagemaker_program_is_run_by_the_runtimes_train(home: DockerHarness):
    code = home.home / "inputs"
    code.mkdir()
    (code / "mine.py").write_text("import os, sys; print('mine', sys.argv[1:], os.getcwd())")
    context = image_job(
        home,
        home.image,
        hyper_parameters={"sagemaker_program": "mine.py", "lr": "1"},
        input_data_config=[{"channel_name": "code", "uri": str(code), "writable": True}],
    )
    plan = home.backend.plan(context)["algo-1"]["plan"]
    assert plan["argv"][-2:] == [contract.RUNTIME, "train"]


def test_a_program_that_the_image_lacks_is_named(home: DockerHarness):
    record, _ = run(home, home.command(["no-such-program"], Wish(Program.SUCCEEDS)))
    assert record["outcome"] == "not_started"
    assert "no-such-program" in record["message"]


# Errors before anything starts.


def test_a_missing_image_is_refused_before_anything_starts(home: DockerHarness):
    context = image_job(home, "orchestrator-test/no-such-image:1")
    with pytest.raises(
        ImageError, match="must exist on this machine.*no-such|no-such.*must exist"
    ):
        home.backend.check(context.spec)
    with pytest.raises(ImageError):
        home.backend.stage(context)
    assert home.leftovers(context) == []


def test_an_illegal_image_name_is_an_image_error(home: DockerHarness):
    with pytest.raises(ImageError):
        home.backend.check(image_job(home, "NOT A NAME").spec)


def load_foreign_image(name: str, architecture: str) -> None:
    """Give the engine an empty image of another architecture."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("empty"))
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {},
        "rootfs": {
            "type": "layers",
            "diff_ids": [f"sha256:{hashlib.sha256(layer.getvalue()).hexdigest()}"],
        },
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    files = {
        "config.json": json.dumps(config).encode(),
        "manifest.json": json.dumps(manifest).encode(),
        "layer.tar": layer.getvalue(),
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, content in files.items():
            info = tarfile.TarInfo(path)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    subprocess.run(["docker", "load"], input=buffer.getvalue(), check=True, capture_output=True)


def test_an_image_for_another_machine_is_refused(home: DockerHarness):
    load_foreign_image("orchestrator-test/foreign:1", "s390x")
    try:
        with pytest.raises(ImageError, match="got linux/s390x"):
            home.backend.check(image_job(home, "orchestrator-test/foreign:1").spec)
    finally:
        docker("rmi", "orchestrator-test/foreign:1")


def test_checkpoints_cannot_be_put_over_the_platforms_own_places(home: DockerHarness):
    for path in ("/opt/orchestrator", "/run/orchestrator/host", "/proc/x", "/opt/ml"):
        context = image_job(home, home.image, checkpoint_config={"local_path": path})
        with pytest.raises(InvalidSpec, match="local_path"):
            home.backend.check(context.spec)


def test_source_code_needs_a_python_in_the_image(home: DockerHarness, derived: Any):
    image = derived("python-less", "rm -f /usr/bin/python3* /opt/venv/bin/python*")
    context = home.script("pass", Wish(Program.SUCCEEDS))
    algorithm = context.spec.algorithm_specification.model_copy(update={"training_image": image})
    spec = context.spec.model_copy(update={"algorithm_specification": algorithm})
    with pytest.raises(ImageError, match=r"Python 3\.9"):
        home.backend.plan(AttemptContext(**{**vars(context), "spec": spec}))
    with pytest.raises(ImageError, match=r"Python 3\.9"):  # known by now, without a trial
        home.backend.check(spec)


def test_a_python_that_only_root_may_run_is_none(home: DockerHarness, derived: Any):
    image = derived("rooted", "chmod 700 /usr/bin/python3.*")
    context = image_job(home, image)
    assert home.backend.plan(context)["algo-1"]["supervisor"] == "outside"
    assert any("has no Python" in warning for warning in home.backend.check(context.spec))


# What is known of an image.


def test_an_image_is_tried_once_and_again_when_its_tag_moves(home: DockerHarness, derived: Any):
    image = derived("moving", "true")
    assert home.backend.plan(image_job(home, image))["algo-1"]["supervisor"] == "inside"
    before = docker("events", "--since", "1s", "--until", "0s", "--filter", "event=create")
    home.backend.plan(image_job(home, image))
    home.restarted().plan(image_job(home, image))
    after = docker("events", "--since", "1s", "--until", "0s", "--filter", "event=create")
    assert after in before or after == ""
    docker("rmi", image)
    derived("moving", "rm -f /usr/bin/python3* /opt/venv/bin/python*")
    assert home.backend.plan(image_job(home, image))["algo-1"]["supervisor"] == "outside"


def test_a_runtime_compiled_for_another_python_is_copied_and_compiled_for_the_image(
    tmp_path: Path, base_image: str
):
    with docker_harness(tmp_path, base_image) as home:
        for cache in home.settings.runtime.rglob("__pycache__"):
            shutil.rmtree(cache)
        context = home.script("import orchestrator_runtime; print('ran')", Wish(Program.SUCCEEDS))
        mounts = home.backend.plan(context)["algo-1"]["create"]["HostConfig"]["Mounts"]
        runtime = Path(next(m["Source"] for m in mounts if m["Target"] == contract.RUNTIME))
        assert runtime != home.settings.runtime
        assert list(runtime.rglob("contract.*.pyc"))
        record, log = run(home, context)
        assert (record["exit_code"], log.strip()) == (0, "ran")


def test_what_is_known_of_images_that_are_gone_is_forgotten(
    home: DockerHarness, derived: Any, base_image: str
):
    image = derived("gone", "true")
    digest = docker("inspect", image, "--format", "{{.Id}}")
    home.backend.plan(image_job(home, image))
    notes = home.home / "docker-images.json"
    assert digest in notes.read_text()
    docker("tag", base_image, f"{image}-keeps-layers")
    docker("rmi", image)
    docker("tag", base_image, image)  # for the fixture to remove
    docker("rmi", f"{image}-keeps-layers")
    home.docker_backend.remove_leftovers()
    assert digest not in notes.read_text()


def test_volumes_that_an_image_declares_are_not_left_behind(home: DockerHarness, derived: Any):
    image = derived("volume", "true", "VOLUME /data", 'CMD ["true"]')
    before = set(docker("volume", "ls", "-q").split())
    run(home, image_job(home, image))
    assert set(docker("volume", "ls", "-q").split()) <= before


def test_an_image_cannot_run_a_health_check(home: DockerHarness, derived: Any):
    image = derived(
        "healthy", "true", "HEALTHCHECK --interval=1s CMD touch /tmp/checked", 'CMD ["true"]'
    )
    create = home.backend.plan(image_job(home, image))["algo-1"]["create"]
    assert create["Healthcheck"] == {"Test": ["NONE"]}
