"""How the debugger comes into a program, and that one which it does not concern never notices."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from ast import literal_eval
from pathlib import Path

import pytest
from orchestrator_runtime import install
from orchestrator_runtime.watched.account import isolating_option

from tests.runtime.debugger.watched import ROOT, SAYS, SITE, environment_of, run

PTH = SITE / "orchestrator_debugger.pth"
OLD_TORCH = "__version__ = '1.13.0'"
LOADED = "import sys; print([name for name in sys.modules if name.startswith('orchestrator')])"
TRAINING = """
import torch
model = torch.nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), 0.1)
for _ in range(4):
    optimizer.zero_grad()
    model(torch.ones(2, 3)).square().mean().backward()
    optimizer.step()
print(model.weight.tolist())
"""


def fake_torch(directory: Path, text: str) -> dict[str, str]:
    """The environment of a program that finds this in the place of PyTorch."""
    (directory / "fake" / "torch").mkdir(parents=True)
    (directory / "fake" / "torch" / "__init__.py").write_text(text, encoding="utf-8")
    path = environment_of(directory, "")["PYTHONPATH"]
    return {"PYTHONPATH": os.pathsep.join([path, str(directory / "fake")])}


class TestAProgramWithoutAFramework:
    def test_makes_nothing_and_says_nothing(self, tmp_path):
        seen = run(tmp_path, "-c", LOADED, plan={})
        parts = ["", ".contract", ".hook", ".hook.activate"]
        assert sorted(literal_eval(seen.lines[0])) == [
            f"orchestrator_runtime{part}" for part in parts
        ]
        assert (seen.errors, seen.records) == ("", [])
        assert sorted(path.name for path in tmp_path.iterdir()) == ["debugger.json", "records"]

    def test_loads_nothing_where_nobody_asks(self, tmp_path):
        seen = run(tmp_path, "-c", LOADED, plan=None, environment={"PYTHONPATH": str(SITE)})
        assert seen.lines == [[]]


class TestWhatStandsInTheWay:
    def test_a_pytorch_that_is_too_old(self, tmp_path):
        other = fake_torch(tmp_path, OLD_TORCH)
        seen = run(tmp_path, "-c", "import torch; print(1)", plan={}, environment=other)
        assert seen.lines == [1]
        (line,) = seen.said
        assert line.endswith("unmonitored: PyTorch 1.13.0 is too old to be watched; 2.1 or newer is needed")  # fmt: skip
        assert seen.states() == ["unmonitored", "idle"]

    def test_a_pytorch_that_cannot_be_imported(self, tmp_path):
        other = fake_torch(tmp_path, "raise ImportError('no such library')")
        seen = run(tmp_path, "-c", "import torch", plan={}, environment=other, check=False)
        assert seen.code == 1
        assert seen.errors.splitlines()[-1] == "ImportError: no such library"
        assert seen.said == []

    @pytest.mark.parametrize("text", ["{", "[]", '{"rules": 5}', '{"rules": [{"name": "x"}]}'])
    def test_a_plan_that_is_none(self, tmp_path, text):
        other = fake_torch(tmp_path, OLD_TORCH)
        seen = run(tmp_path, "-c", "import torch; print(1)", plan=text, environment=other)
        assert seen.lines == [1]
        assert len(seen.said) == len(seen.errors.splitlines()) == 1
        assert "unmonitored: it could not be started: " in seen.said[0]
        assert seen.states() == ["unmonitored"]

    def test_a_program_without_standard_error(self, tmp_path):
        other = fake_torch(tmp_path, OLD_TORCH)
        program = "import sys; sys.stderr = None; import torch; print(1)"
        assert run(tmp_path, "-c", program, plan="{", environment=other).lines == [1]

    def test_a_runtime_that_is_gone(self, tmp_path, environment_python):
        shutil.copy(SITE / "sitecustomize.py", tmp_path)
        other = {"PYTHONPATH": str(tmp_path)}
        seen = run(tmp_path, "-c", "print(1)", plan={}, python=environment_python, environment=other)  # fmt: skip
        assert seen.lines == [1]
        assert "unmonitored: ModuleNotFoundError" in seen.errors

    @pytest.mark.parametrize("option", ["-E", "-I", "-S"])
    def test_an_option_that_shuts_it_out_is_named(self, tmp_path, option):
        seen = run(tmp_path, option, "-c", LOADED, plan={})
        assert (seen.lines, seen.errors, seen.records) == ([[]], "", [])
        assert isolating_option(["python", option, "x.py"]) == option


class TestAnotherSitecustomize:
    @pytest.fixture
    def other(self, tmp_path):
        (tmp_path / "own").mkdir()
        (tmp_path / "own" / "sitecustomize.py").write_text("import sys; sys.own = __file__\n")
        path = environment_of(tmp_path, "")["PYTHONPATH"]
        return {"PYTHONPATH": os.pathsep.join([path, str(tmp_path / "own")])}

    def test_runs_too(self, tmp_path, other):
        program = "import sys, sitecustomize; print(int(sys.own == sitecustomize.__file__))"
        seen = run(tmp_path, "-c", f"{program}; {LOADED}", plan={}, environment=other)
        assert seen.lines[0] == 1
        assert "activate" in seen.lines[1]

    def test_may_fail_as_without_the_debugger(self, tmp_path, other):
        (tmp_path / "own" / "sitecustomize.py").write_text("raise OSError('own')\n")
        seen = run(tmp_path, "-c", LOADED, plan={}, environment=other)
        assert "activate" in seen.lines[0]
        assert "OSError: own" in seen.errors


@pytest.fixture(scope="module")
def environment_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the file, which sees this one's packages."""
    directory = tmp_path_factory.mktemp("pth") / "venv"
    venv.EnvBuilder(symlinks=True).create(directory)
    (packages,) = directory.glob("lib/*/site-packages")
    shutil.copy(PTH, packages)
    (packages / "parent.pth").write_text("".join(f"{path}\n" for path in sys.path if path.endswith("site-packages")))  # fmt: skip
    return directory / "bin" / "python"


class TestTheFileInSitePackages:
    @pytest.mark.torch
    @pytest.mark.parametrize("option", ["-E", "-I"])
    def test_lets_it_into_isolated_programs(self, tmp_path, environment_python, option):
        seen = run(tmp_path, option, "-c", TRAINING, plan={}, python=environment_python)
        assert len(seen.trace.steps) == 4
        assert seen.errors == ""

    def test_does_nothing_where_nobody_asks(self, tmp_path, environment_python):
        for options in ([], ["-I"]):
            program = f"import sys; before = list(sys.path); {LOADED}"
            seen = run(
                tmp_path / f"{len(options)}", *options, "-c", program, plan=None, python=environment_python
            )  # fmt: skip
            assert (seen.lines, seen.errors) == ([[]], "")

    def test_and_the_other_way_in_are_one(self, tmp_path, environment_python):
        program = "import sys; print(sum(type(x).__name__ == '_Finder' for x in sys.meta_path))"
        assert run(tmp_path, "-c", program, plan={}, python=environment_python).lines == [1]

    def test_bears_a_runtime_that_is_gone(self, tmp_path, environment_python):
        other = {"PYTHONPATH": str(tmp_path)}
        seen = run(tmp_path, "-I", "-c", "print(1)", plan={}, python=environment_python, environment=other)  # fmt: skip
        assert (seen.lines, seen.errors) == ([1], "")

    def test_is_in_environments_that_are_made_for_requirements(self, tmp_path):
        install._make_venv(str(tmp_path / "venv"))
        (copy,) = tmp_path.glob(f"venv/lib/*/site-packages/{PTH.name}")
        assert copy.read_bytes() == PTH.read_bytes()

    def test_is_in_our_images(self):
        recipe = (ROOT / "containers" / "images" / "base" / "Dockerfile").read_text("utf-8")
        assert f"'{PTH.read_text('utf-8').strip()}'" in recipe

    @pytest.mark.docker
    @pytest.mark.parametrize("option", ["-E", "-I"])
    def test_works_there(self, tmp_path, pytorch_image, option):
        (tmp_path / "plan.json").write_text(json.dumps({"directory": "traces"}))
        command = [
            "docker", "run", "--rm", "--network=none",
            "-v", f"{ROOT}/containers/runtime:/opt/orchestrator:ro", "-v", f"{tmp_path}:/job",
            "-e", "PYTHONPATH=/opt/orchestrator", "-e", "ORCHESTRATOR_DEBUG=/job/plan.json",
            pytorch_image, "python", option, "-c", TRAINING,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert SAYS not in done.stderr
        assert len(list((tmp_path / "traces").iterdir())) == 1
