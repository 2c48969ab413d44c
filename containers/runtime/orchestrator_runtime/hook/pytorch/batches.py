"""What a model is fed with: pictures and words, at steps that want them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from orchestrator_runtime.hook.pytorch.hooked import HookedModules
from orchestrator_runtime.trace.kinds import ARRAY, IMAGES, SEQUENCES

if TYPE_CHECKING:
    from orchestrator_runtime.hook.monitor import Monitor
    from orchestrator_runtime.hook.pytorch.arrays import Arrays, Copy
    from orchestrator_runtime.hook.pytorch.names import ModuleNames
    from orchestrator_runtime.hook.pytorch.sample import Sample

COLLECTIONS = (IMAGES, SEQUENCES)
IMAGE_AXES = 4
_WORDS = (torch.int64, torch.int32)


class Batches(HookedModules):
    """Takes the first pictures of a step, and what each embedding is given first.

    Pictures are a floating-point input with four axes and no history. Modules are called from
    outside in, so that is the outermost model's, unless it is given by name.
    """

    what = "inputs"

    def __init__(self, monitor: Monitor, arrays: Arrays, names: ModuleNames) -> None:
        super().__init__(monitor)
        self._arrays = arrays
        self._names = names
        self._wanted: set[str] = set()
        self._done: set[object] = set()
        self._copies: list[Copy] = []

    def wanted(self, step: int) -> bool:
        """Return whether a step's batches are wanted."""
        due = self._monitor.schedule.due(0 if step == 1 else step)
        self._wanted = {name for name in COLLECTIONS if f"{name}/{ARRAY}" in due}
        return bool(self._wanted)

    def register(self) -> Any:
        """Hook all modules."""
        return nn.modules.module.register_module_forward_pre_hook(self._before_forward)

    def hand_on(self, sample: Sample) -> None:
        """Put copies of the batches into a sample."""
        sample.arrays += self._copies

    def forget(self) -> None:
        """Let go of what was seen."""
        self._copies, self._done = [], set()

    @torch.no_grad()
    def _look(self, module: nn.Module, given: tuple[Any, ...]) -> None:
        if SEQUENCES in self._wanted and isinstance(module, nn.Embedding):
            words = given[0] if given else None
            if isinstance(words, torch.Tensor) and words.dtype in _WORDS:
                self._keep(SEQUENCES, id(module), module, words)
        if IMAGES in self._wanted and IMAGES not in self._done:
            for tensor in given:
                if _is_image(tensor):
                    self._keep(IMAGES, IMAGES, module, tensor)
                    return

    def _keep(self, collection: str, key: object, module: nn.Module, tensor: torch.Tensor) -> None:
        if key in self._done:
            return
        self._done.add(key)
        name = f"{self._names.of(module)}_input_0"
        copy = self._arrays.chosen(f"{collection}/{ARRAY}", name, tensor)
        self._copies += [] if copy is None else [copy]

    def _before_forward(self, module: nn.Module, given: tuple[Any, ...]) -> None:
        try:
            if self._wanted and module.training and torch.is_grad_enabled():
                self._look(module, given)
        except Exception as error:  # noqa: BLE001 -- a forward pass is the program's own
            self._monitor.note(f"inputs are not recorded: {type(error).__name__}: {error}")
            self._wanted = set()


def _is_image(tensor: Any) -> bool:
    return (
        isinstance(tensor, torch.Tensor)
        and tensor.dim() == IMAGE_AXES
        and tensor.is_floating_point()
        and tensor.grad_fn is None
    )
