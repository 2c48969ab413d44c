"""ModelTrainer as its users write it: the SageMaker SDK v3, with only the environment changed."""

from __future__ import annotations

import pytest

from tests.wire.place import Place, Program
from tests.wire.printed import value_of

pytestmark = [pytest.mark.sagemaker3, pytest.mark.e2e, pytest.mark.timeout(300)]


def test_a_network_is_trained(place: Place, programs: dict[str, Program]) -> None:
    program = programs["model_trainer"]
    assert program.ended() == 0, program.printed
    printed = program.printed
    assert float(value_of(printed, "train:loss")) < 0.05
    assert list(place.packed(value_of(printed, "model"))) == ["network.pt"]
    assert "epoch=10 loss=" in printed  # the job's own line
