"""What the debugger's records say of a run: who was watched, and what was found. Pure."""

from __future__ import annotations

import os
import re

from orchestrator_runtime.hook.activate import FRAMEWORKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_PYTHON = re.compile(r"python[0-9.]*")
_ISOLATING = "IES"
"""Options of Python with which it does not read PYTHONPATH, or no sitecustomize."""


class Account:
    """What was told so far.

    Attributes:
        findings: What rules found, in the order in which it arrived.
        stop: The first finding of a rule that ends the run.
        frameworks: What was watched, e.g. ``torch 2.13.0``.
        processes: How many processes are or were watched.
        optimizers: Optimizers that took steps, as far as their processes have said so.
        reasons: Why something is not watched.
        rule_errors: Rules that are not evaluated, and why.
    """

    def __init__(self) -> None:
        self.findings: list[dict[str, Any]] = []
        self.stop: dict[str, Any] | None = None
        self.frameworks: list[str] = []
        self.processes = 0
        self.optimizers = 0
        self.reasons: list[str] = []
        self.rule_errors: dict[str, str] = {}
        self._ended = 0
        self._steps = 0
        self._idle: list[str] = []

    @property
    def watched(self) -> bool:
        """Whether any step was seen."""
        return self.processes > 0

    @property
    def steps(self) -> int:
        """Steps of optimizers: all of them, or those that are known if not ``complete``."""
        found = max((finding["step"] + 1 for finding in self.findings), default=0)
        return self._steps if self.complete else max(self._steps, found)

    @property
    def complete(self) -> bool:
        """Whether each watched process told how it ended; one that was killed could not."""
        return self._ended >= self.processes

    def take(self, record: dict[str, Any]) -> None:
        """Take one record of the debugger; one that is not of its making is passed over."""
        kind, state = record["kind"], record.get("state")
        if kind == "finding" and _is_finding(record):
            self._find({name: value for name, value in record.items() if name != "kind"})
        elif kind == "debugger" and state == "watching":
            self.processes += 1
            _add(self.frameworks, str(record.get("framework") or "an unknown framework"))
        elif kind == "debugger" and state == "ended":
            self._ended += 1
            self._steps += _count(record.get("steps"))
            self.optimizers += _count(record.get("optimizers"))
        elif kind == "debugger" and state == "unmonitored":
            _add(self.reasons, str(record.get("reason", "")))
        elif kind == "debugger" and state == "idle":
            _add(self._idle, str(record.get("framework", "")))
        elif kind == "debugger" and state == "rule_error":
            self.rule_errors.setdefault(str(record.get("rule")), str(record.get("error", "")))

    def unmonitored(self, command: Sequence[str]) -> str | None:
        """Return why nothing was watched, None if something was.

        Args:
            command: What was run.
        """
        if self.watched:
            return None
        if self.reasons:
            return "; ".join(self.reasons)
        if self._idle:
            return f"{' and '.join(self._idle)} was imported, but no optimizer of it took a step"
        return why_unseen(command)

    def _find(self, finding: dict[str, Any]) -> None:
        self.findings.append(finding)
        if self.stop is None and finding.get("stop") is True:
            self.stop = finding


def _is_finding(record: dict[str, Any]) -> bool:
    """Return whether a finding has what everybody reads: any program can write into the pipe."""
    texts = all(isinstance(record.get(name), str) for name in ("rule", "message"))
    step = record.get("step")
    return texts and isinstance(step, int) and isinstance(record.get("name", ""), str)


def _add(texts: list[str], text: str) -> None:
    if text and text not in texts:
        texts.append(text)


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def why_unseen(command: Sequence[str]) -> str:
    """Return why nothing of a program was seen that has ended without a word of the hook.

    Args:
        command: What was run.
    """
    frameworks = ", ".join(FRAMEWORKS)
    option = isolating_option(command)
    if option == "-S":
        return "Python's option -S keeps the debugger out; leave it out"
    if option is not None:
        return (
            f"Python's option {option} keeps the debugger out, which comes in by PYTHONPATH unless "
            "the program's environment has orchestrator_debugger.pth; leave it out (or the program "
            f"imported no framework that is watched: {frameworks})"
        )
    if is_python(command):
        return f"the program imported no framework that is watched ({frameworks})"
    return (
        f"no Python that {command[0]} started imported a framework that is watched ({frameworks}), "
        "or its options -I, -E or -S kept the debugger out"
    )


def is_python(command: Sequence[str]) -> bool:
    """Return whether a command names a Python interpreter."""
    return _PYTHON.fullmatch(os.path.basename(command[0])) is not None


def isolating_option(command: Sequence[str]) -> str | None:
    """Return the option by which a Python reads no PYTHONPATH or no sitecustomize, if any."""
    if not is_python(command):
        return None
    words = iter(command[1:])
    for word in words:
        if not word.startswith("-") or word.startswith("--"):
            return None
        for place, letter in enumerate(word[1:], 2):
            if letter in _ISOLATING:
                return f"-{letter}"
            if letter in "mc":
                return None
            if letter in "WX":  # the rest of the word, or the next one, is its value
                if place == len(word):
                    next(words, None)
                break
    return None
