"""What is said of an artifact that a job does not have."""

from __future__ import annotations

import pytest

from orchestrator.errors import no_artifact


@pytest.mark.parametrize(
    ("there", "status", "said"),
    [
        (["output", "last_model"], "Completed", "it has last_model, output (status Completed)"),
        ([], "Stopped", "its program saved nothing (status Stopped)"),
        ([], "InProgress", "artifacts come at its end (status InProgress)"),
    ],
)
def test_it_is_said_what_there_is_instead(there: list[str], status: str, said: str) -> None:
    error = no_artifact("digits", "model", there, status)
    assert error.message == f"training job 'digits' has no model artifact; {said}"
