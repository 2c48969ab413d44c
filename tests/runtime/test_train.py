"""``train``: images that are started with nothing but the /opt/ml tree."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runtime.hosts import RUNTIME


class Image:
    """A tree, and how ``train`` is run on it."""

    def __init__(self, base: Path) -> None:
        self.base = base
        for part in ("input/config", "code", "model", "output"):
            (base / part).mkdir(parents=True)
        self.environment = {"PATH": os.environ["PATH"], "SAGEMAKER_BASE_DIR": str(base)}

    def hyperparameters(self, **values: str) -> None:
        (self.base / "input/config/hyperparameters.json").write_text(json.dumps(values))

    def script(self, text: str, name: str = "train.py") -> None:
        (self.base / "code" / name).write_text(text)

    def popen(self, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-I", "-S", str(RUNTIME / "__main__.py"), "train", *arguments]
        return subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def run(self, *arguments: str) -> tuple[int, str]:
        process = self.popen(*arguments)
        output, _ = process.communicate(timeout=60)
        return process.returncode, output.decode()

    def failure(self) -> str:
        return (self.base / "output/failure").read_text()


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return Image(tmp_path / "ml")


class TestTrain:
    def test_runs_the_script_that_a_hyperparameter_names(self, image: Image):
        image.hyperparameters(epochs="3", sagemaker_program='"train.py"')
        image.script(
            "import os, sys; print(sys.argv[1:], os.environ['SM_MODEL_DIR'], os.getcwd())"
        )
        code, output = image.run()
        assert (code, output) == (0, f"['--epochs', '3'] {image.base}/model {image.base}/code\n")
        assert (image.base / "output/success").exists()

    def test_runs_the_script_that_a_variable_names_from_where_it_says(
        self, image: Image, tmp_path: Path
    ):
        (tmp_path / "src").mkdir()
        (tmp_path / "src" / "a.sh").write_text("echo $SM_USER_ENTRY_POINT $1 $2")
        image.environment.update(
            SAGEMAKER_PROGRAM="a.sh", SAGEMAKER_SUBMIT_DIRECTORY=str(tmp_path / "src")
        )
        image.hyperparameters(lr="0.1")
        assert image.run() == (0, "a.sh --lr 0.1\n")

    def test_runs_a_program_of_its_own(self, image: Image):
        assert image.run("--", "/bin/sh", "-c", "echo $SM_HOSTS; exit 5")[0] == 5

    def test_lets_the_platforms_variables_win(self, image: Image):
        image.environment.update(SM_LOG_LEVEL="10", TRAINING_JOB_NAME="mine")
        assert image.run("--", "/bin/sh", "-c", "echo $SM_LOG_LEVEL $TRAINING_JOB_NAME") == (
            0,
            "10 mine\n",
        )

    def test_says_why_it_failed_in_the_failure_file(self, image: Image):
        image.environment["SAGEMAKER_PROGRAM"] = "train.py"
        image.script("print('x' * 3000)\nraise ValueError('loss exploded')")
        code, output = image.run()
        assert code == 1
        assert "ValueError: loss exploded" in output
        assert image.failure().startswith("the program exited with code 1\n")
        assert image.failure().endswith("ValueError: loss exploded")
        assert len(image.failure()) <= 1024
        assert not (image.base / "output/success").exists()

    def test_leaves_the_programs_own_failure_file_alone(self, image: Image):
        assert (
            image.run("--", "/bin/sh", "-c", f"echo mine > {image.base}/output/failure; exit 1")[0]
            == 1
        )
        assert image.failure() == "mine\n"

    def test_exits_with_128_and_the_signal(self, image: Image):
        assert image.run("--", "/bin/sh", "-c", "kill -9 $$")[0] == 137
        assert "SIGKILL (9)" in image.failure()

    def test_without_a_program_says_what_to_set(self, image: Image):
        code, _ = image.run()
        assert code == 64
        assert "SAGEMAKER_PROGRAM" in image.failure()

    def test_with_a_program_that_is_missing_says_so(self, image: Image):
        code, output = image.run("--", "no-such-program")
        assert code == 127
        assert "entry program 'no-such-program' could not be executed" in output

    def test_passes_sigterm_on_to_the_users_program(self, image: Image):
        image.environment["SAGEMAKER_PROGRAM"] = "train.py"
        image.script(
            "import signal, sys, time\n"
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('saved') or 0))\n"
            "print('up', flush=True)\ntime.sleep(60)"
        )
        process = image.popen()
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
        assert (process.returncode, output) == (0, b"saved\n")


def test_probe_tells_what_an_image_offers(interpreter: str):
    command = [interpreter, "-I", "-S", str(RUNTIME / "__main__.py"), "probe"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert found["python"] >= [3, 9]
    assert found["pip"] in (True, False)
    assert found["architecture"] == os.uname().machine
    assert found["uid"] == os.getuid()


def test_an_unknown_verb_is_refused_with_the_usage():
    command = [sys.executable, "-I", "-S", str(RUNTIME / "__main__.py"), "dance"]
    done = subprocess.run(command, check=False, capture_output=True)
    assert done.returncode == 64
    assert done.stderr.startswith(b"usage: supervise HOST_DIRECTORY")
