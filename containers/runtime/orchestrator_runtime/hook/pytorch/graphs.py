"""Keeps the debugger's code out of the graphs that ``torch.compile`` makes."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

_disabled: Callable[..., Any] = torch._disable_dynamo  # type: ignore[attr-defined]
"""``torch.compiler.disable``, but for the second that its import costs programs that never compile."""


def outside_graphs(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function so that a graph that would contain it is broken there."""
    apart = _disabled(function)

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():
            return apart(*args, **kwargs)
        return function(*args, **kwargs)

    return called
