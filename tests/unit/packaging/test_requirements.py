"""Keys and plans: pure, so only equality is tested here; test_install runs them."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import InvalidSpec
from orchestrator.packaging.requirements import (
    check_requirements,
    environment_key,
    install_plan,
    names_local_files,
    probe_interpreter,
)


def test_a_key_names_requirements_interpreter_platform_and_source():
    keys = [
        environment_key("numpy", "python-a", "linux-x86_64"),
        environment_key("numpy>=2", "python-a", "linux-x86_64"),
        environment_key("numpy", "python-b", "linux-x86_64"),
        environment_key("numpy", "python-a", "linux-arm64"),
        environment_key("numpy", "python-a", "linux-x86_64", source="digest"),
    ]
    assert len(set(keys)) == len(keys)
    assert all(len(key) == 32 and set(key) <= set("0123456789abcdef") for key in keys)


@pytest.mark.parametrize(
    "same",
    ["numpy\n\n", "numpy \r\n", "# a comment\nnumpy", "numpy  # fast arrays", "\n numpy"],
)
def test_what_pip_does_not_see_is_not_in_the_key(same):
    assert environment_key(same, "python") == environment_key("numpy", "python")


def test_what_pip_sees_is_in_the_key():
    different = ["numpy\nscipy", "scipy\nnumpy", "numpy#not-a-comment", "-i http://x\nnumpy"]
    assert len({environment_key(text, "python") for text in [*different, "numpy"]}) == 5


@given(st.text())
def test_every_text_has_a_key(text):
    assert environment_key(text, "python") == environment_key(text + "\n", "python")
    names_local_files(text)


def test_the_plan_is_the_literal_command():
    plan = install_plan(
        key="k",
        directory="/envs/k",
        requirements_path="/opt/ml/code/requirements.txt",
        python="/usr/bin/python3",
        pip_environment={"PIP_INDEX_URL": "https://index"},
    )
    assert plan.step() == {
        "argv": [
            "/usr/bin/python3",
            "/opt/orchestrator/orchestrator_runtime/install.py",
            "/envs/k",
            "/opt/ml/code/requirements.txt",
        ],
        "environment": {"PIP_INDEX_URL": "https://index", "PYTHONPATH": ""},
    }
    assert plan.python == "/envs/k/venv/bin/python"
    assert plan.program_environment("/usr/bin") == {
        "VIRTUAL_ENV": "/envs/k/venv",
        "PATH": "/envs/k/venv/bin:/usr/bin",
    }
    assert plan.program_environment("")["PATH"] == "/envs/k/venv/bin"


@pytest.mark.parametrize("line", ["-e .", "--editable=./lib", "-e git+https://host/repo"])
def test_editable_requirements_are_refused(line):
    with pytest.raises(InvalidSpec, match="must not have editable"):
        check_requirements(f"numpy\n{line}\n")
    check_requirements(f"# {line}\nnumpy\n-extra\n")


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("numpy", False),
        ("numpy==2.0  # see ./notes", False),
        ("pkg @ https://host/pkg", False),
        ("-i https://host/simple\nnumpy", False),
        ("-r more.txt", True),
        ("-c limits.txt\nnumpy", True),
        ("./lib", True),
        ("../lib", True),
        ("/abs/lib", True),
        ("lib @ file:lib", True),
        ("wheels/lib-1.0-py3-none-any.whl", True),
        ("numpy\n\\\n./lib", True),
        ("--find-links wheels\nlib", True),
    ],
)
def test_references_to_other_files_are_seen(text, local):
    assert names_local_files(text) is local


def test_this_interpreter_is_probed():
    found = probe_interpreter(sys.executable)
    assert found.version == sys.version.split()[0]
    assert found.prefix == sys.prefix
    assert any(name.startswith("pytest-") for name in found.packages)


@pytest.mark.parametrize("program", ["/no/such/python", "/bin/true", "/bin/false"])
def test_an_interpreter_that_does_not_run_is_named(program):
    with pytest.raises(InvalidSpec, match=f"'{program}' does not"):
        probe_interpreter(program)
