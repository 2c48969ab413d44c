"""What a model is fed with: pictures and words, at steps that want them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from orchestrator_runtime.hook.pytorch.outputs import compiles
from orchestrator_runtime.hook.wishes import ARRAY, IMAGES, SEQUENCES

if TYPE_CHECKING:
    from orchestrator_runtime.hook.monitor import Monitor
    from orchestrator_runtime.hook.pytorch.arrays import Arrays, Copy
    from orchestrator_runtime.hook.pytorch.names import ModuleNames
    from orchestrator_runtime.hook.pytorch.sample import Sample

COLLECTIONS = (IMAGES, SEQUENCES)
IMAGE_AXES = 4
_WORDS = (torch.int64, torch.int32)


class Batches:
    """Takes the first pictures of a step, and what each embedding is given first.

    Pictures are a floating-point input with four axes and no history. Modules are called from
    outside in, so that is the outermost model's, unless it is given by name.
    """

    def __init__(self, monitor: Monitor, arrays: Arrays, names: ModuleNames) -> None:
        self._monitor = monitor
        self._arrays = arrays
        self._names = names
        self._handle: Any = None
        self._wanted: set[str] = set()
        self._done: set[object] = set()
        self._copies: list[Copy] = []

    def arm(self, step: int) -> None:
        """Hook the modules if a step's inputs are wanted; those of step 0 are taken at step 1."""
        due = self._monitor.schedule.due(0 if step == 1 else step)
        self._wanted = {name for name in COLLECTIONS if f"{name}/{ARRAY}" in due}
        if not self._wanted or self._handle is not None:
            return
        if compiles():
            self._monitor.note("inputs of compiled models are not recorded")
            return
        self._handle = nn.modules.module.register_module_forward_pre_hook(self._before_forward)

    def take(self, sample: Sample) -> None:
        """Remove the hooks, and hand on what they saw."""
        if self._handle is not None:
            sample.arrays += self._copies
            self.disarm()

    def close(self) -> None:
        """Remove the hooks."""
        self.disarm()

    def disarm(self) -> None:
        """Remove the hooks, and forget what they have seen."""
        if self._handle is not None:
            self._handle.remove()
        self._handle, self._copies, self._done = None, [], set()

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
