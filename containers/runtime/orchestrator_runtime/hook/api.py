"""``watch``, ``save_tensor``, ``save_scalar``: the debugger for those who call it themselves."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from orchestrator_runtime import records
from orchestrator_runtime.hook import given
from orchestrator_runtime.hook.wanted import Wanted, plan_of
from orchestrator_runtime.hook.watching import TrainingStopped, Watching
from orchestrator_runtime.rules.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["Finding", "TrainingStopped", "Watching", "save_scalar", "save_tensor", "watch"]

OWN_COLLECTIONS = frozenset(("weights", "biases", "gradients", "outputs", "inputs", "losses"))
"""Collections that the recorder fills itself."""


def watch(
    model: Any,
    optimizer: Any,
    *,
    rules: Iterable[Any] | Mapping[str, Mapping[str, Any]] | None = None,
    stop_on: Iterable[str] = (),
    every: Mapping[str, Any] | None = None,
    directory: Any = None,
    findings: Any = None,
    on_finding: Callable[[Finding], Any] | None = None,
    include: Iterable[str] = (),
    arrays: Mapping[str, Any] | None = None,
    histograms: Mapping[str, Any] | None = None,
    collections: Mapping[str, Any] | None = None,
) -> Watching:
    """Watch the training of a PyTorch model, from its optimizer's next step on.

    It needs no service and no environment. Training is the same with it, bit by bit. Close what is
    returned, or use it in a ``with`` statement. Where the debugger is in the program already (in a
    watched job) nothing is recorded twice: the model only gives names, and the handle shows what
    the job's debugger finds.

    Args:
        model: A ``torch.nn.Module``, or several in a list or tuple. Tensors are named after it.
        optimizer: A ``torch.optim.Optimizer``, or several; no others are watched.
        rules: Names of rules, ``module:Class`` or subclasses of ``Rule`` of your own; with
            parameters as a mapping, ``{"non_finite": {"loss_patience": 5}}``. None is all of ours.
        stop_on: Rules that end the training: ``TrainingStopped`` is raised from
            ``optimizer.step()``, and ends a ``with`` block silently. ``["all"]`` is all of them.
        every: Steps by series, ``{"gradients/l2": 10}``; 0 leaves it out. Or a mapping with
            every, start, end, steps.
        directory: Where the trace goes; None records nothing.
        findings: A file that gets a line of JSON for each finding.
        on_finding: Is called with each finding at the end of the optimizer's step. What it raises
            comes out of ``optimizer.step()``.
        include: Regular expressions: the trace has only the tensors that match. Rules see all.
        arrays: Whole tensors to record, by collection: steps, or a mapping with every and patterns.
        histograms: The same, for histograms.
        collections: Tensors under names of your own: ``{"mine": {"include": ["relu"], "every": 50,
            "statistics": ["array", "l2"]}}``; whole tensors without ``statistics``.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument has a value that cannot be; also RuleError.
    """
    models, optimizers = _modules(model), _optimizers(optimizer)
    plan = plan_of(
        Wanted(
            rules, stop_on, every, directory, findings, include, arrays, histograms, collections
        )
    )
    if on_finding is not None and not callable(on_finding):
        raise TypeError(
            f"on_finding must be callable with a finding, got {type(on_finding).__name__}"
        )
    return Watching(models, optimizers, plan, on_finding)


def save_scalar(name: str, value: Any) -> None:
    """Add a number to the next step's record; without anything watched it does nothing.

    Args:
        name: 1 to 255 printable characters, e.g. ``validation:loss``.
        value: What ``float()`` takes but text; one that is on a device is not waited for.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: The name is empty, too long, unprintable, or one that the recorder has itself.
    """
    name = records.checked_name(name)
    if name in given.RESERVED:
        raise ValueError(
            f"name must not be one that the recorder makes itself, got {name!r}; choose another"
        )
    if getattr(value, "numel", None) is not None and callable(getattr(value, "detach", None)):
        if value.numel() != 1:
            raise TypeError(f"value must be a single number, got a tensor of {value.numel()}")
        if given.anything_open():
            given.tell_scalar(name, value.detach().clone())
        return
    given.tell_scalar(name, records.checked_value(value))


def save_tensor(name: str, tensor: Any, collection: str = "custom") -> None:
    """Record a tensor as it is now, with the next step; without anything watched do nothing.

    Series of its collection, e.g. ``custom/zeros``, are measured where a rule or plan wants them.
    Collections ``labels`` and ``predictions`` feed the rules over classes.

    Args:
        name: 1 to 255 printable characters.
        tensor: A tensor, or what ``torch.as_tensor`` takes.
        collection: A name of your own.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: A name cannot be.
    """
    name = records.checked_name(name)
    if not isinstance(collection, str):
        raise TypeError(f"collection must be text, got {type(collection).__name__}")
    if not collection or "/" in collection or not collection.isprintable():
        raise ValueError(f"collection must be a name without /, got {collection!r}")
    if collection in OWN_COLLECTIONS:
        raise ValueError(
            f"collection must not be one that the recorder fills itself, got {collection!r}; "
            "choose another name, e.g. 'custom'"
        )
    if isinstance(tensor, (str, bytes)) or tensor is None:
        raise TypeError(f"tensor must be a tensor, got {type(tensor).__name__}")
    given.tell_tensor(name, tensor, collection)


def _modules(model: Any) -> list[Any]:
    torch = sys.modules.get("torch")
    models = list(model) if isinstance(model, (list, tuple)) else [model]
    for each in models:
        if torch is None or not isinstance(each, torch.nn.Module):
            raise TypeError(f"model must be a torch.nn.Module, got {type(each).__name__}")
    return models


def _optimizers(optimizer: Any) -> list[Any]:
    torch: Any = sys.modules["torch"]
    optimizers = list(optimizer) if isinstance(optimizer, (list, tuple)) else [optimizer]
    if not optimizers:
        raise ValueError("optimizer must be one at least, got an empty list")
    for each in optimizers:
        if not isinstance(each, torch.optim.Optimizer):
            raise TypeError(
                f"optimizer must be a torch.optim.Optimizer, got {type(each).__name__}; give the "
                "one that a wrapper holds, and models first: watch(model, optimizer)"
            )
    return optimizers
