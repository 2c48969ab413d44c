"""Functions that the real SageMaker SDK v3 runs as jobs, unchanged."""

from __future__ import annotations

from typing import Any

import pytest

from tests.wire.place import Program

pytestmark = [
    pytest.mark.sagemaker3,
    pytest.mark.e2e,
    pytest.mark.timeout(300),
    # A container does not reach a service on loopback: see test_remote_docker.py.
    pytest.mark.parametrize("place", ["process"], indirect=True, scope="session"),
]


@pytest.fixture(scope="session")
def seen(programs: dict[str, Program]) -> dict[str, Any]:
    """What one run of the program saw."""
    return programs["remote"].answer()


def test_a_decorated_function_runs_in_a_job_of_the_same_python(seen: dict[str, Any]) -> None:
    result = seen["decorated"]
    assert result["numbers"] == [3, 7.5]
    assert result["greeting"] == "hello"
    assert result["job"].startswith("decorated-")
    assert result["python"] == seen["here"]


def test_functions_run_side_by_side_and_raise_what_they_raised(seen: dict[str, Any]) -> None:
    assert seen["halved"] == 4.0
    assert seen["error"] == "7 is odd"


def test_a_result_is_fetched_again_by_the_name_of_its_job(seen: dict[str, Any]) -> None:
    assert seen["again"] == 4.0
