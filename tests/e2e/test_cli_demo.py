"""What ``make demo`` shows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.torch]


def test_the_demo_trains_the_digits_and_says_what_came_of_it(orchestrator_home: Path):
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.cli.demo"],
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    assert "epoch 20/20" in done.stdout
    found = re.search(r"Held-out accuracy (0\.\d+), at least 0\.95 was wanted\.", done.stderr)
    assert found is not None
    assert float(found[1]) >= 0.95
    for part in ("phases    pending", "training", "model     /", "log       /", "Try next:"):
        assert part in done.stderr
    log = re.search(r"^  log       (.+)$", done.stderr, re.MULTILINE)
    assert log is not None
    assert "epoch 20/20" in Path(log[1]).read_text(encoding="utf-8")
    model = re.search(r"^  model     (\S+) ", done.stderr, re.MULTILINE)
    assert model is not None
    assert Path(model[1]).is_file()
