"""Puts listeners around methods of Keras and TensorFlow without anybody noticing."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def around(owner: Any, name: str, listener: Callable[..., Any]) -> None:
    """Replace a method or function by ``listener(original, ...)``, with the same arguments.

    The wrapper keeps the name of the method's module: AutoGraph leaves the methods of TensorFlow
    and Keras as they are, and what they call too.
    """
    original = getattr(owner, name)

    @functools.wraps(original)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return listener(original, *args, **kwargs)

    setattr(owner, name, wrapped)
