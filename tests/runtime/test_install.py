"""The install step, for real: own interpreters, own wheels, real pip."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from orchestrator_runtime import install

from orchestrator.packaging.requirements import (
    environment_key,
    install_plan,
    is_installed,
    own_plan,
    probe_interpreter,
    remove_unused,
)
from tests.runtime.conftest import find_python39
from tests.unit.blobs.system_calls import system_calls
from tests.unit.packaging.wheels import Parent, make_sdist, make_wheel, offline_environment, run

RUNTIME = Path(install.__file__).parent.parent


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    parent = Parent(tmp_path_factory.mktemp("parent") / "venv")
    parent.add("heavy", "1.0")
    return parent


@pytest.fixture
def wheels(tmp_path):
    make_wheel(tmp_path / "wheels", "small", "1.0", requires=("heavy>=1",))
    make_wheel(tmp_path / "wheels", "heavy", "2.0")
    make_wheel(tmp_path / "wheels", "other", "1.0", requires=("heavy<0.5",))
    make_sdist(tmp_path / "wheels", "unbuildable", "1.0")
    return tmp_path / "wheels"


@pytest.fixture
def job(tmp_path, parent, wheels):
    return Job(tmp_path, parent.python, wheels)


class Job:
    """One environment and the requirements file of one job."""

    def __init__(self, tmp_path, python, wheels):
        self.root = tmp_path
        self.file = tmp_path / "requirements.txt"
        self.environment = offline_environment(wheels)
        self.plan = install_plan(
            key="key",
            directory=str(tmp_path / "envs" / "key"),
            requirements_path=str(self.file),
            python=python,
            runtime=str(RUNTIME),
            pip_environment={},
        )
        self.directory = Path(self.plan.directory)

    def install(self, requirements="small\n", **how):
        self.file.write_text(requirements)
        return run(self.plan.argv, env={**self.environment, **self.plan.environment}, **how)

    def start(self):
        return subprocess.Popen(
            self.plan.argv,
            env={**self.environment, **self.plan.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def python(self, code):
        done = run([self.plan.python, "-c", code], env=self.environment)
        assert done.returncode == 0, done.stdout
        return done.stdout.strip()


def test_requirements_are_installed_beside_the_packages_that_are_there(job, parent):
    done = job.install()
    assert done.returncode == 0, done.stdout
    assert "Requirement already satisfied: heavy" in done.stdout
    assert done.stdout.splitlines()[-1] == "[orchestrator] installed 1 packages"
    found = job.python("import heavy, small; print(heavy.version, heavy.__file__, small.__file__)")
    version, heavy, small = found.split()
    assert version == "1.0"
    assert heavy.startswith(str(parent.packages))
    assert small.startswith(str(job.directory))
    assert is_installed(job.directory)
    assert json.loads((job.directory / "complete.json").read_text())["packages"] == ["small-1.0"]


def test_a_newer_version_wins_over_the_parent_which_is_left_alone(job, parent):
    done = job.install("heavy>=2\n")
    assert done.returncode == 0, done.stdout
    assert job.python("import heavy; print(heavy.version)") == "2.0"
    assert run([parent.python, "-c", "import heavy; print(heavy.version)"]).stdout == "1.0\n"


def test_programs_of_the_environment_come_first_on_the_path(job):
    job.install()
    path = job.plan.program_environment(os.environ["PATH"])["PATH"]
    done = run(
        ["sh", "-c", "python -c 'import small, sys; print(sys.prefix)'"],
        env={**job.environment, "PATH": path},
    )
    assert done.stdout.strip() == job.plan.program_environment("")["VIRTUAL_ENV"]


def test_the_second_job_installs_nothing(job):
    job.install()
    before = (job.directory / "venv" / "pyvenv.cfg").stat()
    done = job.install()
    assert done.returncode == 0
    assert done.stdout == "[orchestrator] the requirements are installed already\n"
    assert (job.directory / "venv" / "pyvenv.cfg").stat() == before


def test_an_environment_is_read_only_afterwards(job):
    job.install()
    for path in (job.directory / "venv").rglob("*"):
        if not path.is_symlink():
            assert path.stat().st_mode & 0o222 == 0, path


def test_an_interrupted_install_is_done_again(job):
    job.install()
    (job.directory / "complete.json").unlink()
    (job.directory / "venv" / "lib").chmod(0o700)
    (job.directory / "venv" / "lib" / "rest").write_text("of the first install")
    done = job.install()
    assert done.returncode == 0, done.stdout
    assert "interrupted; starting again" in done.stdout
    assert not (job.directory / "venv" / "lib" / "rest").exists()
    assert job.python("import small; print(small.version)") == "1.0"


@pytest.mark.parametrize("note", ["", "{}", "[]", '{"format": 99}', "\x00\x01"])
def test_a_note_that_is_no_note_counts_as_none(job, note):
    job.directory.mkdir(parents=True)
    (job.directory / "complete.json").write_text(note)
    assert not is_installed(job.directory)
    assert not install.is_complete(str(job.directory))


def wait_for(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def test_two_jobs_install_once(job):
    job.file.write_text("small\n")
    jobs = [job.start() for _ in range(3)]
    outputs = [each.communicate(timeout=60)[0] for each in jobs]
    assert [each.returncode for each in jobs] == [0, 0, 0], outputs
    assert sum("Installing collected packages" in output for output in outputs) == 1
    assert sum("installed already" in output for output in outputs) == 2
    assert job.python("import small; print(small.version)") == "1.0"


def test_a_killed_install_leaves_nothing_that_counts(job):
    job.file.write_text("small\n")
    for moment in ("lock", "venv/bin/python", "venv/lib"):
        started = job.start()
        wait_for(lambda moment=moment: (job.directory / moment).exists())
        os.killpg(started.pid, signal.SIGKILL)
        started.communicate()
        assert not is_installed(job.directory)
    assert job.install().returncode == 0
    assert job.python("import small; print(small.version)") == "1.0"


def test_the_lock_lasts_as_long_as_pip_does(job, wheels):
    """Only the installer is killed: its pip goes on, so nobody else may start."""
    os.mkfifo(wheels / "pipe-1.0-py3-none-any.whl")  # pip hangs in opening it
    job.file.write_text("pipe\n")
    first = job.start()
    wait_for(lambda: any(b"run_module" in cmdline for _, cmdline in children_of(first.pid)))
    ((pip_pid, _),) = children_of(first.pid)
    first.kill()
    first.wait()
    second = job.start()
    assert second.stdout is not None
    assert second.stdout.readline().startswith("[orchestrator] waiting for another job")
    os.kill(pip_pid, signal.SIGKILL)
    assert first.stdout is not None
    first.stdout.close()
    wait_for(lambda: any(b"run_module" in cmdline for _, cmdline in children_of(second.pid)))
    os.killpg(second.pid, signal.SIGKILL)
    second.communicate()


def children_of(pid):
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent_pid = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent_pid == pid:
                found.append((int(path.name), (path / "cmdline").read_bytes()))
        except OSError:
            continue
    return found


@pytest.mark.parametrize(
    ("requirements", "message"),
    [
        ("nosuchpackage==3\n", "no version of 'nosuchpackage==3' fits this interpreter"),
        ("small>=7\n", "no version of 'small>=7' fits"),
        ("small\nother\n", "contradict each other"),
        ("this is wrong\n", "is no requirement; correct that line"),
        ("unbuildable\n", "built from source and that failed"),
        ("-r missing.txt\n", "a file it names is missing"),
    ],
)
def test_a_failure_is_explained_by_the_last_line(job, requirements, message):
    done = job.install(requirements)
    assert done.returncode == 1
    last = done.stdout.splitlines()[-1]
    assert last.startswith("[orchestrator] requirements could not be installed: ")
    assert message in last, done.stdout
    assert not is_installed(job.directory)


def test_an_index_that_cannot_be_reached_is_named(job):
    del job.environment["PIP_NO_INDEX"]
    job.environment |= {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "1"}
    job.environment |= {"PIP_FIND_LINKS": ""}
    done = job.install()
    assert done.returncode == 1
    assert "the package index could not be reached" in done.stdout.splitlines()[-1]


def test_a_missing_file_is_named(job):
    job.file.unlink(missing_ok=True)
    done = run(job.plan.argv, env=job.environment)
    assert done.returncode == install.EXIT_NO_INPUT
    assert "there is no file" in done.stdout
    assert not job.directory.exists()


def test_an_editable_requirement_is_refused_after_all(job, tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (project / "backend.py").write_text(EDITABLE_BACKEND)
    (tmp_path / "nested.txt").write_text(f"-e {project}\n")
    done = job.install(f"-r {tmp_path}/nested.txt\n")
    assert done.returncode == 1, done.stdout
    assert "editable requirement" in done.stdout.splitlines()[-1]
    assert not is_installed(job.directory)


EDITABLE_BACKEND = """
import zipfile
def build_editable(directory, config_settings=None, metadata_directory=None):
    name = "project-1.0-py3-none-any.whl"
    with zipfile.ZipFile(directory + "/" + name, "w") as wheel:
        wheel.writestr("project.pth", "/nowhere")
        info = "project-1.0.dist-info/"
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: project\\nVersion: 1.0\\n")
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        wheel.writestr(info + "RECORD", "")
    return name
def build_wheel(directory, config_settings=None, metadata_directory=None):
    raise NotImplementedError
"""


def test_local_files_are_found_from_the_working_directory(job, tmp_path, wheels):
    (tmp_path / "code").mkdir()
    make_wheel(tmp_path / "code", "mine", "1.0")
    done = job.install("./mine-1.0-py3-none-any.whl\n", cwd=tmp_path / "code")
    assert done.returncode == 0, done.stdout
    assert job.python("import mine; print(mine.version)") == "1.0"


def test_settings_that_would_move_the_packages_elsewhere_are_dropped(job, tmp_path):
    job.environment |= {"PIP_TARGET": str(tmp_path / "target"), "PIP_USER": "1"}
    done = job.install()
    assert done.returncode == 0, done.stdout
    assert job.python("import small; print(small.version)") == "1.0"
    assert not (tmp_path / "target").exists()


def test_files_of_the_job_do_not_shadow_the_installer(job, tmp_path):
    (tmp_path / "code").mkdir()
    for name in ("json.py", "subprocess.py", "venv.py", "pip.py"):
        (tmp_path / "code" / name).write_text("raise SystemExit('shadowed')")
    job.environment["PYTHONPATH"] = str(tmp_path / "code")
    done = job.install(cwd=tmp_path / "code")
    assert done.returncode == 0, done.stdout


def test_an_interpreter_without_pip_uses_the_one_it_carries(tmp_path, wheels):
    bare = Parent(tmp_path / "bare", with_pip=False)
    job = Job(tmp_path, bare.python, wheels)
    done = job.install("heavy\n")
    assert done.returncode == 0, done.stdout
    assert job.python("import heavy; print(heavy.version)") == "2.0"


def test_an_interpreter_without_any_pip_says_what_to_install(tmp_path, wheels):
    bare = Parent(tmp_path / "bare", with_pip=False)
    hide = "import sys; sys.modules['ensurepip'] = None\n"
    (bare.packages / "hide.pth").write_text(hide)
    done = Job(tmp_path, bare.python, wheels).install()
    assert done.returncode == install.EXIT_UNAVAILABLE
    assert "has no pip; install it (Debian: apt-get install python3-pip)" in done.stdout


def test_an_interpreter_without_venv_says_what_to_install(tmp_path, wheels):
    bare = Parent(tmp_path / "bare")
    (bare.packages / "hide.pth").write_text("import sys; sys.modules['venv'] = None\n")
    done = Job(tmp_path, bare.python, wheels).install()
    assert done.returncode == install.EXIT_UNAVAILABLE
    assert "python3-venv" in done.stdout


def test_wrong_use_is_answered(tmp_path):
    done = run([sys.executable, install.__file__])
    assert (done.returncode, done.stdout) == (install.EXIT_USAGE, install.USAGE)


def test_unused_environments_are_removed_and_used_ones_kept(job, tmp_path):
    job.install()
    envs = tmp_path / "envs"
    (envs / "broken").mkdir()
    os.utime(envs / "broken", (1000, 1000))
    note = job.directory / "complete.json"
    assert remove_unused(envs, older_than=2000) == 1
    assert is_installed(job.directory)
    os.utime(note, (1000, 1000))
    assert remove_unused(envs, older_than=2000, keep=frozenset({"key"})) == 0
    job.install()  # a use
    assert remove_unused(envs, older_than=2000) == 0
    os.utime(note, (1000, 1000))
    assert remove_unused(envs, older_than=2000) == 1
    assert list(envs.iterdir()) == []
    assert remove_unused(envs, older_than=2000) == 0


def test_an_environment_in_the_making_is_not_removed(job, wheels):
    os.mkfifo(wheels / "pipe-1.0-py3-none-any.whl")
    job.file.write_text("pipe\n")
    started = job.start()
    wait_for(lambda: any(b"run_module" in cmdline for _, cmdline in children_of(started.pid)))
    assert remove_unused(job.directory.parent, older_than=time.time() + 1000) == 0  # noqa: TID251
    os.killpg(started.pid, signal.SIGKILL)
    started.communicate()


def test_a_change_of_the_parent_needs_another_environment(tmp_path):
    parent = Parent(tmp_path / "parent")
    before = probe_interpreter(parent.python)
    assert before == probe_interpreter(parent.python)
    parent.add("new", "1.0")
    after = probe_interpreter(parent.python)
    keys = {environment_key("small", each.identity) for each in (before, after)}
    assert len(keys) == 2
    assert stat.S_ISDIR((tmp_path / "parent").stat().st_mode)


def test_the_oldest_interpreter_installs_too(tmp_path, wheels):
    python = find_python39()
    if python is None:
        pytest.skip("no Python 3.9; name one in ORCHESTRATOR_TEST_PYTHON39")
    job = Job(tmp_path, python, wheels)
    done = job.install("small\n")
    assert done.returncode == 0, done.stdout
    assert job.python("import heavy, small; print(heavy.version)") == "2.0"
    assert (
        job.install("small\n").stdout == "[orchestrator] the requirements are installed already\n"
    )


def test_the_note_is_written_after_the_packages_are_on_the_disk(job, monkeypatch):
    for name, value in job.environment.items():
        monkeypatch.setenv(name, value)
    job.file.write_text("heavy\n")
    arguments = [str(job.directory), str(job.file)]
    calls = system_calls(lambda: install.main(arguments))
    assert calls == ["sync", "fsync", "replace", "fsync"]
    assert is_installed(job.directory)


@pytest.mark.parametrize(
    ("output", "cause"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
         "no space is left"),
        ("OSError: [Errno 122] Disk quota exceeded", "quota is used up"),
        ("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] x'))", "PIP_CERT"),
        ("ERROR: Package 'x' requires a different Python: 3.9.1 not in '>=3.12'",
         "does not fit: 3.9.1 not in"),
        ("  ERROR: Failed building wheel for pycuda", "pycuda had to be built from source"),
        ("note\nERROR: something new", "something new"),
        ("all is well", None),
    ],
)  # fmt: skip
def test_causes_are_recognised(output, cause):
    found = install.cause_of(output.splitlines())
    assert found == cause if cause is None else cause in (found or "")


def test_a_program_installs_into_an_environment_of_its_own(tmp_path, parent, wheels):
    plan = own_plan(
        directory=str(tmp_path / "packages"), python=parent.python, runtime=str(RUNTIME)
    )
    bin_directory = Path(parent.python).parent
    script = bin_directory / "launcher"
    script.write_text(f"#!{parent.python}\nimport small, heavy; print(heavy.__file__)\n")
    script.chmod(0o755)
    subprocess.run(plan.argv, check=True, env={"PATH": "/usr/bin:/bin", **plan.environment})
    environment = offline_environment(wheels) | plan.program_environment(str(bin_directory))
    pip = [plan.python, "-m", "pip", "install", "small"]
    done = subprocess.run(pip, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (
        "heavy" not in done.stdout.rpartition("Successfully installed")[2]
    )  # it is there already
    ran = subprocess.run(["launcher"], env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout.startswith(str(bin_directory.parent))  # heavy, of the interpreter below
    assert not plan.is_kept
    assert not list(bin_directory.parent.glob("lib/*/site-packages/small*"))


def test_a_program_runs_without_an_environment_of_its_own_too(tmp_path, parent):
    (tmp_path / "packages").write_text("in the way")
    plan = own_plan(
        directory=str(tmp_path / "packages"), python=parent.python, runtime=str(RUNTIME)
    )
    done = subprocess.run(plan.argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "the program cannot install packages" in done.stdout
