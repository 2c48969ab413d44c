"""What botocore's model says of training jobs: as they are asked for, and as they are found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.api.aws.model import load

if TYPE_CHECKING:
    from orchestrator.api.aws.shapes import Shape

RESOURCE = "TrainingJob"
"""A training job's name among the resources that Search knows."""


@dataclass(frozen=True)
class JobShapes:
    """The shapes of a training job.

    Attributes:
        request: What CreateTrainingJob takes.
        found: What Search gives.
    """

    request: Shape
    found: Shape


def job_shapes() -> JobShapes:
    """Return the shapes; reads the model's file, so once is enough.

    Raises:
        LookupError: The model is another one.
    """
    operations = load("sagemaker", ("CreateTrainingJob", "Search")).operations
    request, answer = operations["CreateTrainingJob"].input, operations["Search"].output
    if request is None or answer is None:
        raise LookupError("botocore's model says nothing of training jobs")
    records = answer.members["Results"].element
    if records is None:
        raise LookupError("botocore's model says nothing of what Search finds")
    return JobShapes(request, records.members[RESOURCE])
