"""What the package shows of itself."""

from __future__ import annotations

import subprocess
import sys

import orchestrator


def test_public_names_can_be_completed_and_loaded() -> None:
    assert set(orchestrator.__all__) < set(dir(orchestrator))
    assert "TYPE_CHECKING" not in dir(orchestrator)
    for name in orchestrator.__all__:
        assert getattr(orchestrator, name).__module__.startswith("orchestrator.")


def test_names_are_loaded_when_they_are_used_first() -> None:
    program = (
        "import sys, orchestrator; dir(orchestrator); "
        "assert 'pydantic' not in sys.modules; orchestrator.Compute; "
        "assert 'pydantic' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
