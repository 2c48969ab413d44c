"""The methods of Keras and TensorFlow that the debugger listens at."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, NamedTuple

import tensorflow as tf

from orchestrator_runtime.hook.keras.patch import around

if TYPE_CHECKING:
    from orchestrator_runtime.hook.keras.adapter import Adapter

Original = Any


class Places(NamedTuple):
    """Where the classes are."""

    optimizer: Any
    update: str
    apply: str
    scaler: Any
    callbacks: Any
    layer: Any
    unwatched: tuple[Any, ...] = ()


def places_of(package: str) -> Places | None:
    """Return the places in an imported Keras; None if it is made otherwise."""
    try:
        return _keras3() if package == "keras" and _is_keras3() else _legacy(package)
    except (ImportError, AttributeError):
        return None


def _is_keras3() -> bool:
    return hasattr(importlib.import_module("keras"), "ops")


def _keras3() -> Places | None:
    optimizer = importlib.import_module("keras.src.optimizers.base_optimizer").BaseOptimizer
    native = importlib.import_module("keras.src.backend.tensorflow.optimizer").TFOptimizer
    scaler = importlib.import_module("keras.src.optimizers.loss_scale_optimizer")
    callbacks = importlib.import_module("keras.src.callbacks.callback_list").CallbackList
    layer = importlib.import_module("keras.src.layers.layer").Layer
    for name in ("apply", "scale_loss", "_clip_gradients", "_backend_apply_gradients"):
        if not hasattr(optimizer, name):
            return None
    if "_backend_update_step" not in vars(native):
        return None
    scaler = scaler.LossScaleOptimizer
    return Places(native, "_backend_update_step", "apply", scaler, callbacks, layer)


def _legacy(package: str) -> Places | None:
    optimizer = importlib.import_module(f"{package}.src.optimizers.optimizer").Optimizer
    scaler = importlib.import_module(f"{package}.src.mixed_precision.loss_scale_optimizer")
    callbacks = importlib.import_module(f"{package}.src.callbacks").CallbackList
    for name in ("apply_gradients", "_clip_gradients", "_internal_apply_gradients"):
        if not hasattr(optimizer, name):
            return None
    scaler = scaler.LossScaleOptimizerV3
    name = f"{package}.src.optimizers.legacy.optimizer_v2"
    older = (importlib.import_module(name).OptimizerV2,)
    update = "_internal_apply_gradients"
    return Places(optimizer, update, "apply_gradients", scaler, callbacks, None, older)


def listen(adapter: Adapter, places: Places) -> None:
    """Put the listeners in. They stay for the life of the process."""
    listeners = Listeners(adapter)
    modern = places.apply == "apply"
    for owner in (places.optimizer, places.scaler):
        around(owner, places.apply, listeners.apply if modern else listeners.apply_pairs)
    around(places.optimizer, "_clip_gradients", listeners.clip)
    around(places.optimizer, places.update, listeners.update if modern else listeners.update_pairs)
    if modern:
        around(places.optimizer, "scale_loss", listeners.scale_loss)
        around(places.scaler, "scale_loss", listeners.scale_loss)
        around(places.optimizer, "_backend_apply_gradients", listeners.accumulate)
        around(places.scaler, "_stateful_handle_non_finite_grads", listeners.skip)
    else:
        around(places.scaler, "get_scaled_loss", listeners.scale_loss)
    if places.layer is not None and adapter.monitor.schedule.has("outputs/"):
        around(places.layer, "__call__", listeners.call)
    around(places.callbacks, "on_epoch_end", listeners.epoch_end)
    around(places.callbacks, "on_train_batch_end", listeners.batch_end)
    around(tf.GradientTape, "gradient", listeners.gradient)
    around(tf, "clip_by_global_norm", listeners.clip_by_norm)
    for place in places.unwatched:
        around(place, "apply_gradients", listeners.unwatched)


class Listeners:
    """Wrappers that call the original, whatever happens to the debugger."""

    def __init__(self, adapter: Adapter) -> None:
        guard = adapter.guard
        self._enter = guard(adapter.enter)
        self._leave = guard(adapter.leave)
        self._scaled = guard(adapter.scaled)
        self._accumulate = guard(adapter.accumulate)
        self._before = guard(adapter.before)
        self._after = guard(adapter.after)
        self._skipped = guard(adapter.skipped)
        self._on_call = guard(adapter.outputs.on_call)
        self._on_gradient = guard(adapter.signals.on_gradient)
        self._on_clip = guard(adapter.signals.on_clip)
        self._unwatched = guard(adapter.unwatched)
        self._epoch = guard(lambda lists, logs: adapter.epoch(_model(lists).optimizer, logs or {}))
        self._batch = guard(lambda lists: adapter.batch(_steps_per_execution(_model(lists))))

    def apply(self, original: Original, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """Around ``apply(grads, trainable_variables)``."""
        self._enter(args[0] if args else kwargs.get("grads", ()))
        try:
            return original(optimizer, *args, **kwargs)
        finally:
            self._leave()

    def apply_pairs(
        self, original: Original, optimizer: Any, grads_and_vars: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """Around ``apply_gradients(grads_and_vars)``, which may be given an iterator."""
        pairs = list(grads_and_vars)
        self._enter([pair[0] for pair in pairs], [pair[1] for pair in pairs])
        try:
            return original(optimizer, pairs, *args, **kwargs)
        finally:
            self._leave()

    def scale_loss(self, original: Original, optimizer: Any, loss: Any) -> Any:
        """Around ``scale_loss(loss)``."""
        result = original(optimizer, loss)
        self._scaled(optimizer, loss, result)
        return result

    def accumulate(self, original: Original, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """Around what is called with the gradients of each micro batch."""
        self._accumulate(optimizer)
        return original(optimizer, *args, **kwargs)

    def clip(self, original: Original, optimizer: Any, grads: Any) -> Any:
        """Around ``_clip_gradients(grads)``, which only an executed step calls."""
        self._before(optimizer, grads)
        return original(optimizer, grads)

    def update(
        self,
        original: Original,
        optimizer: Any,
        grads: Any,
        trainable_variables: Any,
        learning_rate: Any,
    ) -> Any:
        """Around the update of the weights."""
        result = original(optimizer, grads, trainable_variables, learning_rate)
        self._after(optimizer, grads, trainable_variables, learning_rate)
        return result

    def update_pairs(self, original: Original, optimizer: Any, grads_and_vars: Any) -> Any:
        """Around the update of the weights."""
        result = original(optimizer, grads_and_vars)
        self._after(
            optimizer,
            [pair[0] for pair in grads_and_vars],
            [pair[1] for pair in grads_and_vars],
            optimizer.learning_rate,
        )
        return result

    def skip(self, original: Original, optimizer: Any) -> Any:
        """Around what a scaler does instead of a step."""
        result = original(optimizer)
        self._skipped(optimizer.inner_optimizer)
        return result

    def call(self, original: Original, layer: Any, *args: Any, **kwargs: Any) -> Any:
        """Around the call of a layer."""
        result = original(layer, *args, **kwargs)
        self._on_call(layer, result)
        return result

    def gradient(
        self, original: Original, tape: Any, target: Any, sources: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """Around ``gradient(target, sources)``."""
        result = original(tape, target, sources, *args, **kwargs)
        self._on_gradient(target, sources, result)
        return result

    def clip_by_norm(self, original: Original, *args: Any, **kwargs: Any) -> Any:
        """Around ``tf.clip_by_global_norm``, which returns tensors and their norm."""
        result = original(*args, **kwargs)
        self._on_clip(result)
        return result

    def unwatched(self, original: Original, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """Around the steps of optimizers before Keras 2.11, which are kept as ``legacy``."""
        self._unwatched(optimizer)
        return original(optimizer, *args, **kwargs)

    def epoch_end(self, original: Original, lists: Any, epoch: Any, logs: Any = None) -> Any:
        """After the callbacks of an epoch's end."""
        result = original(lists, epoch, logs)
        self._epoch(lists, logs)
        return result

    def batch_end(self, original: Original, lists: Any, batch: Any, logs: Any = None) -> Any:
        """After the callbacks of a batch's end."""
        result = original(lists, batch, logs)
        self._batch(lists)
        return result


def _model(lists: Any) -> Any:
    model = getattr(lists, "_model", None)
    return lists.model if model is None else model


def _steps_per_execution(model: Any) -> int:
    steps = getattr(model, "steps_per_execution", 1)
    return steps if isinstance(steps, int) else 1
