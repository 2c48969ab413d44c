"""Script mode as its users write it: the SageMaker SDK v2, with only the environment changed."""

from __future__ import annotations

import pytest

from tests.wire.place import Place, Program
from tests.wire.printed import value_of

pytestmark = [pytest.mark.sagemaker2, pytest.mark.e2e, pytest.mark.timeout(300)]


def test_a_forest_is_trained(place: Place, programs: dict[str, Program]) -> None:
    program = programs["script_mode"]
    assert program.ended() == 0, program.printed
    printed = program.printed
    assert float(value_of(printed, "test:accuracy")) > 0.9
    assert ".dkr.ecr.us-east-1.amazonaws.com/pytorch-training:" in value_of(printed, "image")
    assert list(place.packed(value_of(printed, "model"))) == ["model.joblib"]
    assert "accuracy=" in printed  # the job's own line
