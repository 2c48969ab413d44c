"""Where requests made for AWS run: answers of the engine are remembered for a moment."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from orchestrator.blobs.local import LocalBlobStore
from orchestrator.catalogue.images import Preference
from orchestrator.errors import ImageError
from orchestrator.service.placement import (
    MOST_REMEMBERED,
    REMEMBERED_SECONDS,
    Placement,
    Remembered,
    Unasked,
)
from orchestrator.service.script_mode import ScriptMode
from orchestrator.spec.job import TrainingJobSpec
from orchestrator.testing.store_jobs import SetClock


class Engine:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.images = {"here:1"}
        self.asked: list[str] = []

    def has_image(self, name: str) -> bool:
        self.asked.append(name)
        return name in self.images


def test_a_burst_asks_once_and_a_moment_later_the_engine_is_asked_again():
    clock, engine = SetClock(), Engine()
    remembered = Remembered(engine.has_image, clock)
    assert [remembered(name) for name in ("here:1", "gone:1", "here:1", "gone:1")] == [
        True, False, True, False,
    ]  # fmt: skip
    assert engine.asked == ["here:1", "gone:1"]
    engine.images = {"gone:1"}
    clock.move(REMEMBERED_SECONDS)
    assert (remembered("here:1"), remembered("gone:1")) == (False, True)


def test_what_is_known_is_told_without_a_question_while_it_is_young():
    clock, engine = SetClock(), Engine()
    remembered = Remembered(engine.has_image, clock)
    with pytest.raises(Unasked):
        remembered.known("here:1")
    remembered("here:1")
    assert remembered.known("here:1")
    clock.move(REMEMBERED_SECONDS)
    with pytest.raises(Unasked):
        remembered.known("here:1")
    assert engine.asked == ["here:1"]


def job(image: str | None, **parameters: str) -> TrainingJobSpec:
    algorithm = {"container_entrypoint": ["true"]} | ({"training_image": image} if image else {})
    return TrainingJobSpec.parse(
        {
            "training_job_name": "job",
            "algorithm_specification": algorithm,
            "hyper_parameters": parameters,
            **({} if image else {"backend": "process"}),
        }
    )


AWS = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.13-cpu-py312"


@pytest.mark.parametrize("prefer", ["auto", "process"])
def test_a_job_is_placed_at_once_when_no_engine_is_asked_and_nothing_fetched(
    tmp_path: Path, prefer: Preference
):
    engine = Engine()
    remembered = Remembered(engine.has_image, SetClock())
    blobs = LocalBlobStore(tmp_path / "blobs")
    placement = Placement(tmp_path, prefer, ScriptMode(blobs, blobs), remembered)
    at_once = placement.placed_at_once

    def refused() -> bool:
        try:
            return at_once(job("nobody/knows:1")) is not None
        except ImageError:
            return True

    known = prefer == "process"
    assert (at_once(job(AWS)) is not None, refused()) == (known, known)
    assert at_once(job(None)) is not None
    assert at_once(job(None, sagemaker_submit_directory="s3://b/k")) is None
    assert engine.asked == []
    for image in (AWS, "nobody/knows:1", "here:1"):
        with contextlib.suppress(ImageError):
            placement.placed(job(image))
    asked = list(engine.asked)
    assert at_once(job(AWS, sagemaker_program="x")) == placement.placed(
        job(AWS, sagemaker_program="x")
    )
    assert refused()
    if prefer == "auto":
        assert at_once(job("here:1")) is None
    assert engine.asked == asked


def test_many_names_take_no_more_memory_than_some():
    engine = Engine()
    remembered = Remembered(engine.has_image, SetClock())
    for number in range(3 * MOST_REMEMBERED):
        remembered(str(number))
    assert len(remembered._answers) <= MOST_REMEMBERED
