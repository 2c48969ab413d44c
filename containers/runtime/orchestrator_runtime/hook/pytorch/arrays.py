"""Whole tensors on their way to the trace: copied when they are seen, made an `Array` later."""

from __future__ import annotations

import ctypes
import sys
from typing import TYPE_CHECKING

import torch

from orchestrator_runtime.hook.pytorch import shards
from orchestrator_runtime.hook.pytorch.graphs import capturing
from orchestrator_runtime.hook.pytorch.units import histogram
from orchestrator_runtime.hook.room import Room
from orchestrator_runtime.trace.kinds import HISTOGRAM
from orchestrator_runtime.trace.record import HISTOGRAM_SUFFIX, Array

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from orchestrator_runtime.hook.wishes import Patterns

_OTHERS = {"bfloat16": "float32", "int8": "int32", "int16": "int32"}
_SAME = ("float32", "float64", "float16", "int64", "int32", "uint8", "bool")


class Copy:
    """A tensor of main memory that is being filled."""

    def __init__(
        self, collection: str, name: str, values: Tensor, done: torch.cuda.Event | None
    ) -> None:
        self.collection = collection
        self._name = name
        self._values = values
        self._done = done

    def arrived(self) -> bool:
        """Return whether reading would not have to wait."""
        return self._done is None or bool(self._done.query())  # type: ignore[no-untyped-call]

    def is_here(self) -> bool:
        """Return whether it comes from main memory."""
        return self._done is None

    def finish(self, step: int) -> Array:
        """Wait for it, and return it as the trace has it."""
        if self._done is not None:
            self._done.synchronize()
        values = self._values
        kind = str(values.dtype).partition(".")[2]
        return Array(self._name, self.collection, step, kind, tuple(values.shape), _bytes(values))


class Arrays:
    """Starts the copies of one process; says once what is left out."""

    def __init__(self, patterns: Patterns, tell: Callable[[str], None]) -> None:
        self._patterns = patterns
        self._room = Room(tell)

    def next_step(self) -> None:
        """Begin a step, which has room of its own."""
        self._room.next_step()

    def chosen(self, series: str, name: str, tensor: Tensor, role: str = "") -> Copy | None:
        """Copy a tensor, or its histogram, if its name is one of those that are wanted."""
        if not self._patterns.hold(series, name, role):
            return None
        collection, _, statistic = series.partition("/")
        if statistic == HISTOGRAM:
            return self.histogram(collection, name, tensor)
        return self.whole(collection, name, tensor)

    def histogram(self, collection: str, name: str, tensor: Tensor) -> Copy | None:
        """Copy a tensor's histogram."""
        if shards.is_spread(tensor) or tensor.is_sparse or not tensor.numel():
            self._room.leave_out(
                f"histograms of {collection}",
                f"of {name} and its like: it is empty, sparse or spread over processes",
            )
            return None
        return self.whole(collection + HISTOGRAM_SUFFIX, name, histogram(tensor))

    def whole(self, collection: str, name: str, tensor: Tensor) -> Copy | None:
        """Copy a tensor; None, with a remark, where it cannot be recorded or is too large."""
        kind = _kind(tensor)
        if kind is None:
            self._room.leave_out(
                f"arrays of {collection}", f"{name} and its like: {_why_not(tensor)}"
            )
            return None
        size = tensor.numel() * torch.empty((), dtype=kind).element_size()
        if not self._room.takes(f"array {collection}/{name}", size):
            return None
        return Copy(collection, name, *_start(tensor.detach(), kind))


def has_memory(tensor: Tensor) -> bool:
    """Return whether a tensor is one by itself, not one of `torch.func`, a trace or a graph."""
    functions = getattr(torch._C, "_functorch", None)
    wrapped = getattr(functions, "is_functorch_wrapped_tensor", None)
    if wrapped is not None and wrapped(tensor):
        return False
    if capturing():
        return False
    return not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]


def _kind(tensor: Tensor) -> torch.dtype | None:
    """Return the type by which a tensor is recorded."""
    if shards.is_spread(tensor) or tensor.layout != torch.strided or tensor.is_quantized:
        return None
    if not has_memory(tensor):
        return None
    name = str(tensor.dtype).partition(".")[2]
    if name in _SAME:
        return tensor.dtype
    other = _OTHERS.get(name, "float32" if name.startswith("float8") else "")
    return getattr(torch, other) if other else None


def _why_not(tensor: Tensor) -> str:
    if shards.is_spread(tensor):
        return "it is spread over processes"
    if not has_memory(tensor):
        return "it is within a transformation of torch.func, traced, or in a CUDA graph"
    return f"tensors of {tensor.dtype} with layout {tensor.layout} are not recorded"


def _start(tensor: Tensor, kind: torch.dtype) -> tuple[Tensor, torch.cuda.Event | None]:
    """Start the copy; what the device is told to do later does not change it any more."""
    if tensor.device.type != "cuda":
        return tensor.to("cpu", kind, copy=True).contiguous(), None
    kept = torch.empty(tensor.shape, dtype=kind, device="cpu", pin_memory=True)
    kept.copy_(tensor.to(kind), non_blocking=True)
    done = torch.cuda.Event()  # type: ignore[no-untyped-call]
    done.record()
    return kept, done


def _bytes(values: Tensor) -> bytes:
    """Return the elements in little-endian order; without NumPy, which PyTorch may lack."""
    size = values.element_size()
    if sys.byteorder == "big" and size > 1 and values.numel():
        values = values.reshape(-1, 1).view(torch.uint8).flip(1).contiguous()
        size = 1
    return ctypes.string_at(values.data_ptr(), values.numel() * size) if values.numel() else b""
