"""One optimizer under watch: its parameters, their tables, and what is due at each step."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from orchestrator_runtime.hook.pytorch import measure, shards
from orchestrator_runtime.hook.pytorch.burst import Burst
from orchestrator_runtime.hook.pytorch.names import living_models, named_parameters
from orchestrator_runtime.hook.pytorch.sample import (
    BEFORE,
    CHANGE,
    FOUND_INF,
    GRADIENTS_L2,
    UNSCALE,
    Sample,
)
from orchestrator_runtime.hook.pytorch.strays import strays
from orchestrator_runtime.hook.pytorch.updates import Updates
from orchestrator_runtime.trace.record import STRAYS_L2, UPDATE_RATIO, StepRecord, Table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from orchestrator_runtime.hook.monitor import Monitor
    from orchestrator_runtime.hook.pytorch.burst import Step
    from orchestrator_runtime.hook.pytorch.gauge import Gauge
    from orchestrator_runtime.hook.pytorch.signals import Signals
    from orchestrator_runtime.hook.pytorch.sources import Source

SAME_FOR = 50
"""Steps after which an optimizer's parameters are compared with those known."""


class _Group(NamedTuple):
    """Parameters of one role set with their tables."""

    parameters: list[torch.nn.Parameter]
    gradients: Table
    weights: Table


class Watch:
    """One optimizer. ``before`` and ``after`` are called around each of its steps."""

    def __init__(
        self,
        index: int,
        monitor: Monitor,
        report: Callable[[Sequence[Step]], Any],
        signals: Signals,
        gauge: Gauge,
        living: Callable[[], Sequence[torch.nn.Module]] = living_models,
        sources: Sequence[Source] = (),
    ) -> None:
        self.step = 0
        self.index = index
        self._monitor = monitor
        self._burst = Burst(report, monitor)
        self._signals = signals
        self._gauge = gauge
        self._living = living
        self._sources = sources
        self._scale: Tensor | None = None
        self._count = -1
        self._ends: tuple[Any, Any] = (None, None)
        self._all: _Group
        self._wide: _Group
        self._sample: Sample | None = None
        self._updates: Updates
        self._due: Sequence[str] = ()
        self._has_closure = self._has_gradients = False
        self._takes_part = True
        self._passes = False
        self._may_be_sparse = True
        self._alike = False
        self._spread = False

    def before(self, optimizer: torch.optim.Optimizer, *, has_closure: bool) -> None:
        """Measure what an executed step is about to use; hand it on, if that is all."""
        due = self._due = self._monitor.schedule.due(self.step)
        self._sample = None
        self._passes = not due and self.step > 1  # what step 0 has given comes with 1
        if self._passes:
            return
        self._know(optimizer)
        self._updates.forget()  # of a step that raised
        if not self._takes_part:
            return
        sample = Sample(StepRecord(self.step, time.time(), self.index))
        if UPDATE_RATIO in due:
            self._updates.take()
        for name in due:
            if name.startswith("weights/"):
                self._gauge.put(sample, name, self._all.weights, self._all.parameters)
        self._has_closure, self._has_gradients = has_closure, not has_closure
        if has_closure:  # the gradients are made within the step
            self._sample = sample
            return
        self._scalars(sample, optimizer)
        self._gradients(sample)
        if UPDATE_RATIO in due:
            self._sample = sample
        else:
            self._hand_on(sample)

    def at_closure(self) -> None:
        """Measure the gradients that a closure has made, those of its first run."""
        if self._sample is not None and not self._has_gradients:
            self._has_gradients = True
            self._gradients(self._sample)

    def after(self, optimizer: torch.optim.Optimizer) -> None:
        """Measure what the step has changed, and hand it on."""
        if self._passes:
            self._pass_over()
        sample = self._sample
        if sample is None:
            return
        if self._has_closure:
            self.at_closure()  # which may not have been run at all
            self._scalars(sample, optimizer)
        changes = self._updates.changes()
        if changes is not None:
            for name, numbers in zip((CHANGE, BEFORE), changes):
                sample.block(name, self._wide.weights, numbers)
        self._sample = None
        self._hand_on(sample)

    def skipped(self, optimizer: torch.optim.Optimizer) -> None:
        """Note a step that a gradient scaler left out."""
        self._know(optimizer)
        if self._takes_part:
            sample = Sample(StepRecord(self.step, time.time(), self.index, skipped=True))
            self._scalars(sample, optimizer)
            self._clipping(sample)
            self._send(sample)

    def let_go(self) -> None:
        """Keep nothing of the optimizer, which is no more, but what is under way."""
        self._all = self._wide = self._group(())
        self._updates = Updates(())
        self._sample = None
        self._ends = (None, None)
        self._count = -1

    def look(self) -> None:
        """Hand on what has arrived."""
        self._burst.look()

    def flush(self) -> None:
        """Hand on what is under way."""
        self._burst.flush()

    def _know(self, optimizer: torch.optim.Optimizer) -> None:
        """Take the optimizer's parameters, when they are new or have changed."""
        groups = optimizer.param_groups
        count = sum([len(group["params"]) for group in groups])
        ends = _ends_of(groups)
        same = count == self._count and ends[0] is self._ends[0] and ends[1] is self._ends[1]
        if same and self.step % SAME_FOR:
            return
        self._count, self._ends = count, ends
        parameters = [each for group in groups for each in group["params"] if _is_measurable(each)]
        if same and {id(each) for each in parameters} == {
            id(each) for each in self._all.parameters
        }:
            return
        named = named_parameters(parameters, self._living())
        self._all = self._group(named)
        wide = [each for each in named if len(each.tensor.shape) >= 2]
        self._wide = self._group(wide or named)
        self._updates = Updates(self._wide.parameters)
        # What is spread over processes must be measured by all of them, at the same steps.
        self._spread = any(shards.is_spread(parameter) for parameter in parameters)
        self._takes_part = self._monitor.records or self._spread
        kinds = {(parameter.device, parameter.dtype) for parameter in parameters}
        self._alike = len(kinds) == 1 and parameters[0].dtype is torch.float32
        self._may_be_sparse = any(each.tensor.role == "embedding" for each in named) or any(
            each.grad is not None and each.grad.is_sparse for each in parameters
        )

    def _group(self, named: Sequence[Any]) -> _Group:
        tensors = tuple(each.tensor for each in named)
        return _Group(
            [each.parameter for each in named],
            Table("gradients", self.index, tensors),
            Table("weights", self.index, tensors),
        )

    def _scalars(self, sample: Sample, optimizer: torch.optim.Optimizer) -> None:
        signals, record = self._signals, sample.record
        rate = optimizer.param_groups[0].get("lr")
        if isinstance(rate, torch.Tensor):
            sample.scalar("learning_rate", rate)
        elif rate is not None:
            record.scalars["learning_rate"] = float(rate)
        backwards = signals.take_backwards()
        if backwards != 1:
            record.scalars["backwards"] = float(backwards)
        loss = signals.take_loss()
        if isinstance(loss, torch.Tensor):
            sample.scalar("loss", loss)
        elif loss is not None:
            record.scalars["loss"] = loss
        scale = getattr(optimizer, "grad_scale", None)
        self._scale = scale if isinstance(scale, torch.Tensor) else None
        if self._scale is not None:
            sample.scalar(UNSCALE, self._scale)
        found_inf = getattr(optimizer, "found_inf", None)
        if isinstance(found_inf, torch.Tensor):
            sample.scalar(FOUND_INF, found_inf)

    def _clipping(self, sample: Sample) -> None:
        norm = self._signals.clips.norm_before(self._all.parameters)
        if norm is not None:
            sample.scalar("norm_before_clip", norm)

    def _gradients(self, sample: Sample) -> None:
        self._clipping(sample)
        group = self._all
        gradients = [parameter.grad for parameter in group.parameters]
        present = [gradient for gradient in gradients if gradient is not None]
        if not present:
            return
        there = None
        if len(present) < len(gradients):
            there = [gradient is not None for gradient in gradients]
        if self._may_be_sparse and any(gradient.is_sparse for gradient in present):
            present = [each.coalesce().values() if each.is_sparse else each for each in present]
        for name in self._due:
            if name == GRADIENTS_L2 and self._alike and not self._spread:
                # That of every step: no questions asked.
                sample.block(name, group.gradients, measure.l2_alike(present), there)
            elif name == GRADIENTS_L2:
                self._gauge.put(sample, name, group.gradients, present, there)
            elif name.startswith("gradients/"):
                self._more_gradients(sample, name, gradients)
        if STRAYS_L2 in self._due and not self.index and self._monitor.records:
            self._strays(sample)

    def _strays(self, sample: Sample) -> None:
        """Measure gradients that no optimizer uses; those that are spread are left out."""
        found = [each for each in strays(self._living()) if not shards.is_spread(each.parameter)]
        gradients = [each.parameter.grad for each in found if each.parameter.grad is not None]
        if gradients:
            table = Table("strays", self.index, tuple(each.tensor for each in found))
            device = self._all.parameters[0].device
            numbers = [number.to(device, torch.float32) for number in measure.l2(gradients)]
            sample.block(STRAYS_L2, table, numbers)

    def _more_gradients(
        self, sample: Sample, name: str, gradients: Sequence[Tensor | None]
    ) -> None:
        group = self._all
        if name == "gradients/idle_units":  # of vectors that would be their zeros
            group = self._wide
            gradients = [parameter.grad for parameter in group.parameters]
        there = [gradient is not None and not gradient.is_sparse for gradient in gradients]
        present = [each for each in gradients if each is not None and not each.is_sparse]
        if present:
            self._gauge.put(sample, name, group.gradients, present, there, self._scale)

    def _pass_over(self) -> None:
        """Count a step of which nothing is recorded; its losses, a closure's too, are not the next's."""
        self._signals.take_loss()
        self._signals.take_backwards()
        self._monitor.unrecorded += 1
        self.step += 1
        for source in self._sources:
            source.arm(self.step)

    def _hand_on(self, sample: Sample) -> None:
        for source in self._sources:
            source.take(sample)
        self._send(sample)
        for source in self._sources:
            source.arm(self.step)

    def _send(self, sample: Sample) -> None:
        self.step += 1
        if not self._monitor.records:
            return
        sample.send(alike=self._alike)
        self._gauge.arrays.next_step()
        self._burst.put(sample)


def _ends_of(groups: Sequence[dict[str, Any]]) -> tuple[Any, Any]:
    """Return the first and the last parameter: enough to see that all were exchanged."""
    filled = [group["params"] for group in groups if group["params"]]
    return (filled[0][0], filled[-1][-1]) if filled else (None, None)


def _is_measurable(parameter: Tensor) -> bool:
    """Return whether a parameter has numbers, and of a kind that can be computed with."""
    if torch.nn.parameter.is_lazy(parameter) or not parameter.numel():
        return False
    kind = parameter.dtype
    return kind.is_complex or (kind.is_floating_point and kind.itemsize > 1)
