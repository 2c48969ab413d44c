"""Runs the whole suite: ``python -m tests.suite [pytest's arguments]``.

The SDKs of the wire tests sleep most of the time, so these run beside the tests that need no Docker
engine. What stops and pauses the engine runs alone, afterwards. Each part is a pytest session of its
own, with its own temporary folder and its own look at what was left behind.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BESIDE = ("tests/wire",)
ALONE = ("tests/docker", "tests/e2e")
NOTHING_CHOSEN = 5
"""pytest's exit code when the arguments choose no test of a part."""


def command(arguments: list[str], *places: str) -> list[str]:
    """The call of pytest for some folders."""
    return [sys.executable, "-m", "pytest", *arguments, *places]


def rest() -> list[str]:
    """The whole suite less what has a part of its own."""
    return ["tests", *(f"--ignore={place}" for place in (*BESIDE, *ALONE))]


def say(text: str) -> None:
    """Write a line at once, between the lines of others."""
    sys.stdout.write(f"== {text}\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> int:
    """Run all parts; return 0 when none of them failed."""
    with tempfile.TemporaryFile() as output:
        beside = subprocess.Popen(
            command(["-p", "no:cacheprovider", *arguments], *BESIDE),
            cwd=ROOT,
            stdout=output,
            stderr=output,
        )
        try:
            say(f"all tests but {', '.join((*BESIDE, *ALONE))}; {', '.join(BESIDE)} beside them")
            codes = [subprocess.run(command(arguments, *rest()), cwd=ROOT, check=False).returncode]
            codes.append(beside.wait())
        finally:
            beside.kill()
            beside.wait()
        output.seek(0)
        say(", ".join(BESIDE))
        sys.stdout.buffer.write(output.read())
    say(", ".join(ALONE))
    codes.append(subprocess.run(command(arguments, *ALONE), cwd=ROOT, check=False).returncode)
    return int(any(code not in {0, NOTHING_CHOSEN} for code in codes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
