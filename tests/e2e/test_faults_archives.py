"""Faults 32 to 34 through the whole path: hostile sources, and what a hostile program leaves as its output."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Compute, ModelTrainer, OutputDataConfig, SourceCode
from orchestrator.embedded import LocalTransport
from orchestrator.errors import InvalidSpec
from orchestrator.spec.record import TrainingJobRecord
from tests.e2e.conftest import eventually, training
from tests.e2e.machine import GATED, Gate, ended, request

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

Make = Callable[..., ModelTrainer]


def packed(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """Return an archive with these members and an entry script."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        script = tarfile.TarInfo("train.py")
        script.size = len(b"print('ran')\n")
        archive.addfile(script, io.BytesIO(b"print('ran')\n"))
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def member(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", **more: Any
) -> tarfile.TarInfo:
    """Return one header."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = link
    for key, value in more.items():
        setattr(info, key, value)
    return info


def hostile_archives() -> dict[str, bytes]:
    """Return one archive for each attack."""
    sound = packed()
    escape = (member("out", tarfile.SYMTYPE, ".."), b""), (member("out/escaped"), b"x")
    return {
        "parent": packed((member("../escaped"), b"x")),
        "deep parent": packed((member("a/../../escaped"), b"x")),
        "absolute": packed((member("/tmp/escaped"), b"x")),
        "link to parent": packed(*escape),
        "link to /etc": packed((member("etc", tarfile.SYMTYPE, "/etc"), b"")),
        "hard link": packed((member("shadow", tarfile.LNKTYPE, "../../../../etc/shadow"), b"")),
        "device": packed((member("null", tarfile.CHRTYPE, devmajor=1, devminor=3), b"")),
        "fifo": packed((member("pipe", tarfile.FIFOTYPE), b"")),
        "truncated": sound[: len(sound) // 2],
        "no archive": b"this is no archive at all",
        "empty": b"",
        "bomb inside": packed((member("zeros"), bytes(256 << 20))),
    }


def put(home: Path, content: bytes) -> str:
    """Put bytes where packed sources are kept, as a client without manners can."""
    digest = hashlib.sha256(content).hexdigest()
    path = home / "blobs" / "sha256" / digest[:2] / digest
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return digest


@pytest.mark.parametrize("attack", hostile_archives())
def test_a_hostile_source_fails_the_job_before_anything_starts(
    attack: str, orchestrator_home: Path, orchestrator_transport: LocalTransport
) -> None:
    digest = put(orchestrator_home, hostile_archives()[attack])
    wish = request("job")
    del wish["algorithm_specification"]
    wish["source_code"] = {"digest": digest, "entry_script": "train.py"}
    orchestrator_transport.submit(wish, secrets={}, idempotency_key="1")
    job = ended(orchestrator_home, "job")
    assert (job.status, job.end_reason, job.attempt) == ("Failed", "input_error", 1)
    assert (job.failure_reason or "").startswith("ClientError: ")
    assert len(job.failure_reason or "") > len("ClientError: ") + 20
    eventually(lambda: not any((orchestrator_home / "unreleased").iterdir()))  # cleaned up after
    inside = orchestrator_home / "jobs" / "job"
    assert not list(orchestrator_home.rglob("escaped"))
    assert not Path("/tmp/escaped").exists()
    assert not [p for p in inside.rglob("*") if p.is_fifo() or p.is_block_device()]
    assert sum(p.stat().st_size for p in inside.rglob("*") if p.is_file()) < 1 << 20


def test_a_link_out_of_the_source_directory_is_refused_before_anything_is_sent(
    orchestrator_home: Path, orchestrator_transport: LocalTransport, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "train.py").write_text("print('ran')\n")
    (source / "passwd").symlink_to("/etc/passwd")
    trainer = ModelTrainer(
        source_code=SourceCode(source_dir=str(source), entry_script="train.py"),
        transport=orchestrator_transport,
    )
    with pytest.raises(InvalidSpec, match="passwd"):
        trainer.train(wait=False)
    assert orchestrator_transport.list_jobs()["jobs"] == []
    assert not list((orchestrator_home / "blobs").rglob("[0-9a-f]" * 64))


# -- fault 34: what a program leaves -----------------------------------------------------------

HOSTILE_OUTPUT = """
import os, socket, stat
def fill(directory):
    os.chdir(directory)
    os.symlink("/etc", "etc")
    os.symlink("/etc/passwd", "passwd")
    os.symlink("../../input/config/hyperparameters.json", "outside")
    os.symlink(".", "self")
    os.symlink("good.txt", "link-inside")
    os.symlink("nowhere", "dangling")
    os.mkfifo("pipe")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("listener")
    open("good.txt", "w").write("good")
    os.link("good.txt", "hard")
    os.makedirs("sub/dir")
    open("sub/dir/ünïcödé \\n newline", "w").write("odd name")
    open(b"\\xff\\xfe", "w").write("bytes")
    open("suid", "w").write("suid")
    os.chmod("suid", 0o4755)
    open("unreadable", "w").write("closed")
    os.chmod("unreadable", 0)
    with open("sparse", "w") as sparse:
        sparse.truncate(1 << 20)
    deep = "d"
    for _ in range(230):
        os.mkdir("d")
        os.chdir("d")
fill(os.environ["SM_MODEL_DIR"])
fill(os.environ["SM_OUTPUT_DATA_DIR"])
print("filled")
"""


def members(record: TrainingJobRecord, kind: str) -> dict[str, tarfile.TarInfo]:
    """Return what an artifact holds."""
    with tarfile.open(record.artifacts[kind].uri) as archive:
        return {info.name: info for info in archive.getmembers()}


@pytest.mark.parametrize("isolation", ["bubblewrap", "namespaces", "none"])
def test_hostile_outputs_are_packed_without_following_or_hanging(
    isolation: str, orchestrator_home: Path, trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_ISOLATION", isolation)
    job = trainer(HOSTILE_OUTPUT).train(logs=False)
    assert job.status == "Completed", job.record.message
    for kind in ("model", "output"):
        found = members(job.record, kind)
        plain = {name for name, info in found.items() if info.isfile() or info.islnk()}
        assert {"good.txt", "hard", "suid", "sparse", "sub/dir/ünïcödé \n newline"} <= plain
        for name in ("etc", "passwd", "outside", "pipe", "listener"):
            assert name not in found
        assert found["link-inside"].linkname == "good.txt"
        assert not [info for info in found.values() if info.isdev() or info.isfifo()]
        assert not found["suid"].mode & 0o7000
        assert not [name for name in found if name.startswith("etc/")]
    exit_record = (
        orchestrator_home / "jobs" / job.name / "attempts" / "1" / "algo-1" / "exit.json"
    ).read_text()
    for name in ("etc", "passwd", "outside", "pipe", "listener"):
        assert f'"{name}: ' in exit_record  # it says what it left out, and why


def test_what_was_left_out_is_told_to_the_user(orchestrator_home: Path, trainer: Make) -> None:
    job = trainer(HOSTILE_OUTPUT).train(logs=False)
    assert "pipe: FIFO" in job.record.notes["left out of model"]


def test_uncompressed_outputs_are_as_safe(orchestrator_home: Path, trainer: Make) -> None:
    job = trainer(
        HOSTILE_OUTPUT, output_data_config=OutputDataConfig(compression_type="NONE")
    ).train(logs=False)
    assert job.status == "Completed"
    model = Path(job.record.artifacts["model"].uri)
    assert (model / "good.txt").read_text() == "good"
    assert not (model / "etc").exists()
    assert not (model / "passwd").exists()
    assert not [p for p in model.rglob("*") if p.is_fifo() or p.is_socket()]


def test_outputs_of_several_hosts_are_merged_without_following_links(
    orchestrator_home: Path, trainer: Make
) -> None:
    job = trainer(HOSTILE_OUTPUT, compute=Compute(instance_count=2, cpus=0.5)).train(logs=False)
    assert job.status == "Completed", job.record.message
    found = members(job.record, "model")
    assert found["good.txt"].isfile()
    assert found["link-inside"].linkname == "good.txt"
    assert not {"etc", "passwd", "outside", "pipe"} & set(found)


def test_many_files_are_packed(orchestrator_home: Path, trainer: Make) -> None:
    count = 20_000
    script = f"""
import os
os.chdir(os.environ["SM_MODEL_DIR"])
for number in range({count}):
    os.close(os.open(str(number), os.O_CREAT))
"""
    job = trainer(script).train(logs=False)
    assert job.record.artifacts["model"].files == count
    assert len(members(job.record, "model")) == count


def test_a_failure_file_that_is_no_file_is_passed_over(
    orchestrator_home: Path, trainer: Make
) -> None:
    for attack in (
        "os.mkfifo('/opt/ml/output/failure')",
        "os.symlink('/etc/passwd', '/opt/ml/output/failure')",
        "os.mkdir('/opt/ml/output/failure')",
        "open('/opt/ml/output/failure', 'wb').write(bytes(1 << 20))",
    ):
        job = trainer(f"import os, sys\n{attack}\nsys.exit(3)\n").train(logs=False)
        assert (job.status, job.record.end_reason) == ("Failed", "exit_code")
        assert "root:" not in (job.record.failure_reason or "")
        assert "exit code: 3" in (job.record.failure_reason or "")


def test_a_program_cannot_touch_what_the_platform_keeps(
    orchestrator_home: Path, trainer: Make
) -> None:
    """Inside a sandbox the records of the host are out of reach."""
    script = f"""
import os, sys
home = {str(orchestrator_home)!r}
print("home", sorted(os.listdir(home)) if os.path.isdir(home) else "gone")
for path in (home + "/token", home + "/store.sqlite3", "/opt/ml/../../etc/evil",
             "/etc/evil", "/opt/orchestrator/evil", "/opt/ml/input/../../evil"):
    try:
        open(path, "a").close()
    except OSError as error:
        print("refused", path)
    else:
        print("WROTE", path)
"""
    job = trainer(script).train(logs=False)
    lines = list(job.logs())
    assert lines[0] in {"home []", "home gone"}
    assert not Path("/etc/evil").exists()
    # What can be "written" are names in an empty directory of the sandbox's own.
    written = [line for line in lines if line.startswith("WROTE")]
    assert not [line for line in written if "/etc" in line or "/opt/orchestrator" in line]


def test_an_output_location_that_cannot_be_used_is_found_before_anything_runs(
    orchestrator_home: Path, trainer: Make, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("this is no directory")
    job = trainer(
        "print('ran')",
        output_data_config=OutputDataConfig(s3_output_path=str(tmp_path / "file" / "below")),
    ).train(logs=False)
    assert (job.status, job.record.end_reason) == ("Failed", "input_error")
    assert f"s3_output_path: {tmp_path / 'file'} must be a directory" in job.record.message
    assert list(job.logs()) == []


def test_an_output_location_that_is_lost_meanwhile_fails_the_job_and_keeps_the_artifacts(
    orchestrator_home: Path, trainer: Make, tmp_path: Path
) -> None:
    gate, place = Gate(tmp_path / "gate"), tmp_path / "place"
    place.mkdir()
    job = trainer(
        GATED + "open('/opt/ml/model/weights', 'w').write('w')",
        input_data_config=[gate.channel],
        output_data_config=OutputDataConfig(s3_output_path=str(place / "below")),
    ).train(wait=False)
    training(job)
    place.rmdir()
    place.write_text("this is no directory")
    gate.open()
    assert (job.wait().status, job.record.end_reason) == ("Failed", "input_error")
    assert "the artifacts could not be published" in (job.record.failure_reason or "")
    kept = orchestrator_home / "jobs" / job.name / "attempts" / "1"
    assert str(kept) in (job.record.failure_reason or "")
    assert (kept / "algo-1" / "artifacts" / "model.tar.gz").exists()
