"""A checkpoint is packed as a model artifact, whatever a program has made of it."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from orchestrator.backends.base import AttemptContext
from orchestrator.scheduler.early import PackedModel, pack_best
from orchestrator.spec.early import BestCheckpoint
from orchestrator.spec.job import TrainingJobSpec


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "jobs" / "job" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def context(folder: Path, **spec: object) -> AttemptContext:
    base = {
        "training_job_name": "job",
        "algorithm_specification": {"container_entrypoint": ["train"]},
    }
    return AttemptContext(
        TrainingJobSpec.parse({**base, **spec}), "arn", 1, "1", 1, (), folder.parent
    )


def packed(context: AttemptContext, *names: str) -> PackedModel:
    found = pack_best(context, BestCheckpoint(why="so", names=names))
    assert isinstance(found, PackedModel), found
    return found


def names(path: Path) -> list[str]:
    with tarfile.open(path) as archive:
        return archive.getnames()


def test_only_what_was_chosen_is_packed_and_again_when_asked_again(folder: Path) -> None:
    for name in ("model-1", "model-2", "optimizer-2"):
        (folder / name).write_text(name)
    job = context(folder)
    for _ in range(2):
        found = packed(job, "model-2", "optimizer-2")
        assert names(found.path) == ["model-2", "optimizer-2"]
        assert (found.path.name, found.files, found.note) == ("model.tar.gz", 2, "so")


def test_a_plain_copy_has_the_same_name_without_its_suffix(folder: Path) -> None:
    (folder / "model-1").write_text("1")
    job = context(folder, output_data_config={"compression_type": "NONE"})
    for _ in range(2):
        found = packed(job, "model-1")
        assert (found.path / "model-1").read_text() == "1"


def test_links_of_a_checkpoint_stay_inside(folder: Path) -> None:
    (folder / "best").mkdir()
    (folder / "best" / "weights").write_text("w")
    (folder / "best" / "latest").symlink_to("/opt/ml/checkpoints/best/weights")
    (folder / "best" / "out").symlink_to("/etc/passwd")
    found = packed(context(folder), "best")
    assert names(found.path) == ["best", "best/latest", "best/weights"]
    assert found.note.startswith("so; left out: best/out: link to /etc/passwd")


def test_what_is_no_file_any_more_is_no_model(folder: Path) -> None:
    os.mkfifo(folder / "best")
    said = pack_best(context(folder), BestCheckpoint(why="so", names=("best",)))
    assert "could not be packed (best: FIFO)" in str(said)
    said = pack_best(context(folder), BestCheckpoint(why="so", names=("gone",)))
    assert "could not be packed (it is gone)" in str(said)


def test_a_place_of_the_user_may_be_behind_a_link(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (place / "best").write_text("w")
    (tmp_path / "link").symlink_to(place)
    job = context(folder, checkpoint_config={"s3_uri": str(tmp_path / "link")})
    assert names(packed(job, "best").path) == ["best"]


def test_a_link_in_the_place_of_the_jobs_own_directory_is_not_followed(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "best").write_text("secret")
    folder.rmdir()
    folder.symlink_to(tmp_path)
    said = pack_best(context(folder), BestCheckpoint(why="so", names=("best",)))
    assert "could not be packed" in str(said)
