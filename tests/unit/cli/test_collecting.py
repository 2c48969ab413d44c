"""Ages, and what is removed from a home and what is not."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

import pytest

from orchestrator.blobs.bucket_values import Facts
from orchestrator.blobs.local import LocalBlobStore
from orchestrator.cli import main
from orchestrator.cli.collecting import parse_age
from orchestrator.errors import InvalidSpec
from orchestrator.metrics.points import GivenValue
from orchestrator.service.assemble import open_service
from orchestrator.service.gc import Garbage, collect_garbage, tree_bytes
from orchestrator.settings import Settings
from orchestrator.spec.job import TrainingJobSpec

LONG_AGO = 1_000_000_000.0


@pytest.mark.parametrize(
    ("text", "seconds"), [("30d", 2_592_000), ("1.5h", 5400), ("90m", 5400), ("2w", 1_209_600)]
)
def test_ages_have_a_unit(text, seconds):
    assert parse_age(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "1 month"])
def test_what_is_no_age_is_told(text):
    with pytest.raises(InvalidSpec, match="for example 30d"):
        parse_age(text)


def old(path: Path) -> Path:
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


def source(home: Path, text: bytes) -> str:
    """Keep a source for long; return its digest."""
    blobs = LocalBlobStore(home / "blobs")
    digest = blobs.put_bytes(text).digest
    old(blobs.path_of(digest))
    return digest


@pytest.fixture
def service(tmp_path):
    opened = open_service(Settings(home=tmp_path / "home"))
    yield opened
    opened.close()


def submit(service, digest: str, name: str) -> None:
    service.jobs.submit(
        TrainingJobSpec.parse(
            {
                "training_job_name": name,
                "source_code": {"digest": digest, "entry_script": "train.py"},
            }
        )
    )


def names(found: list[Garbage]) -> set[tuple[str, str]]:
    return {(item.kind, item.name) for item in found}


def test_sources_of_jobs_and_young_sources_stay(service):
    used, unused = source(service.home, b"used"), source(service.home, b"unused")
    young = LocalBlobStore(service.home / "blobs").put_bytes(b"young").digest
    submit(service, used, "job")
    assert names(collect_garbage(service)) == {("source", unused)}
    blobs = LocalBlobStore(service.home / "blobs")
    assert [blobs.path_of(d).exists() for d in (used, unused, young)] == [True, False, True]


def test_a_dry_run_finds_the_same_and_removes_nothing(service):
    unused = source(service.home, b"unused")
    folder = old_folder(service.home / "jobs" / "nobody", b"12345")
    dry = collect_garbage(service, dry_run=True)
    assert names(dry) == {("source", unused), ("job files", "nobody")}
    assert folder.exists()
    assert collect_garbage(service) == dry
    assert not folder.exists()
    assert collect_garbage(service) == []


def test_values_of_no_job_are_kept_fifteen_months(service):
    now_us = int(service.clock.now().timestamp() * 1_000_000)
    limit_us = now_us - 455 * 86_400_000_000
    service.metrics.elsewhere.put(
        "team",
        [
            GivenValue("old", 1.0, limit_us - 1),
            GivenValue("kept", 1.0, limit_us - 1),
            GivenValue("kept", 2.0, limit_us + 600_000_000),
        ],
    )
    submit(service, source(service.home, b"used"), "job")
    service.metrics.put({"job": [GivenValue("old", 1.0, limit_us - 1)]})
    removed = [Garbage("metric values", "team (2 older than 15 months)", 0)]
    assert collect_garbage(service, dry_run=True) == removed
    assert collect_garbage(service) == removed
    assert collect_garbage(service) == []
    store = service.metrics.points("job")
    assert [(point.name, point.value) for point in store.iterate("cloudwatch:team")] == [
        ("kept", 2.0)
    ]
    assert (store.names("cloudwatch:team"), store.names("job")) == (["kept"], ["old"])


def test_what_a_bucket_refers_to_stays(service):
    service.buckets.create_bucket("data")
    for key in ("a", "copy"):
        with service.buckets.writer() as writer:
            writer.write(b"x" * 100_000)
            content = writer.finish()
            service.buckets.put("data", key, content, writer.etag, Facts())
    path = service.buckets.file_of(service.buckets.get("data", "a"))
    old(path)
    left = service.buckets.shelf.incoming("left-by-a-crash")
    left.write_bytes(b"12345")
    old(left)
    assert names(collect_garbage(service)) == {("object", "left-by-a-crash")}
    service.buckets.delete("data", ["a"])
    assert collect_garbage(service) == []
    service.buckets.delete("data", ["copy"])
    assert names(collect_garbage(service)) == {("source", path.name)}
    assert not path.exists()


def old_folder(folder: Path, data: bytes) -> Path:
    folder.mkdir(parents=True)
    (folder / "file").write_bytes(data)
    return old(folder)


def test_folders_of_known_jobs_and_young_folders_stay(service):
    submit(service, source(service.home, b"used"), "job")
    known = old_folder(service.home / "jobs" / "job", b"")
    young = service.home / "jobs" / "just-made"
    young.mkdir()
    assert collect_garbage(service) == []
    assert known.exists()
    assert young.exists()


def lost_folder(home: Path, name: str) -> Path:
    """Leave the folder of a job that the store does not know; return its host directory."""
    host = home / "jobs" / name / "attempts" / "1" / "algo-1"
    host.mkdir(parents=True)
    (host / "claim.json").write_text('{"pid": 4711}')
    old(home / "jobs" / name)
    return host


def test_what_jobs_left_that_the_store_does_not_know_goes_only_when_asked_for(service):
    host = lost_folder(service.home, "lost")
    (found,) = collect_garbage(service)
    assert (found.kind, found.name, "--lost-jobs" in found.kept) == ("job files", "lost", True)
    assert host.exists()
    (found,) = collect_garbage(service, lost_jobs=True)
    assert (found.name, found.kept) == ("lost", "")
    assert not (service.home / "jobs" / "lost").exists()


def test_what_runs_stays_though_the_store_does_not_know_it(service):
    host = lost_folder(service.home, "lost")
    runtime = old_folder(service.home / "runtime" / "0123456789abcdef", b"x")
    environment = old_folder(service.home / "envs" / "aaaa", b"x")
    plan = {"argv": [f"{environment}/venv/bin/python"], "runtime": str(runtime)}
    (host / "plan.json").write_text(json.dumps(plan))
    with (host / "claim.json").open("r+") as claim:
        fcntl.flock(claim, fcntl.LOCK_EX)
        (found,) = collect_garbage(service, lost_jobs=True)
        assert (found.name, "it runs" in found.kept) == ("lost", True)
        assert host.exists()
        assert runtime.exists()
        assert environment.exists()
    assert {item.name for item in collect_garbage(service, lost_jobs=True)} == {
        "lost",
        runtime.name,
        environment.name,
    }


def test_the_command_names_what_it_keeps_and_why(tmp_path, capsys):
    home = tmp_path / "home"
    open_service(Settings(home=home)).close()
    host = lost_folder(home, "lost")
    assert main.main(["gc", "--home", str(home)]) == 0
    said = capsys.readouterr().err
    assert "kept job files lost" in said
    assert "--lost-jobs removes it" in said
    assert main.main(["gc", "--home", str(home), "--json", "--dry-run"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert body["removed"] == []
    assert [item["name"] for item in body["kept"]] == ["lost"]
    assert main.main(["gc", "--home", str(home), "--lost-jobs"]) == 0
    assert not host.exists()


def test_environments_that_were_not_used_for_long_go(service):
    unused = old_folder(service.home / "envs" / "aaaa", b"x" * 100)
    fresh = service.home / "envs" / "bbbb"
    fresh.mkdir()
    (found,) = collect_garbage(service)
    assert found == Garbage("environment", "aaaa", 100)
    assert not unused.exists()
    assert fresh.exists()


def test_an_environment_of_a_job_that_has_not_ended_stays(service):
    submit(service, source(service.home, b"used"), "job")
    host = service.home / "jobs" / "job" / "attempts" / "0" / "algo-1"
    host.mkdir(parents=True)
    place = str(service.home / "envs" / "aaaa" / "venv" / "bin" / "python")
    (host / "plan.json").write_text(json.dumps({"argv": [place]}))
    used = old_folder(service.home / "envs" / "aaaa", b"x")
    assert collect_garbage(service) == []
    assert used.exists()


def test_copies_of_old_runtimes_go_and_the_present_one_stays(service):
    present = old(service.runtime)
    former = old_folder(service.home / "runtime" / "0123456789abcdef", b"x")
    assert names(collect_garbage(service)) == {("runtime", former.name)}
    assert present.exists()
    assert not former.exists()


def test_a_link_out_of_a_folder_is_not_followed(service, tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("keep")
    folder = old_folder(service.home / "jobs" / "nobody", b"")
    (folder / "link").symlink_to(precious)
    old(folder)
    collect_garbage(service)
    assert (precious / "file").exists()


def test_the_size_of_a_tree_counts_files_once_and_links_never(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "file").write_bytes(b"123")
    (tmp_path / "a" / "b" / "file").write_bytes(b"4567")
    (tmp_path / "a" / "link").symlink_to(tmp_path / "a" / "file")
    assert tree_bytes(tmp_path / "a") == 7
    assert tree_bytes(tmp_path / "missing") == 0


def test_the_command_says_what_it_removed(tmp_path, capsys):
    home = tmp_path / "home"
    digest = source(home, b"unused")
    assert main.main(["gc", "--home", str(home), "--json", "--dry-run"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert body["removed"] == [{"kind": "source", "name": digest, "size_bytes": 6}]
    assert body["dry_run"] is True
    assert main.main(["gc", "--home", str(home)]) == 0
    out, err = capsys.readouterr()
    assert digest in out
    assert "6 bytes in 1 thing(s) removed" in err


def test_a_home_that_is_not_there_has_nothing_to_remove(tmp_path, capsys):
    home = tmp_path / "none"
    assert main.main(["gc", "--home", str(home)]) == 0
    assert "0 thing(s)" in capsys.readouterr().err
    assert not home.exists()
