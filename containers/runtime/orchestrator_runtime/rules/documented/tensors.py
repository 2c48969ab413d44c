"""Which tensors a rule looks at: SageMaker's collections and its names of tensors."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from orchestrator_runtime.trace.record import StepRecord, Tensor

GATHERED = ("weights", "biases", "gradients", "losses")
"""What is looked at where neither collections nor names are given."""
EVERYTHING = ("weights", "biases", "gradients", "outputs", "inputs", "losses")
LOSSES = "losses"
# Scalars of a step that the recorder makes itself and that are no losses.
OWN_SCALARS = frozenset(("learning_rate", "norm", "norm_before_clip", "clip", "backwards"))
_RECORDED_IN = {"biases": "weights", "layers": "outputs"}
_OF_SCALARS: dict[str, Callable[[float], float]] = {
    "zeros": lambda value: float(value == 0),
    "non_finite": lambda value: float(not math.isfinite(value)),
    "nan": lambda value: float(math.isnan(value)),
    "abs_mean": abs,
    "l2": abs,
    "variance": lambda _: 0.0,
}


class Measured(NamedTuple):
    """A statistic of one tensor; the name of a loss is that of its scalar."""

    collection: str
    name: str
    value: float
    role: str = ""


def aliases(collection: str, name: str, role: str = "") -> tuple[str, ...]:
    """Return the names that SageMaker's library gives a tensor, and ours."""
    if collection == "gradients":
        return name, f"gradient/{name}", f"gradients/{name}"
    if collection in ("outputs", "inputs"):
        end = f"{collection[:-1]}_0"
        return name, f"{name}_{end}", f"{name}_{role}_{end}", f"{collection}/{name}"
    return name, f"{collection}/{name}"


def is_bias(name: str) -> bool:
    """Return whether a parameter is a bias, by its name as SageMaker's library does."""
    return "bias" in name


class Selection:
    """Tensors of collections, and those whose names match; either, where both are given.

    Attributes:
        seen: Whether any value was there, of losses only where nothing else is chosen.
    """

    def __init__(
        self,
        collections: Sequence[str],
        patterns: Sequence[str] = (),
        default: Sequence[str] = GATHERED,
    ) -> None:
        self._whole = set(collections)
        self._patterns = [re.compile(pattern) for pattern in patterns]
        if self._whole & {"all", "default"}:
            self._whole.update(EVERYTHING)
        elif not self._whole and not patterns:
            self._whole.update(default)
        self._whole -= {"all", "default"}
        looked_at = list(self._whole)
        if patterns:
            looked_at += default if set(default) != set(GATHERED) else EVERYTHING
        self.recorded = sorted(
            {_RECORDED_IN.get(each, each) for each in looked_at if each != LOSSES}
        )
        self.has_losses = LOSSES in looked_at
        self.seen = False
        self._known: dict[tuple[str, Tensor], bool] = {}

    def series(self, statistic: str) -> list[str]:
        """Return the names of all series that are read."""
        return [f"{collection}/{statistic}" for collection in self.recorded]

    def values(self, record: StepRecord, statistic: str) -> Iterator[Measured]:
        """Return a statistic of all chosen tensors of a step that have it, losses included."""
        for collection in self.recorded:
            block = record.blocks.get(f"{collection}/{statistic}")
            if block is None:
                continue
            for tensor, value in block.present():
                if self._holds(collection, tensor):
                    self.seen = True
                    yield Measured(collection, tensor.name, value, tensor.role)
        of_scalar = _OF_SCALARS.get(statistic)
        if of_scalar is not None:
            for name, value in self.losses(record):
                yield Measured(LOSSES, name, of_scalar(value))

    def losses(self, record: StepRecord) -> Iterator[tuple[str, float]]:
        """Return the chosen losses of a step: names and values."""
        if not self.has_losses:
            return
        for name, value in record.scalars.items():
            if name not in OWN_SCALARS and self._has_loss(name):
                self.seen = self.seen or not self.recorded
                yield name, value

    def _has_loss(self, name: str) -> bool:
        if LOSSES in self._whole and "loss" in name.lower():
            return True
        return self._matches(aliases(LOSSES, name))

    def _holds(self, collection: str, tensor: Tensor) -> bool:
        key = (collection, tensor)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._is_whole(collection, tensor) or self._matches(
                aliases(collection, tensor.name, tensor.role)
            )
        return known

    def _is_whole(self, collection: str, tensor: Tensor) -> bool:
        if collection == "weights":
            return ("biases" if is_bias(tensor.name) else "weights") in self._whole
        return collection in self._whole or (collection == "outputs" and "layers" in self._whole)

    def _matches(self, names: Sequence[str]) -> bool:
        return any(pattern.search(name) for pattern in self._patterns for name in names)
