"""What a step's sample gets beside parameters and gradients: activations, inputs, labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from orchestrator_runtime.hook.pytorch.batches import COLLECTIONS, Batches
from orchestrator_runtime.hook.pytorch.inputs import PREFIX as INPUTS
from orchestrator_runtime.hook.pytorch.inputs import Inputs
from orchestrator_runtime.hook.pytorch.labels import Labels
from orchestrator_runtime.hook.pytorch.names import ModuleNames
from orchestrator_runtime.hook.pytorch.outputs import PREFIX as OUTPUTS
from orchestrator_runtime.hook.pytorch.outputs import Outputs
from orchestrator_runtime.hook.pytorch.saved import Saved
from orchestrator_runtime.trace.kinds import LABELS, PREDICTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import nn

    from orchestrator_runtime.hook.guard import Guard
    from orchestrator_runtime.hook.monitor import Monitor
    from orchestrator_runtime.hook.pytorch.arrays import Arrays
    from orchestrator_runtime.hook.pytorch.sample import Sample


class Source(Protocol):
    """Looks at what a program does between two steps, if anything of that is due."""

    def arm(self, step: int) -> None:
        """Begin to look, if this step's values are wanted."""

    def take(self, sample: Sample) -> None:
        """Stop looking, and put what was seen into the step's sample."""

    def disarm(self) -> None:
        """Stop looking, and forget what was seen: the optimizer is gone."""

    def close(self) -> None:
        """Stop looking for good."""


def of(
    monitor: Monitor, arrays: Arrays, living: Callable[[], Sequence[nn.Module]], guard: Guard
) -> list[Source]:
    """Return the sources that a run has any use for."""
    has, names = monitor.schedule.has, ModuleNames(living)
    sources: list[Source] = [Saved(monitor, arrays)]
    if has(f"{LABELS}/") or has(f"{PREDICTIONS}/"):
        sources.append(Labels(monitor, arrays))
    if any(has(f"{collection}/") for collection in COLLECTIONS):
        sources.append(Batches(monitor, arrays, names))
    if has(INPUTS):
        sources.append(Inputs(monitor, arrays, names, guard))
    if has(OUTPUTS):
        sources.append(Outputs(monitor, arrays, names, guard))
    return sources
