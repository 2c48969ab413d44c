"""Labels and predictions: what loss functions are given, at steps that want them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from orchestrator_runtime.hook.pytorch.arrays import has_memory
from orchestrator_runtime.hook.pytorch.entry import telling
from orchestrator_runtime.trace.kinds import ARRAY, LABELS, PREDICTIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator_runtime.hook.monitor import Monitor
    from orchestrator_runtime.hook.pytorch.arrays import Arrays, Copy
    from orchestrator_runtime.hook.pytorch.sample import Sample

LOSSES = (
    "cross_entropy",
    "nll_loss",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "mse_loss",
    "l1_loss",
    "smooth_l1_loss",
    "huber_loss",
    "soft_margin_loss",
    "multi_margin_loss",
    "kl_div",
    "poisson_nll_loss",
    "gaussian_nll_loss",
)
"""Functions of torch.nn.functional with arguments ``input`` and ``target``; the loss modules call
them there. They are wrapped only where labels or predictions are wanted."""
MOST_CALLS = 256
"""Losses of one step that are looked at; a program that never steps must not fill the memory."""


class Labels:
    """Takes the arguments of losses that train, in the order of the calls, labels first."""

    def __init__(self, monitor: Monitor, arrays: Arrays) -> None:
        self._monitor = monitor
        self._arrays = arrays
        self._wanted: set[str] = set()
        self._calls = 0
        self._copies: list[Copy] = []
        self._undo = [wrap(functional, name, self._on_loss) for name in LOSSES]
        self.arm(0)

    def arm(self, step: int) -> None:
        """Look at the losses of a step if they are wanted."""
        due = self._monitor.schedule.due(step)
        self._wanted = {name for name in (LABELS, PREDICTIONS) if f"{name}/{ARRAY}" in due}

    def take(self, sample: Sample) -> None:
        """Hand on what was seen."""
        sample.arrays += self._copies
        self._copies, self._calls, self._wanted = [], 0, set()

    def disarm(self) -> None:
        """Forget what was seen; another optimizer's first step is next."""
        self._copies, self._calls = [], 0
        self.arm(0)

    def close(self) -> None:
        """Put PyTorch's own functions back."""
        self._wanted, self._copies = set(), []
        for undo in self._undo:
            undo()

    def _on_loss(self, arguments: tuple[Any, ...], named: dict[str, Any], loss: Any) -> None:
        if not self._wanted:
            return
        try:
            if isinstance(loss, torch.Tensor) and loss.requires_grad and has_memory(loss):
                predictions = arguments[0] if arguments else named.get("input")
                labels = arguments[1] if len(arguments) > 1 else named.get("target")
                self._keep({LABELS: labels, PREDICTIONS: predictions})
        except Exception as error:  # noqa: BLE001 -- the loss is the program's own
            self._monitor.note(f"labels are not recorded: {type(error).__name__}: {error}")
            self._wanted = set()

    @torch.no_grad()
    def _keep(self, tensors: dict[str, Any]) -> None:
        if self._calls >= MOST_CALLS:
            return
        end = f"_{self._calls}" if self._calls else ""
        self._calls += 1
        for collection, tensor in tensors.items():
            if collection in self._wanted and isinstance(tensor, torch.Tensor):
                copy = self._arrays.chosen(f"{collection}/{ARRAY}", collection + end, tensor)
                self._copies += [] if copy is None else [copy]


def wrap(
    owner: Any, name: str, after: Callable[[tuple[Any, ...], dict[str, Any], Any], None]
) -> Callable[[], None]:
    """Have a function tell its arguments and result; return what takes that back.

    Compiled (torch.compile, TorchScript) it is the function alone: a look from inside would break
    the graph.
    """
    original = getattr(owner, name)

    def tell(result: Any, *args: Any, **kwargs: Any) -> None:
        if not torch.compiler.is_compiling():
            after(args, kwargs, result)

    wrapped = telling(original, tell)
    # TorchScript compiles what this returns.
    wrapped.__prepare_scriptable__ = lambda: original  # type: ignore[attr-defined]

    def undo() -> None:
        if getattr(owner, name) is wrapped:  # else somebody else has wrapped it since
            setattr(owner, name, original)

    setattr(owner, name, wrapped)
    return undo
