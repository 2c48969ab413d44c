"""Keras twins: an MLP on generated pictures, trained with ``train_on_batch``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy

from tests.debugger_corpus.dev._common import LN_10, Family, constant, ramp
from tests.debugger_corpus.dev._keras import pictures
from tests.debugger_corpus.scenario import Scenario

STEPS = 120


def _model(*, depth: int, activation: str, dropout: float, gain: float, bias: float) -> Any:
    import keras

    start = keras.initializers.VarianceScaling(gain, mode="fan_avg", distribution="uniform")
    layers: list[Any] = [keras.layers.Input((64,))]
    for _ in range(depth):
        layers.append(
            keras.layers.Dense(
                32,
                activation=activation,
                # An initializer is used once: the same object would give the same weights.
                kernel_initializer=start.clone(),
                bias_initializer=keras.initializers.Constant(bias),
            )
        )
        if dropout:
            layers.append(keras.layers.Dropout(dropout))
    return keras.Sequential([*layers, keras.layers.Dense(10)])


def _train(
    seed: int,
    *,
    depth: int = 2,
    activation: str = "relu",
    dropout: float = 0.0,
    gain: float = 1.0,
    bias: float = 0.0,
    optimizer: str = "SGD",
    lr: float = 0.1,
    clip: float | None = None,
    schedule: Callable[[int], float] = constant,
    random: bool = False,
    frozen: bool = False,
    spoil: Callable[[int, numpy.ndarray], numpy.ndarray] | None = None,
) -> Iterator[float]:
    import keras

    keras.utils.set_random_seed(seed)
    generator = numpy.random.default_rng(seed)
    prototypes = pictures(generator)
    model = _model(depth=depth, activation=activation, dropout=dropout, gain=gain, bias=bias)
    if frozen:
        for layer in model.layers:
            layer.trainable = False
    model.compile(
        optimizer=getattr(keras.optimizers, optimizer)(learning_rate=lr, global_clipnorm=clip),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    for step in range(STEPS):
        classes = generator.integers(0, 10, 64)
        inputs = prototypes[classes] + generator.normal(size=(64, 64))
        if random:
            classes = generator.integers(0, 10, 64)
        if spoil is not None:
            inputs = spoil(step, inputs)
        model.optimizer.learning_rate = lr * schedule(step)
        # The model keeps a running mean of its losses; a step's own loss is asked for.
        model.reset_metrics()
        yield float(model.train_on_batch(inputs.astype("float32"), classes))


def _nan_at(at: int, step: int, inputs: numpy.ndarray) -> numpy.ndarray:
    if step == at:
        inputs = inputs.copy()
        inputs[0, 3] = numpy.nan
    return inputs


KERAS = Family("keras_mlp", _train, STEPS, LN_10, "keras")

SCENARIOS: tuple[Scenario, ...] = (
    KERAS.healthy("keras_mlp_relu"),
    KERAS.healthy("keras_mlp_adam", "dropout", optimizer="Adam", lr=3e-3, dropout=0.2),
    KERAS.healthy("keras_mlp_sigmoid_2", activation="sigmoid", lr=1.0),
    KERAS.healthy("keras_mlp_clipped", "clipped in every step", clip=0.1, lr=0.5),
    KERAS.plateau("keras_mlp_random", "nothing to learn", random=True, lr=0.01, gain=0.05),
    KERAS.ill(
        "keras_mlp_sigmoid_16",
        "vanishing",
        "keras_mlp_sigmoid_2",
        depth=16,
        activation="sigmoid",
        lr=1.0,
    ),
    KERAS.ill(
        "keras_mlp_overflow",
        "exploding",
        "keras_mlp_gelu",
        "non_finite",
        activation="gelu",
        lr=100.0,
    ),
    KERAS.healthy("keras_mlp_gelu", activation="gelu"),
    KERAS.ill(
        "keras_mlp_lr_ramp",
        "exploding",
        "keras_mlp_gelu",
        "non_finite",
        onset=60,
        activation="gelu",
        schedule=ramp(60, 1.2),
    ),
    KERAS.ill(
        "keras_mlp_nan_batch",
        "non_finite",
        "keras_mlp_relu",
        "dead",
        "vanishing",
        trap="ReLU makes 0 of NaN: weights are NaN, the loss is finite",
        onset=80,
        spoil=partial(_nan_at, 80),
    ),
    KERAS.ill(
        "keras_mlp_dead", "dead", "keras_mlp_relu", "vanishing", "initialization", bias=-60.0
    ),
    KERAS.ill("keras_mlp_lr_0", "unchanged", "keras_mlp_relu", lr=0.0),
)
