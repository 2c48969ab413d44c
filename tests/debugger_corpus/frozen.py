"""The held half is frozen: its digest stands in ``held.sha256`` and was set before rules were tuned.

``python -m tests.debugger_corpus.frozen`` prints the present digest.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
DIGEST = HERE / "held.sha256"


def digest() -> str:
    """Return the SHA-256 over names and contents of the held half's files."""
    total = hashlib.sha256()
    for path in sorted((HERE / "held").glob("*.py")):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{path.name} {content}\n".encode())
    return total.hexdigest()


def changed_since_frozen() -> str:
    """Say whether the half is still what was frozen."""
    return "frozen" if DIGEST.read_text(encoding="utf-8").strip() == digest() else "CHANGED"


if __name__ == "__main__":
    sys.stdout.write(digest() + "\n")
