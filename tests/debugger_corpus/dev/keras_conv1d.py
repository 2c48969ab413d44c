"""Keras: convolutions over generated signals, trained with ``train_on_batch`` in several ways."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy

from tests.debugger_corpus.dev._common import Family, constant, raised, ramp
from tests.debugger_corpus.scenario import Scenario

STEPS = 100
CLASSES = 4


def _model(
    *, blocks: int, activation: str, norm: bool, separable: bool, start: Any, bias: float
) -> Any:
    import keras

    kind = keras.layers.SeparableConv1D if separable else keras.layers.Conv1D
    layers: list[Any] = [keras.layers.Input((32, 2))]
    for _ in range(blocks):
        options: dict[str, Any] = {"bias_initializer": keras.initializers.Constant(bias)}
        if start is not None and not separable:
            options["kernel_initializer"] = start()
        layers.append(kind(12, 5, padding="same", **options))
        if norm:
            layers.append(keras.layers.BatchNormalization(momentum=0.9))
        layers.append(keras.layers.Activation(activation))
    return keras.Sequential(
        [
            *layers,
            keras.layers.AveragePooling1D(8),
            keras.layers.Flatten(),
            keras.layers.Dense(CLASSES),
        ]
    )


def _small() -> Any:
    import keras

    return keras.initializers.RandomNormal(stddev=0.02)


def _zeros() -> Any:
    import keras

    return keras.initializers.Zeros()


def _train(
    seed: int,
    *,
    blocks: int = 2,
    activation: str = "relu",
    norm: bool = False,
    separable: bool = False,
    start: Callable[[], Any] | None = None,
    bias: float = 0.0,
    optimizer: str = "Adam",
    lr: float = 5e-3,
    schedule: Callable[[int], float] = constant,
    compiling: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    broken_from: int = STEPS,
) -> Iterator[float]:
    import keras

    keras.utils.set_random_seed(seed)
    generator = numpy.random.default_rng(seed)
    prototypes = generator.normal(size=(CLASSES, 8, 2)).repeat(4, axis=1)
    model = _model(
        blocks=blocks,
        activation=activation,
        norm=norm,
        separable=separable,
        start=start,
        bias=bias,
    )
    model.compile(
        optimizer=getattr(keras.optimizers, optimizer)(learning_rate=lr, **(options or {})),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        **(compiling or {}),
    )
    for step in range(STEPS):
        classes = generator.integers(0, CLASSES, 32)
        signals = prototypes[classes] + 0.5 * generator.normal(size=(32, 32, 2))
        if step >= broken_from:
            # A sensor drops out: one channel of one signal is NaN.
            signals[3, :, 1] = numpy.nan
        model.optimizer.learning_rate = lr * schedule(step)
        model.reset_metrics()
        yield float(model.train_on_batch(signals.astype("float32"), classes))


KERAS = Family("keras_conv1d", _train, STEPS, math.log(CLASSES), "keras")

SCENARIOS: tuple[Scenario, ...] = (
    KERAS.healthy("keras_conv1d_relu"),
    KERAS.healthy("keras_conv1d_tanh", activation="tanh"),
    KERAS.healthy("keras_conv1d_swish_sgd", activation="swish", optimizer="SGD", lr=0.1),
    KERAS.healthy(
        "keras_conv1d_clipped_momentum",
        "clipped in every step",
        optimizer="SGD",
        lr=0.1,
        options={"momentum": 0.9, "global_clipnorm": 0.1},
    ),
    KERAS.healthy(
        "keras_conv1d_separable",
        norm=True,
        separable=True,
        optimizer="RMSprop",
    ),
    KERAS.healthy(
        "keras_conv1d_norm_8", "small start before BatchNorm", blocks=8, norm=True, start=_small
    ),
    KERAS.healthy("keras_conv1d_eager", compiling={"run_eagerly": True}, blocks=1, lr=1e-2),
    KERAS.healthy("keras_conv1d_sigmoid_1", blocks=1, activation="sigmoid", lr=2e-2),
    KERAS.ill(
        "keras_conv1d_small_start_8",
        "vanishing",
        "keras_conv1d_norm_8",
        "initialization",
        blocks=8,
        start=_small,
    ),
    KERAS.ill(
        "keras_conv1d_sigmoid_14",
        "vanishing",
        "keras_conv1d_sigmoid_1",
        blocks=14,
        activation="sigmoid",
        lr=2e-2,
    ),
    KERAS.ill(
        "keras_conv1d_lr_ramp",
        "exploding",
        "keras_conv1d_swish_sgd",
        "non_finite",
        onset=50,
        activation="swish",
        optimizer="SGD",
        lr=0.1,
        schedule=ramp(50, 1.3),
    ),
    KERAS.ill(
        "keras_conv1d_lr_raised",
        "exploding",
        "keras_conv1d_swish_sgd",
        "non_finite",
        onset=40,
        activation="swish",
        optimizer="SGD",
        lr=0.1,
        schedule=raised(40, 1000.0),
    ),
    KERAS.ill(
        "keras_conv1d_zero_start",
        "initialization",
        "keras_conv1d_relu",
        "vanishing",
        "dead",
        start=_zeros,
    ),
    KERAS.ill(
        "keras_conv1d_nan_sensor",
        "non_finite",
        "keras_conv1d_tanh",
        onset=45,
        activation="tanh",
        broken_from=45,
    ),
    KERAS.ill(
        "keras_conv1d_dead_bias",
        "dead",
        "keras_conv1d_relu",
        "vanishing",
        "initialization",
        bias=-40.0,
    ),
    KERAS.ill(
        "keras_conv1d_tanh_bias",
        "saturated",
        "keras_conv1d_tanh",
        "vanishing",
        "initialization",
        activation="tanh",
        bias=30.0,
    ),
    KERAS.ill(
        "keras_conv1d_lr_tiny",
        "unchanged",
        "keras_conv1d_swish_sgd",
        activation="swish",
        optimizer="SGD",
        lr=1e-11,
        trap="steps below the precision of the weights",
    ),
    KERAS.ill("keras_conv1d_lr_0", "unchanged", "keras_conv1d_tanh", activation="tanh", lr=0.0),
)
