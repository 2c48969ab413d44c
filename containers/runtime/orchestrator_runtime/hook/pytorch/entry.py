"""How PyTorch gets into the debugger's code, several times in each step: one frame for all checks."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any

import torch

from orchestrator_runtime.hook.pytorch.graphs import is_whole_graph, kept_apart

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator_runtime.hook.guard import Guard

_is_recording: Callable[[], bool] = torch.is_grad_enabled
_record: Callable[[bool], Any] = torch._C._set_grad_enabled
"""What ``torch.no_grad`` calls; its objects cost more than most steps' numbers."""


def entry(function: Callable[..., Any], guard: Guard) -> Callable[..., Any]:
    """Wrap a function that PyTorch or the program calls: nothing of it reaches the program.

    It is outside graphs (`outside_graphs`), guarded, and autograd does not see what it computes.
    """

    def quiet(*args: Any, **kwargs: Any) -> Any:
        if not guard.open:
            return None
        was_recording = _is_recording()
        _record(False)
        try:
            return function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 -- what a guard is for
            guard.caught(error)
            return None
        finally:
            _record(was_recording)

    apart = kept_apart(quiet)

    @functools.wraps(function, updated=())
    def called(*args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():
            return None if is_whole_graph() else apart(*args, **kwargs)
        return quiet(*args, **kwargs)

    return called


def telling(original: Callable[..., Any], tell: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that tells ``tell(result, *its arguments)`` behind each call.

    A call within a call tells nothing: where a mode is on, such as that of
    ``torch.set_default_device``, PyTorch has its functions call themselves by their names.
    """
    calling = threading.local()

    @functools.wraps(original)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():
            result = original(*args, **kwargs)
        elif getattr(calling, "now", False):
            return original(*args, **kwargs)
        else:
            calling.now = True
            try:
                result = original(*args, **kwargs)
            finally:
                calling.now = False
        tell(result, *args, **kwargs)
        return result

    return wrapped
