"""What was recorded of a job, read as with SageMaker Debugger's library (``smdebug.trials``)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator_runtime.rules.documented.tensors import aliases, is_bias

from orchestrator.errors import NotFound
from orchestrator.sdk.recording import LOSSES, Recording, TraceFolder
from orchestrator.sdk.tensors import compiled
from orchestrator.sdk.whole import as_histogram, as_numpy
from orchestrator.spec.recorded import KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.sdk.recording import Curve
    from orchestrator.sdk.whole import Histogram
    from orchestrator.spec.recorded import TensorCollection

OF_OTHERS = {"biases": "weights", "layers": "outputs"}
"""Collections whose tensors are recorded in another one."""
ALL = frozenset({"all", "default"})


class TrialTensor:
    """One tensor of a trial.

    Attributes:
        name: ``gradients/fc1.weight``, or that of a scalar: ``loss``.
    """

    def __init__(self, name: str, recording: Recording) -> None:
        self.name = name
        self._recording = recording
        self._collection, _, self._tensor = name.partition("/")

    def steps(self) -> list[int]:
        """Return the steps at which anything of it was recorded."""
        found = {*self._recording.arrays.get(self.name, {})}
        found |= {*self._recording.histograms.get(self.name, {})}
        found |= set(self._recording.scalars.get(self.name, {}))
        for curve in self._reductions().values():
            found |= set(curve)
        return sorted(found)

    def value(self, step: int) -> Any:
        """Return its value at a step: a number for a scalar, else a NumPy array.

        Raises:
            NotFound: Only reductions of it were recorded, or nothing at that step.
            Unavailable: NumPy is not installed.
        """
        scalar = self._recording.scalars.get(self.name, {}).get(step)
        if scalar is not None:
            return scalar
        array = self._recording.arrays.get(self.name, {}).get(step)
        if array is None:
            raise self._absent(step)
        return as_numpy(array)

    def values(self) -> dict[int, Any]:
        """Return all whole values by step; empty where only reductions were recorded."""
        whole = {*self._recording.scalars.get(self.name, {})}
        whole |= {*self._recording.arrays.get(self.name, {})}
        return {step: self.value(step) for step in sorted(whole)}

    def histogram(self, step: int) -> Histogram:
        """Return its histogram at a step.

        Raises:
            NotFound: None was recorded at that step.
        """
        array = self._recording.histograms.get(self.name, {}).get(step)
        if array is None:
            raise self._absent(step, "histogram")
        return as_histogram(array)

    def reduction_value(self, step: int, reduction_name: str, *, abs: bool = False) -> float:
        """Return a reduction at a step, such as ``l2``, ``mean`` or ``max``.

        Args:
            step: Of the tensor's optimizer, from 0.
            reduction_name: Its name; those of absolute values begin with ``abs_``.
            abs: The same as that beginning.

        Raises:
            NotFound: It was not recorded at that step.
        """
        name = f"abs_{reduction_name}" if abs else reduction_name
        value = self._reductions().get(name, {}).get(step)
        if value is None:
            raise self._absent(step, name)
        return value

    def reduction_values(self, step: int) -> dict[str, float]:
        """Return all reductions that were recorded at a step, by name."""
        return {name: curve[step] for name, curve in self._reductions().items() if step in curve}

    def __repr__(self) -> str:
        return f"TrialTensor({self.name!r}, {len(self.steps())} steps)"

    def _reductions(self) -> dict[str, Curve]:
        found: dict[str, Curve] = {}
        for series, curves in self._recording.series.items():
            collection, _, statistic = series.partition("/")
            if collection == self._collection and self._tensor in curves:
                found[statistic] = curves[self._tensor]
        return found

    def _absent(self, step: int, reduction: str | None = None) -> NotFound:
        there = sorted(self.reduction_values(step))
        what = "its whole value" if reduction is None else f"its {reduction}"
        remedy = (
            f"reduction_value({step}, name) has: {', '.join(there)}"
            if there
            else f"steps() has those at which something was: {len(self.steps())}"
        )
        return NotFound(
            f"{what} must have been recorded at step {step} of {self.name}, it was not; {remedy}"
        )


class Trial:
    """Recorded tensors by name. It reads on by itself while the job trains.

    Args:
        recording: Of the job.
        collections: Those of the user's, by name.
    """

    def __init__(
        self, recording: Recording, collections: Mapping[str, TensorCollection] | None = None
    ) -> None:
        self._recording = recording
        self._collections = collections or {}

    def tensor_names(
        self, regex: str | None = None, collection: str | None = None, step: int | None = None
    ) -> list[str]:
        """Return the names of tensors and scalars.

        Args:
            regex: Only those in which it is found.
            collection: Only those of ``gradients``, ``weights``, ``outputs``, ``losses``, …, or of
                one that the job's debugger was given.
            step: Only those of which something was recorded then.
        """
        names = self._names(collection)
        if regex is not None:
            pattern = compiled(regex)
            names = [name for name in names if pattern.search(name)]
        if step is not None:
            names = [n for n in names if step in TrialTensor(n, self._recording).steps()]
        return names

    def _names(self, collection: str | None) -> list[str]:
        recording = self._recording.refresh()
        found = {
            f"{series.partition('/')[0]}/{name}": None
            for series, curves in recording.series.items()
            for name in curves
        }
        found |= dict.fromkeys((*recording.arrays, *recording.histograms))
        if collection == LOSSES:
            return [name for name in recording.scalars if "loss" in name]
        if collection is not None:
            return [name for name in (*found, *recording.scalars) if self._is_in(name, collection)]
        return [*found, *recording.scalars]

    def _is_in(self, name: str, collection: str) -> bool:
        """Return whether a tensor belongs to a collection, as the hook sees it."""
        kind, _, tensor = name.partition("/")
        scalar = name in self._recording.scalars
        own = self._collections.get(collection)
        patterns = [compiled(word) for word in own.include] if own is not None else []
        if not patterns:
            if collection in ALL:
                return True
            if collection == "biases" and not is_bias(tensor):
                return False
            return not scalar and kind == OF_OTHERS.get(collection, collection)
        if collection in KINDS and kind != OF_OTHERS.get(collection, collection):
            return False
        role = self._recording.roles.get(name, "")
        names = (name,) if scalar else aliases(kind, tensor, role)
        return any(pattern.search(each) for pattern in patterns for each in names)

    def steps(self) -> list[int]:
        """Return all steps of which anything was recorded."""
        recording = self._recording.refresh()
        curves = [curve for each in recording.series.values() for curve in each.values()]
        found = {step for curve in (*curves, *recording.scalars.values()) for step in curve}
        for whole in (recording.arrays, recording.histograms):
            found |= {step for array in whole.values() for step in array}
        return sorted(found)

    def tensor(self, name: str) -> TrialTensor:
        """Return one tensor.

        Raises:
            NotFound: Nothing of that name was recorded.
        """
        if name not in self._names(None):
            raise NotFound(
                f"a tensor must be one that was recorded, got {name!r}; tensor_names() has them"
            )
        return TrialTensor(name, self._recording)

    def has_tensor(self, name: str) -> bool:
        """Return whether anything of that name was recorded."""
        return name in self._names(None)

    def close(self) -> None:
        """Remove what was fetched; what was read can still be asked for."""
        self._recording.close()


def create_trial(path: str | Path, *, rank: int | None = None) -> Trial:
    """Return what was recorded of a program that was no job, as ``smdebug.trials`` does.

    Args:
        path: The directory of ``orchestrator debug --traces``, or of ``watch``.
        rank: Of which process of a distributed run; by default the first.

    Raises:
        NotFound: No trace is there.
    """
    return Trial(Recording(TraceFolder(Path(path).expanduser()), "", rank))
