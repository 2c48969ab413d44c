"""Instance types: what SageMaker's own model names, and how many GPUs each has."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path

import botocore.session
import pytest

from orchestrator import catalogue
from orchestrator.catalogue.lookup import LOCAL, gpus, is_known, names


@pytest.mark.parametrize(
    ("instance_type", "count"),
    [
        ("local", 0),
        ("ml.m5.large", 0),
        ("ml.g5.xlarge", 1),
        ("ml.g5.12xlarge", 4),
        ("ml.p4d.24xlarge", 8),
        ("ml.p5.48xlarge", 8),
        # these have no hardware data any more, or not yet
        ("ml.p2.xlarge", 1),
        ("ml.p2.8xlarge", 8),
        ("ml.p2.16xlarge", 16),
        ("ml.p3.2xlarge", 1),
        ("ml.p3.8xlarge", 4),
        ("ml.p3.16xlarge", 8),
        ("ml.p6e-gb200.36xlarge", 4),
    ],
)
def test_an_instance_has_as_many_gpus_as_its_type_says(instance_type: str, count: int) -> None:
    assert is_known(instance_type)
    assert gpus(instance_type) == count


@pytest.mark.parametrize("name", ["", "ml.p9.huge", "p3.2xlarge", "ML.M5.LARGE", "local_gpu"])
def test_other_names_are_not_known_and_have_none(name: str) -> None:
    assert not is_known(name)
    assert gpus(name) == 0


def test_every_type_that_a_training_job_may_name_is_known_and_local_is_first() -> None:
    model = botocore.session.get_session().get_service_model("sagemaker")
    request = model.operation_model("CreateTrainingJob").input_shape
    enum = set(request.members["ResourceConfig"].members["InstanceType"].enum)
    assert names()[0] == LOCAL
    assert enum <= set(names())
    assert len(set(names())) == len(names())


def test_the_data_says_how_old_it_is_and_where_it_is_from() -> None:
    path = Path(catalogue.__file__).with_name("instances.json")
    data = json.loads(path.read_bytes())
    as_of = date.fromisoformat(data["as_of"])
    assert date(2026, 1, 1) <= as_of <= datetime.now(UTC).date()
    assert data["source"]


def test_only_types_whose_gpus_are_known_otherwise_are_without_data() -> None:
    path = Path(catalogue.__file__).with_name("instances.json")
    kinds = json.loads(path.read_bytes())["instances"]
    without = [name for name, kind in kinds.items() if kind.get("gpus") is None]
    assert all(gpus(name) > 0 for name in without)
