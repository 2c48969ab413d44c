"""What a job can change of the machine: its own folders and nothing else, in either fence."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator import ModelTrainer
from orchestrator.embedded import LocalTransport
from orchestrator.testing.plugin import end_driver

pytestmark = pytest.mark.e2e

PROBE = """
from pathlib import Path
for place in ("/etc", "/usr", "/var", "/opt", "/opt/ml/model", "/opt/ml/output", "/tmp"):
    try:
        (Path(place) / "written").write_text("1")
        print(place, "written")
    except OSError as error:
        print(place, error.strerror)
print("home", sorted(p.name for p in Path(HOME).glob("*")))
"""


@pytest.mark.parametrize("fence", ["bubblewrap", "namespaces"])
def test_a_job_can_change_nothing_but_its_own_folders(
    fence: str,
    trainer: Callable[..., ModelTrainer],
    orchestrator_home: object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_ISOLATION", fence)
    job = trainer(f"HOME = {str(orchestrator_home)!r}\n{PROBE}").train(logs=False)
    assert job.record.notes["sandbox"] == fence
    said = dict(line.split(" ", 1) for line in job.logs())
    refused = "Read-only file system"
    assert {place: said[place] for place in ("/etc", "/usr", "/var")} == dict.fromkeys(
        ("/etc", "/usr", "/var"), refused
    )
    assert said["/opt/ml/model"] == said["/opt/ml/output"] == said["/tmp"] == "written"
    assert said["home"] == "[]"


KEYS = """
import os
from pathlib import Path
for name in (
    ".ssh/id", ".netrc", ".git-credentials", ".config/gh/hosts.yml", ".orchestrator/token",
    ".aws/credentials", "dotfiles/aws/credentials", ".pypirc", "dotfiles/pypirc",
):
    path = Path(USER) / name
    print(name, path.read_text() if path.exists() else "")
print("notes", (Path(USER) / "notes").read_text())
"""


@pytest.mark.parametrize("fence", ["bubblewrap", "namespaces"])
def test_a_job_does_not_see_the_users_keys(
    fence: str,
    trainer: Callable[..., ModelTrainer],
    user: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_ISOLATION", fence)
    job = trainer(f"USER = {str(user)!r}\n{KEYS}").train(logs=False)
    assert list(job.logs()) == [
        ".ssh/id ",
        ".netrc ",
        ".git-credentials ",
        ".config/gh/hosts.yml ",
        ".orchestrator/token ",
        ".aws/credentials ",
        "dotfiles/aws/credentials ",
        ".pypirc ",
        "dotfiles/pypirc ",
        "notes plain",
    ]


@pytest.mark.parametrize("fence", ["bubblewrap", "namespaces"])
def test_places_behind_links_are_hidden_and_writable_as_well(
    fence: str, tmp_path: Path, user: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_ISOLATION", fence)
    (user / "link").symlink_to(user / "disk")
    (user / "disk/shared").mkdir(parents=True)
    monkeypatch.setenv("ORCHESTRATOR_SANDBOX_WRITABLE", str(user / "link/shared"))
    (tmp_path / "train.py").write_text(
        "from pathlib import Path\n"
        f"print(list(Path({str(user / 'link/home')!r}).iterdir()))\n"
        f"(Path({str(user / 'link/shared')!r}) / 'new').write_text('1')\n"
    )
    home = user / "link/home"
    with closing(LocalTransport(home)) as transport:
        trainer = ModelTrainer(source_code=str(tmp_path / "train.py"), transport=transport)
        job = trainer.train(logs=False)
        assert list(job.logs()) == ["[]"]
        assert job.status == "Completed"
    assert (user / "disk/shared/new").exists()
    end_driver(home)


@pytest.fixture
def user(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's home, at a place that jobs can see."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="orchestrator-user-") as name:
        folder = Path(name)
        for secret in (
            *(".ssh/id", ".netrc", ".git-credentials", ".config/gh/hosts.yml"),
            *(".orchestrator/token", "dotfiles/aws/credentials", "dotfiles/pypirc"),
        ):
            (folder / secret).parent.mkdir(parents=True, exist_ok=True)
            (folder / secret).write_text("hush")
        (folder / ".aws").symlink_to(
            folder / "dotfiles/aws"
        )  # as people keep them in a repository
        (folder / ".pypirc").symlink_to("dotfiles/pypirc")
        (folder / ".kube").symlink_to("nowhere")
        (folder / "notes").write_text("plain")
        monkeypatch.setenv("HOME", name)
        yield folder


@pytest.mark.parametrize("fence", ["bubblewrap", "namespaces"])
def test_variables_of_a_job_say_nothing_to_what_fences_it_in(
    fence: str,
    trainer: Callable[..., ModelTrainer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What starts the sandbox runs outside of it: neither its place nor its libraries are a job's choice."""
    monkeypatch.setenv("ORCHESTRATOR_ISOLATION", fence)
    evil, outside = tmp_path / "evil", tmp_path / "outside"
    evil.mkdir()
    outside.mkdir()
    for name in ("bwrap", "unshare", "mount"):
        program = evil / name
        program.write_text(f"#!/bin/sh\ntouch {outside}/ran\n")
        program.chmod(0o755)
    given = {
        "PATH": f"{evil}:{os.environ['PATH']}",
        "LD_DEBUG": "libs",  # glibc's loader then writes down what it does, before the program begins
        "LD_DEBUG_OUTPUT": f"{outside}/trace",
        "SPACED": "a  b\nc=d",
        "EMPTY": "",
    }
    script = f"""
import os
given = {given!r}
print("same", {{name: os.environ.get(name) for name in given}} == given)
print("open", sorted(map(int, os.listdir("/proc/self/fd")))[:-1])
"""
    job = trainer(script, environment=given).train(logs=False)
    said = [line for line in job.logs() if line.startswith(("same", "open"))]
    assert said == ["same True", "open [0, 1, 2]"]  # among what the program's own loader says
    assert list(outside.iterdir()) == []
