"""What an exit record tells of is on the disk before the record is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runtime.hosts import RUNTIME, Host

# Runs the real supervisor and notes what it syncs and renames, in order.
SPY = """
import os, sys
sys.path.insert(0, sys.argv[1])

def spy(name, path_of):
    real = getattr(os, name)
    def call(*arguments, **options):
        if os.getpid() == supervisor:
            with open(sys.argv[3], "a") as notes:  # the supervisor closes what it inherits
                print(name, path_of(*arguments), file=notes)
        return real(*arguments, **options)
    setattr(os, name, call)

def opened(descriptor):
    return os.path.relpath(os.readlink(f"/proc/self/fd/{descriptor}"), sys.argv[2])

supervisor = os.getpid()
spy("fsync", opened)
spy("fdatasync", opened)
spy("rename", lambda source, target: os.path.relpath(target, sys.argv[2]))
spy("replace", lambda source, target: os.path.relpath(target, sys.argv[2]))
from orchestrator_runtime.supervise import supervise
sys.exit(supervise(sys.argv[2]))
"""


class SpiedHost(Host):
    notes: Path

    def command(self) -> list[str]:
        self.notes = self.directory.parent / "notes"
        spy = self.directory.parent / "spy.py"
        spy.write_text(SPY)
        return [
            self.python,
            "-I",
            "-S",
            str(spy),
            str(RUNTIME),
            str(self.directory),
            str(self.notes),
        ]

    def steps(self) -> list[str]:
        """What was done, without the phases and with one name for the two ways to sync."""
        lines = self.notes.read_text().replace("fdatasync", "fsync").splitlines()
        return [line for line in lines if "status.json" not in line]


@pytest.fixture
def spied(tmp_path: Path) -> SpiedHost:
    host = SpiedHost(tmp_path / "host" / "algo-1")
    host.program(
        """
        import os
        from orchestrator_runtime import report_metric
        report_metric("loss", 1.0)
        print("hello")
        for name in ("SM_MODEL_DIR", "SM_OUTPUT_DATA_DIR"):
            open(os.environ[name] + "/file", "w").write("x")
        """
    )
    return host


def test_archives_log_and_records_are_synced_before_the_record_and_names_after_files(
    spied: SpiedHost,
):
    assert spied.run()["exit_code"] == 0, spied.errors()
    assert spied.steps() == [
        "fsync artifacts/model.tar.gz.new",
        "replace artifacts/model.tar.gz",
        "fsync artifacts",
        "fsync artifacts/output.tar.gz.new",
        "replace artifacts/output.tar.gz",
        "fsync artifacts",
        "fsync log",
        "fsync log.index",
        "fsync records.jsonl",
        "fsync exit.json.new",
        "rename exit.json",
        "fsync .",
    ]


def test_plain_copies_are_synced_too(spied: SpiedHost):
    spied.plan["compression"] = "NONE"
    spied.run()
    assert spied.steps()[:6] == [
        "fsync ml/model/file",  # a hard link: the same file
        "rename artifacts/model",
        "fsync artifacts",
        "fsync ml/output/data/file",
        "rename artifacts/output",
        "fsync artifacts",
    ]


def test_what_was_not_written_is_not_synced(spied: SpiedHost):
    spied.shell("true").run()
    assert spied.steps() == ["fsync exit.json.new", "rename exit.json", "fsync ."]
