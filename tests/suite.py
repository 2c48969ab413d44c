"""Runs the whole suite: ``python -m tests.suite [pytest's arguments]``.

Each part is a pytest session of its own, with its own temporary folder and its own look at what was
left behind. Two run at a time: the SDKs of the wire tests sleep most of the time, and so do the jobs
of tests that stop and pause the Docker engine. Those are never beside other tests that need it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTHING_CHOSEN = 5
"""pytest's exit code when the arguments choose no test of a part."""


@dataclass(frozen=True)
class Part:
    """Tests of one session.

    Attributes:
        places: Folders.
        without: Folders in these that other parts have.
        marked: An expression of markers.
    """

    places: tuple[str, ...]
    without: tuple[str, ...] = ()
    marked: str = ""

    def __str__(self) -> str:
        return " ".join((*self.places, *(f"less {each}" for each in self.without), self.marked))

    def command(self, arguments: Sequence[str]) -> list[str]:
        """Return the call of pytest."""
        given, both = [*arguments], self.marked
        if self.marked and "-m" in given:
            at = given.index("-m")
            both = f"({given[at + 1]}) and {self.marked}"
            del given[at : at + 2]
        chosen = ["-m", both] if both else []
        left_out = [f"--ignore={place}" for place in self.without]
        return [sys.executable, "-m", "pytest", *given, *chosen, *self.places, *left_out]


WIRE = Part(("tests/wire",))
REST = Part(("tests",), ("tests/wire", "tests/docker", "tests/e2e"))
ENGINE = Part(("tests/docker", "tests/e2e"), marked="docker")
JOBS = Part(("tests/e2e",), marked="not docker")
TURNS = ((REST, WIRE), (JOBS, ENGINE))
"""What runs together."""


def say(text: str) -> None:
    """Write a line at once, between the lines of others."""
    sys.stdout.write(f"== {text}\n")
    sys.stdout.flush()


def run(shown: Part, beside: Part, arguments: list[str]) -> list[int]:
    """Run two parts at once, print the second one's output behind the first one's; return codes."""
    with tempfile.TemporaryFile() as output:
        other = subprocess.Popen(
            beside.command(["-p", "no:cacheprovider", *arguments]),
            cwd=ROOT,
            stdout=output,
            stderr=output,
        )
        try:
            say(f"{shown}; beside them: {beside}")
            code = subprocess.run(shown.command(arguments), cwd=ROOT, check=False).returncode
            codes = [code, other.wait()]
        finally:
            other.kill()
            other.wait()
        output.seek(0)
        say(str(beside))
        sys.stdout.buffer.write(output.read())
        sys.stdout.flush()
    return codes


def main(arguments: list[str]) -> int:
    """Run all parts; return 0 when none of them failed."""
    codes = [code for turn in TURNS for code in run(*turn, arguments)]
    return int(any(code not in {0, NOTHING_CHOSEN} for code in codes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
