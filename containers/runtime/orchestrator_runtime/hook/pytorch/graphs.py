"""Keeps the debugger's code out of graphs: those of ``torch.compile``, and those of CUDA."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

kept_apart: Callable[..., Any] = torch._disable_dynamo  # type: ignore[attr-defined]
"""``torch.compiler.disable``, but for the second that its import costs programs that never compile."""
_whole_graphs: set[str] = set()


def outside_graphs(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function so that a graph that would contain it is broken there.

    Where the program allows no break (``fullgraph=True``) it is left out.
    """
    apart = kept_apart(function)

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():
            return None if is_whole_graph() else apart(*args, **kwargs)
        return function(*args, **kwargs)

    return called


def is_whole_graph() -> bool:
    """Return whether a break of the graph that Dynamo is making would be the program's error.

    Dynamo calls this by itself and takes the answer for a constant.
    """
    try:
        module = sys.modules["torch._dynamo.symbolic_convert"]
        translator = module.InstructionTranslator.current_tx()
        whole = translator.one_graph or getattr(translator, "error_on_graph_break", False)
    except (AttributeError, KeyError):  # another version of PyTorch: rather unseen than broken
        whole = True
    if whole:
        _whole_graphs.add("seen")
    return bool(whole)


is_whole_graph._dynamo_marked_constant = True  # type: ignore[attr-defined]


def whole_graphs_were_made() -> bool:
    """Return whether anything was left out of a graph that must not be broken."""
    return bool(_whole_graphs)


def capturing() -> bool:
    """Return whether a CUDA graph is being captured: what is done now would become a part of it."""
    return bool(torch.cuda.is_initialized()) and torch.cuda.is_current_stream_capturing()  # type: ignore[no-untyped-call]
