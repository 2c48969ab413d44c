"""From the words of ``orchestrator debug`` to the debugger's plan, and to the run under it."""

from __future__ import annotations

import errno
import math
import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator_runtime.rules import DEFAULT_RULES, RuleError, judge_of
from orchestrator_runtime.rules.rule import SERIES

from orchestrator.cli import exits
from orchestrator.cli.rule_option import SEE_RULES, TUNED, tuned_rule
from orchestrator.errors import InvalidSpec, NotFound, OrchestratorError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

ALL = "all"
NONE = "none"
_WHOLE = re.compile(r"(?P<kind>[A-Za-z_][\w.-]*)(?::(?P<regex>.+))?=(?P<steps>[0-9]{1,9})", re.S)


class Wishes(NamedTuple):
    """What was asked for, as the command line has it.

    Attributes:
        command: What is to be run.
        rules: Rules separated by commas; None is all of ours.
        tuned: Rules with parameters.
        stop_on: Rules separated by commas, or ``all``.
        every: Series and steps, with ``=`` between them.
        include: Regular expressions of the tensors that are recorded.
        arrays: Kinds of tensors to keep whole: ``KIND=STEPS``, or ``KIND:REGEX=STEPS``.
        histograms: The same, for histograms.
    """

    command: Sequence[str]
    rules: str | None = None
    tuned: Sequence[str] = ()
    stop_on: str | None = None
    every: Sequence[str] = ()
    include: Sequence[str] = ()
    arrays: Sequence[str] = ()
    histograms: Sequence[str] = ()
    findings: Path | None = None
    traces: Path | None = None


def planned(wishes: Wishes) -> dict[str, Any]:
    """Return the debugger's plan (``orchestrator_runtime.hook.plan.DebugPlan``).

    Raises:
        InvalidSpec: Something that was asked for cannot be.
    """
    if not wishes.command or not wishes.command[0]:
        raise InvalidSpec(
            "a command must follow --, got none; for example: orchestrator debug -- python train.py"
        )
    if wishes.traces is None and (wishes.include or wishes.arrays or wishes.histograms):
        raise InvalidSpec(
            "--include, --arrays and --histograms say what is kept: give --traces DIR as well"
        )
    return {
        "rules": _rules(wishes),
        "every": dict(map(_interval, wishes.every)),
        "include": [_pattern("--include", word) for word in wishes.include],
        "arrays": _whole("--arrays", wishes.arrays),
        "histograms": _whole("--histograms", wishes.histograms),
        "findings": None if wishes.findings is None else _findings_file(wishes.findings),
        "directory": None if wishes.traces is None else _traces_directory(wishes.traces),
    }


def _rules(wishes: Wishes) -> list[dict[str, Any]]:
    """Return the rules of a plan: those that were chosen, tuned, or that end the run."""
    chosen = list(DEFAULT_RULES) if wishes.rules is None else _words("--rules", wishes.rules, NONE)
    parameters: dict[str, dict[str, str]] = {_known("--rules", name): {} for name in chosen}
    for text in wishes.tuned:
        name, values = tuned_rule(text)
        parameters.setdefault(name, {}).update(values)
    ending = [] if wishes.stop_on is None else _words("--stop-on", wishes.stop_on, ALL)
    for name in ending:
        if name != ALL:
            parameters.setdefault(_known("--stop-on", name), {})
    return [
        {"rule": name, "name": name, "parameters": given, "stop": name in ending or ALL in ending}
        for name, given in parameters.items()
    ]


def _words(option: str, text: str, other: str) -> list[str]:
    """Return the names of an option: an empty variable of a shell must not switch it off."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise InvalidSpec(
            f"{option} must name rules, got {text!r}; write {other}, or leave it out; {SEE_RULES}"
        )
    return [word for word in words if word != NONE]


def _known(option: str, name: str) -> str:
    """Return the name of a rule that exists; a class of the user's only its own Python can load."""
    try:
        if ":" not in name:
            judge_of(name)
    except RuleError as error:
        raise InvalidSpec(f"{option} must name rules: {error}; {SEE_RULES}") from error
    if not TUNED.fullmatch(name):
        raise InvalidSpec(f"{option} must name rules, got {name!r}; write module:Class for yours")
    return name


def _interval(text: str) -> tuple[str, int]:
    series, _, number = text.rpartition("=")
    if not SERIES.fullmatch(series) or not re.fullmatch(r"[0-9]{1,9}", number):
        raise InvalidSpec(
            f"--every must be COLLECTION/STATISTIC=STEPS, got {text!r}; for example gradients/l2=10"
        )
    return series, int(number)


def _whole(option: str, texts: Sequence[str]) -> dict[str, Any]:
    """Return wishes by kind of tensors; the patterns of one kind share their interval."""
    wishes: dict[str, Any] = {}
    for text in texts:
        found = _WHOLE.fullmatch(text)
        if found is None:
            raise InvalidSpec(
                f"{option} must be KIND=STEPS or KIND:REGEX=STEPS, got {text!r}; for example "
                "weights=100, or weights:^fc=100"
            )
        kind, every = found["kind"], int(found["steps"])
        patterns = [_pattern(option, found["regex"])] if found["regex"] else []
        known = wishes.setdefault(kind, {"every": every, "patterns": patterns})
        if known["patterns"] is patterns:
            continue
        if known["every"] != every or not (patterns and known["patterns"]):
            raise InvalidSpec(
                f"{option} must name {kind} once, or several expressions of it with the same "
                f"steps, got {text!r} as well; leave one out"
            )
        known["patterns"] += patterns
    return wishes


def _pattern(option: str, text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise InvalidSpec(
            f"{option} must be a Python regular expression, got {text!r}: {error}; correct it"
        ) from error
    return text


def _findings_file(path: Path) -> str:
    """Empty the file, so that it is there whatever is found; its place must be known anywhere."""
    place = path.expanduser().absolute()
    try:
        place.write_bytes(b"")
    except OSError as error:
        raise InvalidSpec(
            f"--findings must name a file that can be written, got {str(path)!r}: "
            f"{error.strerror}; name another, or make its directory"
        ) from error
    return str(place)


def _traces_directory(path: Path) -> str:
    place = path.expanduser().absolute()
    try:
        place.mkdir(parents=True, exist_ok=True)
        writable = os.access(place, os.W_OK | os.X_OK)
    except OSError as error:
        raise InvalidSpec(
            f"--traces must name a directory, got {str(path)!r}: {error.strerror}; name another"
        ) from error
    if not writable:
        raise InvalidSpec(
            f"--traces must name a directory that can be written, got {str(path)!r}; name another"
        )
    return str(place)


def run_watched(
    wishes: Wishes, plan: dict[str, Any], *, grace_seconds: float, as_json: bool
) -> int:
    """Run the command, say what was seen, and return the exit code."""
    from orchestrator.cli.debug_summary import Summary
    from orchestrator.cli.output import note, print_error, print_json

    if not math.isfinite(grace_seconds):
        raise InvalidSpec(f"--grace must be a number of seconds, got {grace_seconds}; such as 30")
    if not hasattr(os, "mkfifo"):
        raise Unavailable("orchestrator debug works on Linux and macOS; this system has no FIFOs")
    from orchestrator_runtime.watched import Account, CannotStart, run

    account = Account()
    try:
        ending = run(wishes.command, plan, account, grace_seconds=grace_seconds)
    except CannotStart as error:
        refusal, code = _refusal(wishes.command, error)
        print_error(refusal, as_json=as_json)
        return code
    summary = Summary(wishes.command, plan, account, ending)
    if as_json:
        print_json(summary.as_json(), after_others=True)
    else:
        note("\n".join(summary.lines()))
    return summary.exit_code


def _refusal(command: Sequence[str], error: OSError) -> tuple[OrchestratorError, int]:
    """Return the error and the exit code, a shell's own, of a command that cannot be run."""
    name, said = command[0], error.strerror or str(error)
    remedy = "check its name, and that its environment is active"
    if Path(name).suffix == ".py":
        remedy = f"a script needs its interpreter: python {shlex.join(command)}"
    elif error.errno == errno.ENOENT and Path(name).exists():
        remedy = "its first line names an interpreter that does not exist: correct it"
    text = f"the command after -- must be one that can be run, got {name!r}: {said}; {remedy}"
    if error.errno == errno.ENOENT:
        return NotFound(text), exits.NO_COMMAND
    return InvalidSpec(text), exits.NOT_RUNNABLE
