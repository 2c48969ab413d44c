"""Runs the whole suite: ``python -m tests.suite [pytest's arguments]``.

Each part is a pytest session of its own, with its own temporary folder and its own look at what was
left behind. Two run at a time. What only some of them need (the Docker engine with its images, the
SDKs' environments) is made meanwhile; parts that need it are never beside each other, since tests
of the engine stop and pause it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
NOTHING_CHOSEN = 5
"""pytest's exit code when the arguments choose no test of a part."""


@dataclass(frozen=True)
class Part:
    """Tests of one session.

    Attributes:
        places: Patterns of files and folders.
        without: Folders in these that other parts have.
        marked: An expression of markers.
        engine: Whether it needs what is made beside the first part.
    """

    places: tuple[str, ...]
    without: tuple[str, ...] = ()
    marked: str = ""
    engine: bool = False

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
        python = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
        found = [str(path.relative_to(ROOT)) for path in self._found()]
        return [*python, *given, *chosen, *found, *left_out]

    def has(self, path: Path) -> bool:
        """Return whether it looks for tests in a file."""
        there = any(path.is_relative_to(place) for place in self._found())
        return there and not any(path.is_relative_to(ROOT / place) for place in self.without)

    def _found(self) -> Iterator[Path]:
        for place in self.places:
            yield from sorted(ROOT.glob(place))


REST = Part(("tests",), ("tests/wire", "tests/docker", "tests/e2e"), "not docker")
WIRE = Part(("tests/wire",), engine=True)
EARLY_JOBS = Part(("tests/e2e/test_[a-d]*.py",), marked="not docker")
ENGINE = Part(("tests/docker", "tests/e2e", "tests/runtime"), marked="docker", engine=True)
MORE_JOBS = Part(("tests/e2e/test_[e-n]*.py",), marked="not docker")
LAST_JOBS = Part(("tests/e2e/test_[!a-n]*.py",), marked="not docker")
PARTS = (REST, WIRE, EARLY_JOBS, ENGINE, MORE_JOBS, LAST_JOBS)
"""In the order in which they begin, as far as the engine is free."""
PREPARATION = (
    (sys.executable, "tests/setup/environment.py", "awscli", "sagemaker2", "sagemaker3"),
    (sys.executable, "-m", "tests.setup.prepare", "docker"),
)
"""What parts with ``engine`` need."""


class Queue:
    """Parts that wait. The engine is taken at first: it is being made.

    Args:
        parts: In their order.
    """

    def __init__(self, parts: Iterable[Part]) -> None:
        self._waiting = [*parts]
        self._engine_is_free = False
        self._changed = threading.Condition()

    def take(self) -> Part | None:
        """Return the next part that can run, once there is one; None when none is left."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting or self._next() is not None)
            part = self._next()
            if part is not None:
                self._waiting.remove(part)
                self._engine_is_free &= not part.engine
            return part

    def free_engine(self) -> None:
        """Let the next part have the engine."""
        with self._changed:
            self._engine_is_free = True
            self._changed.notify_all()

    def close(self) -> None:
        """Let nothing more begin."""
        with self._changed:
            self._waiting.clear()
            self._changed.notify_all()

    def ended(self, part: Part) -> None:
        """Know that a part has ended."""
        if part.engine:
            self.free_engine()

    def _next(self) -> Part | None:
        return next(
            (each for each in self._waiting if self._engine_is_free or not each.engine), None
        )


class Output:
    """Standard output for two: one writes at once, the other when the first is between two parts."""

    def __init__(self) -> None:
        self._kept: list[tuple[str, IO[bytes]]] = []
        self._lock = threading.Lock()

    def say(self, text: str) -> None:
        """Write a line at once, between the lines of others."""
        sys.stdout.write(f"== {text}\n")
        sys.stdout.flush()

    def keep(self, name: str, output: IO[bytes]) -> None:
        """Take the output of something that has ended."""
        with self._lock:
            self._kept.append((name, output))

    def show_kept(self) -> None:
        """Write what was kept so far."""
        with self._lock:
            kept, self._kept = self._kept, []
        for name, output in kept:
            self.say(f"output of {name}")
            with output:
                output.seek(0)
                sys.stdout.buffer.write(output.read())
            sys.stdout.flush()


class Run:
    """One run of the suite.

    Args:
        arguments: pytest's.
    """

    def __init__(self, parts: Iterable[Part], arguments: Sequence[str]) -> None:
        self._queue = Queue(parts)
        self._arguments = arguments
        self._output = Output()

    def codes(self) -> list[int]:
        """Run everything; return the exit codes."""
        with ThreadPoolExecutor(1) as beside:
            other = beside.submit(self._beside)
            try:
                codes = self._lane(self._shown)
            finally:  # with Ctrl-C nothing more begins
                self._queue.close()
            codes += other.result()
        self._output.show_kept()
        return codes

    def _beside(self) -> list[int]:
        """Make what is needed, then run parts; all of it without showing anything yet."""
        try:
            codes = [self._kept("preparation", command) for command in PREPARATION]
        finally:
            self._queue.free_engine()
        return codes + self._lane(self._kept)

    def _lane(self, run: Callable[[str, Sequence[str]], int]) -> list[int]:
        codes = []
        while (part := self._queue.take()) is not None:
            try:
                codes.append(run(str(part), part.command(self._arguments)))
            finally:
                self._queue.ended(part)
        return codes

    def _shown(self, name: str, command: Sequence[str]) -> int:
        self._output.show_kept()
        self._output.say(name)
        return subprocess.run(command, cwd=ROOT, check=False).returncode

    def _kept(self, name: str, command: Sequence[str]) -> int:
        self._output.say(f"beside it: {name}")
        output = tempfile.TemporaryFile()  # noqa: SIM115 -- closed when it was shown
        code = subprocess.run(
            command, cwd=ROOT, stdout=output, stderr=output, check=False
        ).returncode
        self._output.keep(name, output)
        return code


def main(arguments: list[str]) -> int:
    """Run all parts; return 0 when none of them failed."""
    codes = Run(PARTS, arguments).codes()
    return int(any(code not in {0, NOTHING_CHOSEN} for code in codes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
