"""Script mode: what two hyperparameters name becomes the job's source."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from orchestrator.blobs.local import LocalBlobStore
from orchestrator.errors import InputError, InvalidSpec
from orchestrator.packaging.tar_reader import SOURCE_LIMITS
from orchestrator.service.script_mode import PROGRAM, SUBMIT_DIRECTORY, ScriptMode
from orchestrator.spec.job import TrainingJobSpec


class BucketOf(LocalBlobStore):
    """A folder that answers to ``s3://``."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "blobs")
        self._folder = folder

    def _resolve(self, uri: str) -> Path:
        return self._folder / uri.removeprefix("s3://")


@pytest.fixture
def sources(tmp_path: Path) -> LocalBlobStore:
    return LocalBlobStore(tmp_path / "blobs")


@pytest.fixture
def mode(tmp_path: Path, sources: LocalBlobStore) -> ScriptMode:
    return ScriptMode(BucketOf(tmp_path), sources)


def upload(folder: Path, *names: str) -> None:
    """Put an archive with files of these names at s3://bucket/code.tar.gz."""
    (folder / "bucket").mkdir(exist_ok=True)
    with tarfile.open(folder / "bucket" / "code.tar.gz", "w:gz") as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(name)
            archive.addfile(member, io.BytesIO(name.encode()))


def job(program: str = "train.py", **more: Any) -> TrainingJobSpec:
    """A job of script mode, as SDK v2 sends it."""
    return TrainingJobSpec.parse(
        {
            "training_job_name": "job",
            "algorithm_specification": {"training_image": "image"},
            "hyper_parameters": {
                PROGRAM: json.dumps(program),
                SUBMIT_DIRECTORY: json.dumps("s3://bucket/code.tar.gz"),
                "epochs": "3",
            },
            **more,
        }
    )


def test_the_archive_becomes_the_source(
    tmp_path: Path, mode: ScriptMode, sources: LocalBlobStore
) -> None:
    upload(tmp_path, "train.py", "requirements.txt", "lib/a.py")
    source = mode.with_source(job()).source_code
    assert source is not None
    assert (source.entry_script, source.requirements) == ("train.py", "requirements.txt")
    kept = sources.path_of(source.digest).read_bytes()
    assert kept == (tmp_path / "bucket" / "code.tar.gz").read_bytes()
    assert not list((tmp_path / "blobs" / "incoming").glob("*"))


def test_a_script_may_be_named_from_the_present_directory(
    tmp_path: Path, mode: ScriptMode
) -> None:
    upload(tmp_path, "train.py")
    source = mode.with_source(job("./train.py")).source_code
    assert source is not None
    assert source.entry_script == "train.py"


def test_an_archive_that_is_too_large_is_not_even_fetched(
    tmp_path: Path, mode: ScriptMode
) -> None:
    (tmp_path / "bucket").mkdir()
    with (tmp_path / "bucket" / "code.tar.gz").open("wb") as file:
        file.truncate(SOURCE_LIMITS.max_bytes + 1)  # takes no space
    with pytest.raises(InputError, match="at most 2,147,483,648 bytes"):
        mode.with_source(job())


def test_a_program_of_very_many_brackets_is_just_a_name(tmp_path: Path, mode: ScriptMode) -> None:
    upload(tmp_path, "train.py")
    spec = job()
    parameters = spec.hyper_parameters | {PROGRAM: "[" * 2400}
    with pytest.raises(InputError, match="must name a file"):
        mode.with_source(spec.model_copy(update={"hyper_parameters": parameters}))


def test_without_requirements_none_are_installed(tmp_path: Path, mode: ScriptMode) -> None:
    upload(tmp_path, "lib/train.py")
    source = mode.with_source(job("lib/train.py")).source_code
    assert source is not None
    assert source.requirements is None


@pytest.mark.parametrize(
    "spec",
    [
        TrainingJobSpec.parse(
            {
                "training_job_name": "job",
                "algorithm_specification": {"container_entrypoint": ["true"]},
                "hyper_parameters": {PROGRAM: "a.py", SUBMIT_DIRECTORY: "s3://bucket/code.tar.gz"},
            }
        ),
        TrainingJobSpec.parse(
            {
                "training_job_name": "job",
                "algorithm_specification": {"training_image": "image"},
                "hyper_parameters": {PROGRAM: "a.py", SUBMIT_DIRECTORY: "/opt/ml/code"},
            }
        ),
    ],
    ids=["own entry point", "code in the image"],
)
def test_what_is_no_script_mode_stays_as_it_is(mode: ScriptMode, spec: TrainingJobSpec) -> None:
    assert mode.with_source(spec) is spec


@pytest.mark.parametrize(
    ("names", "program", "said"),
    [
        ((), "train.py", "nothing is at s3://bucket/code.tar.gz"),
        (("other.py",), "train.py", "got 'train.py'; it has other.py"),
        (("../train.py",), "train.py", "s3://bucket/code.tar.gz"),
    ],
    ids=["no archive", "no script", "hostile"],
)
def test_what_cannot_be_run_is_refused(
    tmp_path: Path, mode: ScriptMode, names: tuple[str, ...], program: str, said: str
) -> None:
    if names:
        upload(tmp_path, *names)
    with pytest.raises(InputError, match=said):
        mode.with_source(job(program))
    assert not list((tmp_path / "blobs" / "incoming").glob("*"))


def distributed(
    hyper_parameters: dict[str, str], program: str = "train.py", hosts: int = 1
) -> TrainingJobSpec:
    """A job of script mode that says how it is distributed."""
    spec = job(program, resource_config={"instance_count": hosts})
    return spec.model_copy(update={"hyper_parameters": spec.hyper_parameters | hyper_parameters})


@pytest.mark.parametrize(
    ("hyper_parameters", "launcher"),
    [
        ({}, "script"),
        ({"sagemaker_torch_distributed_enabled": "true"}, "torchrun"),
        ({"sagemaker_pytorch_ddp_enabled": "true"}, "torchrun"),
        ({"sagemaker_torch_distributed_enabled": "false"}, "script"),
        ({"sagemaker_multi_worker_mirrored_strategy_enabled": "true"}, "multi_worker_mirrored"),
        ({"sagemaker_parameter_server_enabled": "true"}, "script"),
        ({"sagemaker_mpi_enabled": "false"}, "script"),
    ],
)
def test_distribution_chooses_who_starts_the_script(
    tmp_path: Path, mode: ScriptMode, hyper_parameters: dict[str, str], launcher: str
) -> None:
    upload(tmp_path, "train.py")
    source = mode.with_source(distributed(hyper_parameters)).source_code
    assert source is not None
    assert source.launcher == launcher


@pytest.mark.parametrize(
    ("hyper_parameters", "said"),
    [
        ({"sagemaker_mpi_enabled": "true"}, "mpirun is not started here"),
        ({"sagemaker_distributed_dataparallel_enabled": "true"}, "only in AWS's images"),
        ({"sagemaker_pytorch_xla_multi_worker_enabled": "true"}, "XLA"),
        ({"sagemaker_parameter_server_enabled": "true"}, "multi_worker_mirrored_strategy"),
        ({"mp_parameters": "{}"}, "FSDP"),
    ],
)
def test_what_cannot_be_distributed_here_is_refused_with_what_can(
    mode: ScriptMode, hyper_parameters: dict[str, str], said: str
) -> None:
    with pytest.raises(InvalidSpec, match=said):
        mode.with_source(distributed(hyper_parameters, hosts=2))


def test_torchrun_starts_python_only(mode: ScriptMode) -> None:
    with pytest.raises(InvalidSpec, match="Python script"):
        mode.with_source(distributed({"sagemaker_torch_distributed_enabled": "true"}, "run.sh"))
