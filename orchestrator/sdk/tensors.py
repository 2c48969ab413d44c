"""Recorded values as a small table: a row for each step, a column for each tensor."""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING, Any

from orchestrator.errors import InvalidSpec, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchestrator.sdk.recording import Curve, Recording

STATISTIC = "l2"


class Tensors:
    """One statistic of some tensors over the steps of a run.

    Args:
        columns: Curves by the tensors' names.
    """

    def __init__(self, columns: Mapping[str, Curve]) -> None:
        self._columns = dict(columns)
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
    """
    columns = _of_series(recording, series or STATISTIC)
    if series is None and name is not None:
        columns |= recording.scalars
    if name is not None:
        pattern = compiled(name)
        columns = {
            key: curve for key, curve in columns.items() if key == name or pattern.fullmatch(key)
        }
    wanted = None if steps is None else set(steps)
    if wanted is not None:
        columns = {
            key: {step: value for step, value in curve.items() if step in wanted}
            for key, curve in columns.items()
        }
    return Tensors({key: curve for key, curve in columns.items() if curve})


def _of_series(recording: Recording, series: str) -> dict[str, Curve]:
    found: dict[str, Curve] = {}
    for full, curves in recording.series.items():
        collection, _, statistic = full.partition("/")
        if series in {full, statistic}:
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


def optional(package: str) -> Any:
    """Return a package that is no dependency of this one.

    Raises:
        Unavailable: It is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise Unavailable(
            f"{package} must be installed for this, it is not; pip install {package}"
        ) from error
