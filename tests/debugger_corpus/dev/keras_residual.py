"""Keras: dense residual blocks for regression, trained with a GradientTape and ``optimizer.apply``.

The target is an even function of the inputs, so that a linear model learns nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy

from tests.debugger_corpus.dev._common import Family, constant, raised, ramp
from tests.debugger_corpus.scenario import Scenario

STEPS = 150
FEATURES = 4


def _logarithms() -> Any:
    import keras

    class Logarithms(keras.layers.Layer):  # type: ignore[misc]
        """Logarithms of the inputs beside them, as if none were 0."""

        def call(self, inputs: Any) -> Any:
            ops = keras.ops
            return ops.concatenate([inputs, ops.log(ops.abs(inputs))], axis=-1)

    return Logarithms()


def _norm(name: str) -> Any:
    import keras

    if name == "layer":
        return keras.layers.LayerNormalization()
    if name == "batch":
        return keras.layers.BatchNormalization(momentum=0.9)
    return keras.layers.Identity()


def _model(
    *,
    depth: int,
    norm: str,
    activation: str,
    gain: float,
    bias: float,
    skip: bool,
    start: str,
    logarithms: bool,
) -> Any:
    import keras

    inputs = keras.layers.Input((FEATURES,))

    def dense(scale: float = 1.0, **options: Any) -> Any:
        kernel = (
            keras.initializers.VarianceScaling(scale, mode="fan_in")
            if start == "scaled"
            else start
        )
        return keras.layers.Dense(32, kernel_initializer=kernel, **options)

    hidden = dense()(_logarithms()(inputs) if logarithms else inputs)
    for _ in range(depth):
        branch = dense(gain, bias_initializer=keras.initializers.Constant(bias))(
            _norm(norm)(hidden)
        )
        branch = keras.layers.Activation(activation)(branch)
        branch = dense(gain)(branch)
        hidden = keras.layers.Add()([hidden, branch]) if skip else _last(branch, activation)
    head = keras.layers.Dense(1, kernel_initializer="zeros" if start == "zeros" else None)
    return keras.Model(inputs, head(hidden))


def _last(branch: Any, activation: str) -> Any:
    import keras

    return keras.layers.Activation(activation)(branch)


def _target(inputs: numpy.ndarray) -> numpy.ndarray:
    values = numpy.abs(inputs).sum(axis=1, keepdims=True)
    # Mean and deviation of a sum of absolute normal numbers.
    target: numpy.ndarray = (values - FEATURES * 0.798) / (0.603 * FEATURES**0.5)
    return target


def _train(
    seed: int,
    *,
    depth: int = 3,
    norm: str = "layer",
    activation: str = "relu",
    gain: float = 1.0,
    bias: float = 0.0,
    skip: bool = True,
    start: str = "scaled",
    optimizer: str = "Adam",
    lr: float = 5e-3,
    settings: dict[str, Any] | None = None,
    schedule: Callable[[int], float] = constant,
    total: bool = False,
    units: float = 1.0,
    logarithms: bool = False,
    zero_at: int = -1,
    compiled: bool = True,
) -> Iterator[float]:
    import keras
    import tensorflow

    keras.utils.set_random_seed(seed)
    generator = numpy.random.default_rng(seed)
    model = _model(
        depth=depth,
        norm=norm,
        activation=activation,
        gain=gain,
        bias=bias,
        skip=skip,
        start=start,
        logarithms=logarithms,
    )
    chosen = getattr(keras.optimizers, optimizer)(learning_rate=lr, **(settings or {}))
    chosen.build(model.trainable_variables)

    def one_step(inputs: Any, targets: Any) -> Any:
        with tensorflow.GradientTape() as tape:
            errors = tensorflow.square(model(inputs, training=True) - targets)
            mean = tensorflow.reduce_mean(errors)
            loss = tensorflow.reduce_sum(errors) if total else mean
        gradients = tape.gradient(loss, model.trainable_variables)
        chosen.apply(gradients, model.trainable_variables)
        return mean

    if compiled:
        one_step = tensorflow.function(one_step)
    for step in range(STEPS):
        inputs = generator.normal(size=(64, FEATURES))
        targets = _target(inputs)
        if step == zero_at:
            inputs[7, 2] = 0.0
        chosen.learning_rate = lr * schedule(step)
        loss = one_step(
            tensorflow.constant(units * inputs, dtype="float32"),
            tensorflow.constant(targets, dtype="float32"),
        )
        yield float(loss)


KERAS = Family("keras_residual", _train, STEPS, 1.0, "keras")
MOMENTUM = {"momentum": 0.9, "nesterov": True}

SCENARIOS: tuple[Scenario, ...] = (
    KERAS.healthy("keras_residual_layer_norm"),
    KERAS.healthy("keras_residual_batch_norm", norm="batch", lr=0.01),
    KERAS.healthy(
        "keras_residual_clipped",
        "clipped in every step; Nesterov",
        optimizer="SGD",
        lr=0.05,
        settings={**MOMENTUM, "global_clipnorm": 0.5},
    ),
    KERAS.healthy("keras_residual_tanh_10", "deep", activation="tanh", depth=10, gain=0.3),
    KERAS.healthy(
        "keras_residual_logarithms",
        "loop without tf.function",
        logarithms=True,
        depth=1,
        compiled=False,
    ),
    KERAS.healthy(
        "keras_residual_tanh_plain",
        "no skips",
        activation="tanh",
        depth=2,
        skip=False,
        norm="none",
        optimizer="SGD",
        lr=0.05,
        settings=MOMENTUM,
    ),
    KERAS.healthy(
        "keras_residual_large_units", "inputs in odd units, normalised", norm="batch", units=300.0
    ),
    KERAS.ill(
        "keras_residual_no_skip",
        "vanishing",
        "keras_residual_tanh_10",
        norm="none",
        skip=False,
        depth=10,
        gain=0.3,
        activation="tanh",
    ),
    KERAS.ill(
        "keras_residual_no_norm_large_gain",
        "exploding",
        "keras_residual_clipped",
        "non_finite",
        "initialization",
        norm="none",
        gain=6.0,
        depth=6,
        optimizer="SGD",
        lr=0.05,
        settings=MOMENTUM,
    ),
    KERAS.ill(
        "keras_residual_lr_ramp_clipped",
        "exploding",
        "keras_residual_clipped",
        trap="clipped: the loss grows, the updates follow the rate",
        onset=70,
        optimizer="SGD",
        lr=0.05,
        settings={**MOMENTUM, "global_clipnorm": 0.5},
        schedule=ramp(70, 1.15),
    ),
    KERAS.ill(
        "keras_residual_zero_input",
        "non_finite",
        "keras_residual_logarithms",
        onset=80,
        trap="log(0) in features by hand",
        logarithms=True,
        depth=1,
        zero_at=80,
        compiled=False,
    ),
    KERAS.ill(
        "keras_residual_dead_branches",
        "dead",
        "keras_residual_layer_norm",
        "vanishing",
        "initialization",
        trap="the skips stay alive",
        bias=-40.0,
    ),
    KERAS.ill(
        "keras_residual_saturated",
        "saturated",
        "keras_residual_tanh_plain",
        "vanishing",
        "initialization",
        activation="tanh",
        depth=2,
        skip=False,
        gain=1e3,
        norm="none",
        optimizer="SGD",
        lr=0.05,
        settings={**MOMENTUM, "clipvalue": 0.1},
    ),
    KERAS.ill(
        "keras_residual_all_zero",
        "initialization",
        "keras_residual_layer_norm",
        "vanishing",
        "unchanged",
        start="zeros",
    ),
    KERAS.ill(
        "keras_residual_rate_ends_at_once",
        "unchanged",
        "keras_residual_layer_norm",
        onset=3,
        schedule=raised(3, 0.0),
        lr=1e-3,
    ),
)
