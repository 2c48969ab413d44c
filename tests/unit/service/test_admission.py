"""What a job asks for and its back end does not do is said."""

from __future__ import annotations

from pathlib import Path, PosixPath
from typing import Any

import pytest

from orchestrator.errors import CapacityUnavailable, InvalidSpec, StoreError
from orchestrator.scheduler.capacity import Machine
from orchestrator.service.admission import HOME_DIRECTORIES, NOT_ENFORCED, Admission, not_enforced
from orchestrator.spec.job import TrainingJobSpec
from orchestrator.testing.fake_backend import FakeBackend, FakeEngine

GIVEN: dict[str, Any] = {
    "role_arn": "arn:aws:iam::123456789012:role/trainer",
    "output_data_config.kms_key_id": "key",
    "resource_config.keep_alive_period_in_seconds": 60,
    "resources.shm_size_mib": 2048,
}


def spec_with(backend: str, *paths: str) -> TrainingJobSpec:
    """A job that sets these members."""
    request: dict[str, Any] = {
        "training_job_name": "job",
        "backend": backend,
        "algorithm_specification": {"training_image": "i", "container_entrypoint": ["true"]},
    }
    for path in paths:
        name, _, member = path.partition(".")
        if not member:
            request[name] = GIVEN[path]
        else:
            request[name] = {**request.get(name, {}), member: GIVEN[path]}
    return TrainingJobSpec.parse(request)


@pytest.mark.parametrize("backend", ["process", "docker"])
@pytest.mark.parametrize(("path", "where"), NOT_ENFORCED)
def test_a_member_without_effect_is_named(path: str, where: frozenset[str], backend: str):
    expected: tuple[str, ...] = ()
    if backend in where:
        expected = (f"kept, but not enforced on the {backend} back end: {path}",)
    assert not_enforced(spec_with(backend, path)) == expected


def test_there_is_one_warning_however_many_they_are(tmp_path: Path):
    spec = spec_with("process", "role_arn", "resource_config.keep_alive_period_in_seconds")
    admission = Admission(tmp_path, {"process": FakeBackend(FakeEngine())}, Machine(1, 1, ()))
    (warning,) = admission.check(spec, {}, None)
    assert warning == (
        "kept, but not enforced on the process back end: role_arn, "
        "resource_config.keep_alive_period_in_seconds"
    )


@pytest.mark.parametrize("backend", ["process", "docker"])
def test_a_job_that_sets_nothing_is_not_warned(backend: str):
    assert not_enforced(spec_with(backend)) == ()


@pytest.mark.parametrize("strict", [False, True])
def test_gpus_that_are_not_there_are_told_and_refused_where_that_is_wished(
    tmp_path: Path, strict: bool
):
    spec = TrainingJobSpec.parse(
        {
            "training_job_name": "job",
            "algorithm_specification": {"container_entrypoint": ["true"]},
            "resource_config": {"instance_type": "ml.p3.2xlarge"},
        }
    )
    backends = {"process": FakeBackend(FakeEngine())}
    admission = Admission(tmp_path, backends, Machine(1, 1, ()), strict_resources=strict)
    if strict:
        with pytest.raises(CapacityUnavailable, match="strict_resources is set; unset it"):
            admission.check(spec, {}, None)
    else:
        (warning,) = admission.check(spec, {}, None)
        assert warning.endswith("this machine has 0; the job runs with what is there")


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ({"resource_config": {"instance_type": "zzz"}}, "got 'zzz'; 'local' is this machine"),
        (
            {"resource_config": {"instance_type": "ml.m5.largo"}},
            "got 'ml.m5.largo'; did you mean 'ml.m5.large'?",
        ),
        ({"backend": "kubernetes"}, "got 'kubernetes'; choose one of these"),
        (
            {
                "input_data_config": [
                    {"channel_name": "a", "uri": "/tmp", "compression_type": "Gzip"}
                ]
            },
            "for channel 'a'; leave this field unset or set it to None, or use Pipe",
        ),
    ],
)
def test_what_is_refused_has_a_remedy(tmp_path: Path, change: dict[str, Any], remedy: str):
    program = {"algorithm_specification": {"container_entrypoint": ["true"]}}
    spec = TrainingJobSpec.parse({"training_job_name": "job", **program, **change})
    admission = Admission(tmp_path, {"process": FakeBackend(FakeEngine())}, Machine(1, 1, ()))
    with pytest.raises(InvalidSpec) as caught:
        admission.check(spec, {}, None)
    assert caught.value.message.endswith(remedy)


class MadeMeanwhile(PosixPath):
    """A folder that another thread makes right after somebody looked for it."""

    def is_dir(self) -> bool:
        answer = super().is_dir()
        if self.name in HOME_DIRECTORIES:
            self.mkdir(exist_ok=True)
        return answer


def test_a_directory_of_the_home_that_is_made_while_it_is_looked_for_is_no_fault(tmp_path: Path):
    home = MadeMeanwhile(tmp_path)
    admission = Admission(home, {"process": FakeBackend(FakeEngine())}, Machine(1, 1, ()))
    assert admission.check(spec_with("process"), {}, None) == ()


def test_something_else_in_the_place_of_a_directory_of_the_home_is_refused(tmp_path: Path):
    (tmp_path / "jobs").symlink_to("nowhere")
    admission = Admission(tmp_path, {"process": FakeBackend(FakeEngine())}, Machine(1, 1, ()))
    with pytest.raises(StoreError, match="jobs must be a directory, it is something else"):
        admission.check(spec_with("process"), {}, None)
