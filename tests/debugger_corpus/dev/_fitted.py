"""Losses of a ``fit``."""

from __future__ import annotations

from typing import Any


def losses_of(every: int = 1) -> Any:
    """Return a callback that keeps each batch's own loss; ``every``: steps of one execution."""
    import keras

    class Losses(keras.callbacks.Callback):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.kept: list[float] = []

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            self.model.reset_metrics()

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.kept += [float(logs["loss"])] * every

    return Losses()
