"""What a job can change of the machine: its own folders and nothing else, in either fence."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator import ModelTrainer

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
