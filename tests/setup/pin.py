"""Bring `.venv` to the newest versions that fit together, and pin them in constraints.txt.

    .venv/bin/python -m tests.setup.pin

PyTorch stays as it is: its version is chosen by hand.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.setup.environment import CONSTRAINTS, DEV_EXTRAS, ROOT, pinned

HEADER = """\
# Versions that are tested together, for `make demo`, `make test` and `make check` alike (Python 3.11, Linux x86_64, CPU).
# Made by `make constraints`. torch is installed as its CPU build by tests/setup/environment.py, which names the extra source.
"""
UNPINNED = ("orchestrator", "pip")


def pins(frozen: str) -> str:
    """The text of constraints.txt for an output of `pip freeze`."""
    lines = [line.replace("+cpu", "") for line in frozen.splitlines()]
    exact = [line for line in lines if "==" in line and not line.startswith("#")]
    kept = [line for line in exact if line.partition("==")[0] not in UNPINNED]
    return HEADER + "".join(f"{line}\n" for line in sorted(kept, key=str.lower))


def main() -> None:
    """Upgrade, then write the file."""
    pip = [sys.executable, "-m", "pip"]
    newest = ["install", "--upgrade", "--upgrade-strategy", "eager", pinned("torch")]
    project = ["-e", f"{ROOT}[{','.join(DEV_EXTRAS)}]"]
    subprocess.run([*pip, *newest, *project], check=True)
    frozen = subprocess.run([*pip, "freeze", "--all"], check=True, capture_output=True, text=True)
    Path(CONSTRAINTS).write_text(pins(frozen.stdout), encoding="utf-8")


if __name__ == "__main__":
    main()
