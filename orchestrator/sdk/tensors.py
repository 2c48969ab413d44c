"""Recorded values as a small table: a row for each step, a column for each tensor; whole ones."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator_runtime.rules.parameters import some

from orchestrator.errors import InvalidSpec, NotFound
from orchestrator.sdk.whole import as_histogram, as_numpy, optional

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchestrator_runtime.trace.record import Array

    from orchestrator.sdk.recording import Curve, Recording
    from orchestrator.sdk.whole import Histogram

    ArraysBySteps = Mapping[str, Mapping[int, Array]]

STATISTIC = "l2"
_Value = TypeVar("_Value")


class Tensors:
    """One statistic of some tensors over the steps of a run, and what of them is there as a whole.

    Args:
        columns: Curves by the tensors' names.
        arrays: Whole tensors by name and step.
        histograms: The same, of their histograms.
    """

    def __init__(
        self,
        columns: Mapping[str, Curve],
        arrays: ArraysBySteps | None = None,
        histograms: ArraysBySteps | None = None,
    ) -> None:
        self._columns = dict(columns)
        self._arrays = arrays or {}
        self._histograms = histograms or {}
        self._steps = sorted({step for curve in columns.values() for step in curve})

    def names(self) -> list[str]:
        """Return the names: ``gradients/fc1.weight``, or ``loss``."""
        return list(self._columns)

    def steps(self) -> list[int]:
        """Return the steps at which at least one of them has a value."""
        return list(self._steps)

    @property
    def values(self) -> list[list[float | None]]:
        """A row for each step, with a value for each name; None where there is none."""
        return [[curve.get(step) for curve in self._columns.values()] for step in self._steps]

    def arrays(self) -> dict[str, dict[int, Any]]:
        """Return the whole tensors that were recorded, as NumPy arrays by name and step.

        They are there for what a job's debugger was asked: ``Debugger(arrays={"weights": 100})``.

        Raises:
            Unavailable: NumPy is not installed.
        """
        return {
            name: {step: as_numpy(array) for step, array in by_step.items()}
            for name, by_step in self._arrays.items()
        }

    def histograms(self) -> dict[str, dict[int, Histogram]]:
        """Return the histograms that were recorded, by name and step."""
        return {
            name: {step: as_histogram(array) for step, array in by_step.items()}
            for name, by_step in self._histograms.items()
        }

    def __getitem__(self, name: str) -> Curve:
        """Return the values of one tensor by step."""
        return dict(self._columns[name])

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        return f"Tensors({len(self._columns)} names, {len(self._steps)} steps)"

    def to_numpy(self) -> Any:
        """Return an array of steps times names; NaN where there is no value.

        Raises:
            Unavailable: NumPy is not installed.
        """
        numpy = optional("numpy")
        return numpy.array(self.values, dtype=numpy.float64).reshape(
            len(self._steps), len(self._columns)
        )

    def to_pandas(self) -> Any:
        """Return a DataFrame with steps as index and names as columns.

        Raises:
            Unavailable: pandas is not installed.
        """
        pandas = optional("pandas")
        index = pandas.Index(self._steps, name="step")
        return pandas.DataFrame(self.to_numpy(), index=index, columns=self.names())


def chosen(
    recording: Recording,
    name: str | None = None,
    steps: Iterable[int] | None = None,
    series: str | None = None,
) -> Tensors:
    """Return some of what was recorded.

    Args:
        recording: All of it.
        name: A name, or a regular expression that whole names match; None = all tensors.
        steps: Only these; None = all.
        series: A statistic (``l2``, ``abs_max``) or one of a collection (``gradients/l2``).

    Raises:
        InvalidSpec: The name is neither.
        NotFound: Nothing of that name, or no such series, was recorded, but others were.
    """
    if series is not None and recording.series and not _of_series(recording, series):
        raise NotFound(
            f"no series {series!r} was recorded so far; there are: {some(recording.series)}"
        )
    columns = _of_series(recording, series or STATISTIC)
    if series is None and name is not None:
        columns |= recording.scalars
    choice = _Choice(name, steps)
    whole = {*recording.arrays, *recording.histograms}
    if name is not None and not choice.among({*columns, *whole}):
        _refuse_name(recording, choice, name, series or STATISTIC)
    return Tensors(
        choice.of(columns), choice.of(recording.arrays), choice.of(recording.histograms)
    )


def _refuse_name(recording: Recording, choice: _Choice, name: str, series: str) -> None:
    """A name that is written wrong must not look like a tensor without values."""
    names = {*_of_series(recording, None), *recording.scalars}
    others = [each for each in recording.series if choice.among(_of_series(recording, each))]
    if others:
        raise NotFound(
            f"no {series} of {name!r} was recorded so far; choose another series: {some(others)}"
        )
    if names:
        raise NotFound(
            f"no tensor {name!r} was recorded so far; there are: {some(names)}; write a whole name, "
            "or a regular expression that matches one from end to end"
        )


class _Choice:
    """Which names and steps are wanted."""

    def __init__(self, name: str | None, steps: Iterable[int] | None) -> None:
        self._name = name
        self._pattern = None if name is None else compiled(name)
        self._steps = None if steps is None else set(steps)

    def of(self, given: Mapping[str, Mapping[int, _Value]]) -> dict[str, dict[int, _Value]]:
        """Return what of some values is wanted; names without any are left out."""
        chosen = {
            name: {step: value for step, value in by_step.items() if self._has_step(step)}
            for name, by_step in given.items()
            if self._has_name(name)
        }
        return {name: by_step for name, by_step in chosen.items() if by_step}

    def among(self, names: Iterable[str]) -> bool:
        """Return whether one of the names is wanted."""
        return any(map(self._has_name, names))

    def _has_name(self, name: str) -> bool:
        return self._pattern is None or name == self._name or bool(self._pattern.fullmatch(name))

    def _has_step(self, step: int) -> bool:
        return self._steps is None or step in self._steps


def _of_series(recording: Recording, series: str | None) -> dict[str, Curve]:
    found: dict[str, Curve] = {}
    for full, curves in recording.series.items():
        collection, _, statistic = full.partition("/")
        if series in {None, full, statistic}:
            found |= {f"{collection}/{name}": curve for name, curve in curves.items()}
    return found


def compiled(text: str) -> re.Pattern[str]:
    """Return a regular expression.

    Raises:
        InvalidSpec: It is none.
    """
    try:
        return re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise InvalidSpec(
            f"a name must be a tensor's, or a regular expression, got {text!r}: {error}; escape it"
        ) from error
