"""Keras: one body with a class and a number as outputs, and weights of their losses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy

from tests.debugger_corpus.dev._common import Family, constant, raised, ramp
from tests.debugger_corpus.scenario import Scenario

STEPS = 120


def _model(*, depth: int, activation: str, gain: float, bias: float, norm: bool) -> Any:
    import keras

    inputs = keras.Input((12,))
    hidden = inputs
    for _ in range(depth):
        hidden = keras.layers.Dense(
            24,
            kernel_initializer=keras.initializers.VarianceScaling(gain, mode="fan_avg"),
            bias_initializer=keras.initializers.Constant(bias),
        )(hidden)
        if norm:
            hidden = keras.layers.LayerNormalization()(hidden)
        hidden = keras.layers.Activation(activation)(hidden)
    return keras.Model(
        inputs,
        {
            "group": keras.layers.Dense(3, name="group")(hidden),
            "amount": keras.layers.Dense(1, name="amount")(hidden),
        },
    )


def _train(
    seed: int,
    *,
    depth: int = 2,
    activation: str = "elu",
    gain: float = 1.0,
    bias: float = 0.0,
    norm: bool = False,
    optimizer: str = "Adam",
    lr: float = 1e-2,
    schedule: Callable[[int], float] = constant,
    options: dict[str, Any] | None = None,
    weights: tuple[float, float] = (1.0, 1.0),
    unit: float = 1.0,
    missing_from: int = STEPS,
) -> Iterator[float]:
    import keras

    keras.utils.set_random_seed(seed)
    generator = numpy.random.default_rng(seed)
    centres = 1.5 * generator.normal(size=(3, 12))
    slope = generator.normal(size=(12, 1)) / 3
    model = _model(depth=depth, activation=activation, gain=gain, bias=bias, norm=norm)
    model.compile(
        optimizer=getattr(keras.optimizers, optimizer)(learning_rate=lr, **(options or {})),
        loss={
            "group": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            "amount": keras.losses.MeanSquaredError(),
        },
        loss_weights={"group": weights[0], "amount": weights[1]},
    )
    for step in range(STEPS):
        classes = generator.integers(0, 3, 32)
        inputs = centres[classes] + generator.normal(size=(32, 12))
        amounts = unit * ((inputs - centres.mean(axis=0)) @ slope)
        if step >= missing_from:
            # One of the amounts is missing in the table.
            amounts[5] = numpy.nan
        model.optimizer.learning_rate = lr * schedule(step)
        model.reset_metrics()
        losses = model.train_on_batch(
            inputs.astype("float32"),
            {"group": classes, "amount": amounts.astype("float32")},
        )
        yield float(losses[0])


KERAS = Family("keras_twohead", _train, STEPS, None, "keras")

SCENARIOS: tuple[Scenario, ...] = (
    KERAS.healthy("keras_twohead_elu"),
    KERAS.healthy("keras_twohead_relu", activation="relu"),
    KERAS.healthy("keras_twohead_tanh_sgd", activation="tanh", optimizer="SGD", lr=0.1),
    KERAS.healthy(
        "keras_twohead_small_loss",
        "tiny gradients, which Adam makes up for",
        weights=(1e-3, 1e-3),
        options={"epsilon": 1e-10},
    ),
    KERAS.healthy(
        "keras_twohead_odd_unit",
        "a large loss in odd units",
        unit=100.0,
        weights=(1.0, 1e-2),
        optimizer="Adam",
        lr=3e-2,
        options={"clipvalue": 0.5},
    ),
    KERAS.healthy("keras_twohead_norm_6", depth=6, norm=True, gain=1e-3, optimizer="SGD", lr=0.05),
    KERAS.healthy("keras_twohead_ema", options={"use_ema": True}, activation="swish"),
    KERAS.ill(
        "keras_twohead_no_norm_6",
        "vanishing",
        "keras_twohead_norm_6",
        "initialization",
        depth=6,
        gain=1e-3,
        optimizer="SGD",
        lr=0.05,
    ),
    KERAS.ill(
        "keras_twohead_lr_ramp",
        "exploding",
        "keras_twohead_tanh_sgd",
        "saturated",
        "non_finite",
        onset=60,
        activation="tanh",
        optimizer="SGD",
        lr=0.1,
        schedule=ramp(60, 1.3),
    ),
    KERAS.ill(
        "keras_twohead_heavy_loss",
        "exploding",
        "keras_twohead_tanh_sgd",
        "saturated",
        "non_finite",
        trap="one output's loss weighs far too much",
        activation="tanh",
        optimizer="SGD",
        lr=0.1,
        weights=(1.0, 300.0),
    ),
    KERAS.ill(
        "keras_twohead_lr_raised",
        "exploding",
        "keras_twohead_elu",
        "non_finite",
        onset=50,
        schedule=raised(50, 3e3),
    ),
    KERAS.ill(
        "keras_twohead_missing",
        "non_finite",
        "keras_twohead_elu",
        onset=60,
        missing_from=60,
    ),
    KERAS.ill(
        "keras_twohead_lr_0",
        "unchanged",
        "keras_twohead_tanh_sgd",
        trap="integer division makes the learning rate 0",
        activation="tanh",
        optimizer="SGD",
        lr=0.0,
    ),
    KERAS.ill(
        "keras_twohead_dead_bias",
        "dead",
        "keras_twohead_relu",
        "vanishing",
        "initialization",
        activation="relu",
        bias=-60.0,
    ),
)
