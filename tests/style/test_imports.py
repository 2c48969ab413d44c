"""Who may import what, beyond what the import contract of pyproject.toml says (`make check` runs that)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.style.imports import ROOT, RUNTIME, imported, imported_members, loaded_at_once

FRAMEWORK_ADAPTERS = {"hook/pytorch/": {"torch"}, "hook/keras/": {"keras", "tensorflow"}}
SHARED_WITH_THE_RUNTIME = {"archive", "contract", "launch", "rules", "trace", "watched"}
# Modules of the standard library that Windows does not have.
POSIX_ONLY = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "termios", "tty"}
# What a client must not pay for.
SERVER_SIDE = {
    "alembic",
    "boto3",
    "botocore",
    "docker",
    "fastapi",
    "optuna",
    "optuna_dashboard",
    "plotly",
    "sqlalchemy",
    "sqlite3",
    "starlette",
    "uvicorn",
}
# Import name of a distribution where the two differ.
IMPORT_NAMES = {
    "ipython": "IPython",
    "optuna-dashboard": "optuna_dashboard",
    "pydantic-settings": "pydantic_settings",
}
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def modules(package: Path) -> list[str]:
    """Dotted names of every module in a package, but for programs and migration scripts."""
    found = []
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        if parts[-1] == "__main__" or "migrations" in parts:
            continue
        found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found


def run_python(program: str, home: Path) -> str:
    """Output of a program under an empty home and with warnings as errors."""
    command = [sys.executable, "-W", "error", "-c", program]
    environment = {"HOME": str(home), "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run(
        command, env=environment, cwd=home, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_runtime_imports_only_the_standard_library_and_itself():
    own = {*sys.stdlib_module_names, RUNTIME.name}
    foreign = []
    for path in sorted(RUNTIME.rglob("*.py")):
        file = path.relative_to(RUNTIME).as_posix()
        tops = {name.partition(".")[0] for name in imported(path)}
        foreign += [(file, top) for top in tops - own - frameworks_of(file)]
    assert not foreign


def test_the_service_takes_only_the_shared_files_of_the_runtime():
    taken = {
        (str(path.relative_to(ROOT)), name)
        for path in sorted((ROOT / "orchestrator").rglob("*.py"))
        for name in imported_members(path, RUNTIME.name)
        if name not in SHARED_WITH_THE_RUNTIME
    }
    assert not taken


def frameworks_of(file: str) -> set[str]:
    """What a file of the runtime may import beside the standard library."""
    return {
        framework
        for folder, frameworks in FRAMEWORK_ADAPTERS.items()
        if file.startswith(folder)
        for framework in frameworks
    }


LOAD_EVERYTHING = """
import importlib, json, os, sys, threading
before = dict(os.environ)
for name in json.loads({names!r}):
    importlib.import_module(name)
assert os.environ == before, "an import changed the environment"
assert threading.active_count() == 1, "an import started a thread"
assert not os.listdir(os.environ["HOME"]), "an import wrote into the home directory"
"""


def test_every_module_loads_in_an_empty_home_without_side_effects(tmp_path):
    adapters = tuple(f"orchestrator_runtime.hook.{name}" for name in ("pytorch", "keras", "site"))
    names = [name for package in (ROOT / "orchestrator", RUNTIME) for name in modules(package)]
    wanted = json.dumps([name for name in names if not name.startswith(adapters)])
    run_python(LOAD_EVERYTHING.format(names=wanted), tmp_path)


@pytest.mark.parametrize(
    "module", ["orchestrator", "orchestrator.spec", "orchestrator.sdk", "orchestrator.cli.main"]
)
def test_a_client_loads_nothing_of_the_server(module, tmp_path):
    program = f"import sys, {module}; print(*sys.modules, sep=chr(10))"
    tops = {name.partition(".")[0] for name in run_python(program, tmp_path).split()}
    assert not tops & SERVER_SIDE


@pytest.mark.parametrize("module", ["orchestrator.sdk", "orchestrator.cli.main"])
def test_a_client_loads_without_modules_that_windows_lacks(module, tmp_path):
    program = (
        f"import sys, {module}\n"
        "for name, module in list(sys.modules.items()):\n"
        "    if name.partition('.')[0] in ('orchestrator', 'orchestrator_runtime'):\n"
        "        print(getattr(module, '__file__', None) or '')"
    )
    files = [Path(line) for line in run_python(program, tmp_path).splitlines() if line]
    wrong = {str(path): names for path in files if (names := loaded_at_once(path) & POSIX_ONLY)}
    assert not wrong


def declared() -> set[str]:
    """Import names of every dependency that a user gets, extras included."""
    project = PYPROJECT["project"]
    extras = project["optional-dependencies"]
    users = [extras[name] for name in extras if name not in {"test", "tools", "examples"}]
    lines = [*project["dependencies"], *(line for group in users for line in group)]
    found = {match.group() for line in lines if (match := re.match(r"[A-Za-z0-9_.-]+", line))}
    return {IMPORT_NAMES.get(name, name) for name in found}


def test_every_imported_package_is_a_declared_dependency():
    known = {*sys.stdlib_module_names, "orchestrator", "orchestrator_runtime", *declared()}
    undeclared = {
        (str(path.relative_to(ROOT)), name)
        for path in sorted((ROOT / "orchestrator").rglob("*.py"))
        for name in imported(path)
        if name.partition(".")[0] not in known
    }
    assert not undeclared


def contract(name: str) -> dict[str, list[str]]:
    """One import contract of pyproject.toml by a part of its name."""
    contracts = PYPROJECT["tool"]["importlinter"]["contracts"]
    found: dict[str, list[str]] = next(one for one in contracts if name in one["name"])
    return found


def test_the_import_contract_names_every_concrete_store_and_back_end():
    protected = contract("only service.assemble")["protected_modules"]
    engines = ("process", "docker", "sagemaker", "batch")
    for engine in engines:
        module = ROOT / "orchestrator" / "backends" / f"{engine}.py"
        assert not module.exists() or f"orchestrator.backends.{engine}" in protected
    assert "orchestrator.store.sql" in protected
