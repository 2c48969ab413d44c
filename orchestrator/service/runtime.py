"""Puts the in-container runtime into the home directory, once per release.

Jobs are started from that copy, so that an upgrade of this package changes nothing for the jobs
that run, and containers can mount a directory that never moves.
"""

from __future__ import annotations

import compileall
import hashlib
import os
import py_compile
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_MAIN = '''"""Start of the runtime: ``python3 -I -S DIR/__main__.py VERB ...``."""

import sys

if __name__ == "__main__":
    _HERE = __file__.rpartition("/")[0] or "."
    if _HERE not in sys.path:  # isolated mode leaves the script's own directory out
        sys.path.insert(0, _HERE)
    from orchestrator_runtime.command import main

    sys.exit(main(sys.argv[1:]))
'''


def install_runtime(package: Path, home: Path) -> Path:
    """Return ``home/runtime/<digest>`` with ``__main__.py`` and the package, made if missing.

    Args:
        package: The installed ``orchestrator_runtime`` package.
        home: The home directory.
    """
    sources = sorted(
        path
        for path in package.rglob("*")
        if path.suffix in {".py", ".pth"} and "__pycache__" not in path.parts
    )
    digest = hashlib.sha256(_MAIN.encode())
    for path in sources:
        digest.update(str(path.relative_to(package)).encode() + b"\0")
        digest.update(path.read_bytes())
    target = home / "runtime" / digest.hexdigest()[:16]
    if not target.exists():
        _install(package, sources, target)
    return target


def _install(package: Path, sources: list[Path], target: Path) -> None:
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    for path in sources:
        copy = temporary / package.name / path.relative_to(package)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    (temporary / "__main__.py").write_text(_MAIN, encoding="utf-8")
    # Unchecked: nobody edits the copy, and no file time is compared at each start.
    compileall.compile_dir(
        temporary,
        quiet=1,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        stripdir=str(temporary),
    )
    try:
        temporary.rename(target)
    except OSError:
        if not target.exists():
            raise
        shutil.rmtree(temporary, ignore_errors=True)  # another process was first
