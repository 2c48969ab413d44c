"""Series of numbers, contenders that take turns, and rows of the table."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Contender = Callable[[], float]
"""Does its work once and returns the seconds that count."""


@dataclass(frozen=True)
class Series:
    """Measured values, in the order of the rounds."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    def percentile(self, part: float) -> float:
        """The value that this part of all does not exceed."""
        ordered = sorted(self.values)
        return ordered[min(len(ordered) - 1, int(len(ordered) * part))]

    def ratio_to(self, other: Series) -> float:
        """The median over rounds of this value by the other's of the same round.

        Neighbours in time share the machine's load, so this moves less than the medians do.
        """
        pairs = zip(self.values, other.values, strict=False)
        return statistics.median(mine / theirs for mine, theirs in pairs)

    def facts(self) -> dict[str, Any]:
        """What the JSON document says of it."""
        return {
            "median": self.median,
            "min": min(self.values),
            "max": max(self.values),
            "values": list(self.values),
        }


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: What was done.
        unit: Of all values.
        measured: Ours.
        baselines: What the same took others, by their name, in the same rounds.
        target: What the design asks for.
        of: Whether the target is for the value or for the ratio to the first baseline.
        at_least: Whether more is better.
        note: What else to know.
        load: Load average of the machine meanwhile.
    """

    name: str
    unit: str
    measured: Series
    baselines: Mapping[str, Series] = field(default_factory=dict)
    target: float | None = None
    of: str = "value"
    at_least: bool = False
    note: str = ""
    load: float = field(default_factory=lambda: load())

    @property
    def judged(self) -> float:
        """The number that the target is for."""
        if self.of == "ratio":
            return self.measured.ratio_to(next(iter(self.baselines.values())))
        return self.measured.median

    @property
    def verdict(self) -> str:
        """Whether the target is reached."""
        if self.target is None:
            return ""
        good = self.judged >= self.target if self.at_least else self.judged <= self.target
        return "ok" if good else "missed"

    def facts(self) -> dict[str, Any]:
        """What the JSON document says of it."""
        return {
            "name": self.name,
            "unit": self.unit,
            "measured": self.measured.facts(),
            "baselines": {
                name: {**series.facts(), "ratio": self.measured.ratio_to(series)}
                for name, series in self.baselines.items()
            },
            "target": self.target,
            "target_of": self.of,
            "at_least": self.at_least,
            "verdict": self.verdict,
            "note": self.note,
            "load": self.load,
        }


@dataclass(frozen=True)
class Skipped:
    """A line of the table that could not be measured here."""

    name: str
    reason: str

    def facts(self) -> dict[str, Any]:
        """What the JSON document says of it."""
        return {"name": self.name, "skipped": self.reason}


Line = Row | Skipped


@dataclass(frozen=True)
class Options:
    """How much to measure, and where.

    Attributes:
        folder: Where homes and scripts are put; its disk counts.
        quick: A look whether all of it works, not a measurement.
    """

    folder: Path
    quick: bool = False

    def of(self, many: int, few: int) -> int:
        """Return the one or the other."""
        return few if self.quick else many


def one(*values: float) -> Series:
    """Return a series of given values."""
    return Series(values)


def load() -> float:
    """Return the load average of the last minute."""
    return os.getloadavg()[0]


def timed(work: Callable[[], object]) -> Contender:
    """Return a contender that takes as long as the work does."""

    def contender() -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return contender


def take_turns(contenders: Mapping[str, Contender], rounds: int) -> dict[str, Series]:
    """Let every contender run once a round, each round beginning with another one.

    One round before the first is thrown away: caches are filled then.
    """
    names = list(contenders)
    found: dict[str, list[float]] = {name: [] for name in names}
    for number in range(-1, rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            seconds = contenders[name]()
            if number >= 0:
                found[name].append(seconds)
    return {name: Series(tuple(values)) for name, values in found.items()}


def eventually(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """Return the condition's value once it is true.

    Raises:
        TimeoutError: It does not become so.
    """
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not so within {seconds} s: {condition}")
        time.sleep(0.01)
    return value
