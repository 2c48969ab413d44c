"""A container of one's own as its users write it: boto3, with only the environment changed."""

from __future__ import annotations

import json

import pytest

from tests.wire.place import Place, Program
from tests.wire.printed import value_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def test_a_line_is_fitted(place: Place, programs: dict[str, Program]) -> None:
    program = programs["own_container"]
    if place.backend == "process":  # an image's own program needs an engine for images
        assert program.ended() == 1
        assert "ValidationException" in program.printed
        assert "for the process back end; load it into the engine" in program.printed
        return
    assert program.ended() == 0, program.printed
    printed = program.printed
    image = "111122223333.dkr.ecr.us-east-1.amazonaws.com/straight-line:1"
    assert value_of(printed, "image") == image
    assert float(value_of(printed, "error")) < 0.2
    line = json.loads(place.packed(value_of(printed, "model"))["line.json"])
    assert line["slope"] == pytest.approx(3, abs=0.05)
