"""Variables of the debugger's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf
from tensorflow.python.ops.resource_variable_ops import ResourceVariable

if TYPE_CHECKING:
    from collections.abc import Callable


def variable(value: Callable[[], Any], name: str, device: str) -> Any:
    """Make a variable, also while the graph of a function is made.

    ``tf.Variable`` would ask that function, which allows none but at its first call, and a
    distribution strategy, which would make one for each replica.
    """
    with tf.init_scope(), tf.device(device):
        return ResourceVariable(value(), trainable=False, name=f"orchestrator_{name}")
