"""Keras: dense layers with shortcuts, functional, with a loop of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from tests.debugger_corpus.held import _tools
from tests.debugger_corpus.scenario import Scenario

STEPS = 110
INPUTS, CLASSES = 12, 5


def _rings(rng: np.random.Generator, count: int) -> tuple[_tools.Floats, _tools.Floats]:
    """Return points whose distance from the middle tells their class."""
    points = rng.normal(size=(count, INPUTS))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    classes = rng.integers(0, CLASSES, count)
    points *= 0.5 + classes[:, None] + rng.normal(0, 0.08, (count, 1))
    return points.astype(np.float32), classes.astype(np.float32)


def _train(
    seed: int,
    *,
    blocks: int = 1,
    bias: float = 0.0,
    lr: float = 5e-3,
    zero_gamma: bool = False,
    frozen_until: int = 0,
    random_labels: bool = False,
    shortcuts: bool = True,
) -> Iterator[float]:
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    start = keras.initializers.Constant(bias)
    inputs = keras.Input((INPUTS,))
    first = keras.layers.Dense(32, activation="relu", bias_initializer=start)
    x = first(inputs)
    for _ in range(blocks):
        y = keras.layers.Dense(32, activation="relu", bias_initializer=start)(x)
        y = keras.layers.Dense(32, activation="relu", bias_initializer=start)(y)
        if shortcuts:
            gamma = "zeros" if zero_gamma else "ones"
            y = keras.layers.BatchNormalization(gamma_initializer=gamma)(y)
            y = keras.layers.Add()([x, y])
        x = y
    model = keras.Model(inputs, keras.layers.Dense(CLASSES)(x))
    optimizer = keras.optimizers.AdamW(lr)
    optimizer.build(model.trainable_variables)
    criterion = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def build() -> Any:
        variables = model.trainable_variables

        @tf.function
        def backward(x: Any, y: Any) -> Any:
            with tf.GradientTape() as tape:
                loss = criterion(y, model(x, training=True))
            return loss, tape.gradient(loss, variables)

        return backward

    first.trainable = frozen_until == 0
    backward = build()
    for step in range(STEPS):
        if frozen_until and step == frozen_until:
            first.trainable = True
            backward = build()
        x, y = _rings(rng, 48)
        if random_labels:
            y = rng.integers(0, CLASSES, len(y)).astype(np.float32)
        loss, gradients = backward(tf.constant(x), tf.constant(y))
        optimizer.apply(gradients, model.trainable_variables)
        yield float(loss)


_run = partial(
    Scenario,
    half="held",
    architecture="keras_dense",
    steps=STEPS,
    framework="keras",
    chance=math.log(CLASSES),
)

SCENARIOS: tuple[Scenario, ...] = (
    _run(name="keras_dense_shortcuts", kind="healthy", train=_train, trap="plain"),
    _run(
        name="keras_dense_zero_gamma",
        kind="healthy",
        train=partial(_train, zero_gamma=True),
        trap="branches that start at 0",
    ),
    _run(
        name="keras_dense_unfrozen",
        kind="healthy",
        train=partial(_train, frozen_until=60),
        trap="the first layer joins in mid-run",
    ),
    _run(
        name="keras_dense_random_labels",
        kind="plateau",
        train=partial(_train, random_labels=True),
        trap="label noise",
    ),
    _run(
        name="keras_dense_dead",
        kind="dead",
        train=partial(_train, bias=-15.0, shortcuts=False),
        also=frozenset({"vanishing", "initialization"}),
        twin="keras_dense_shortcuts",
    ),
    _run(
        name="keras_dense_adam_lr_fifty",
        kind="exploding",
        train=partial(_train, lr=50.0),
        twin="keras_dense_shortcuts",
    ),
)
