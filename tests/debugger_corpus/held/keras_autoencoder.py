"""Keras: a functional convolutional autoencoder with a loop of its own."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from tests.debugger_corpus.held import _tools
from tests.debugger_corpus.scenario import Scenario

STEPS = 110
SIDE = 8


def _images(rng: np.random.Generator, count: int) -> _tools.Floats:
    """Return soft blobs between 0 and 1."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    centre = rng.uniform(2, SIDE - 2, (2, count, 1, 1))
    width = rng.uniform(1, 2, (count, 1, 1))
    distance = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2
    images: _tools.Floats = np.exp(-distance / width**2)[..., None].astype(np.float32)
    return images


def _model(activation: str, output: str, kernel: Any) -> Any:
    import keras

    def convolution(filters: int, strides: int) -> Any:
        return keras.layers.Conv2D(
            filters, 3, strides, "same", activation=activation, kernel_initializer=kernel
        )

    inputs = keras.Input((SIDE, SIDE, 1))
    x = convolution(8, 2)(inputs)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(8, kernel_initializer=kernel)(x)
    x = keras.layers.Dense(64, activation=activation, kernel_initializer=kernel)(x)
    x = keras.layers.Reshape((4, 4, 4))(x)
    x = keras.layers.UpSampling2D()(x)
    x = convolution(8, 1)(x)
    outputs = keras.layers.Conv2D(1, 3, padding="same", activation=output)(x)
    return keras.Model(inputs, outputs)


def _train(
    seed: int,
    *,
    activation: str = "relu",
    output: str = "linear",
    std: float | None = None,
    lr: float = 5e-3,
    sgd: bool = False,
    clip: float | None = None,
) -> Iterator[float]:
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    kernel: Any = "he_normal"
    if std is not None:
        kernel = keras.initializers.RandomNormal(stddev=std)
    model = _model(activation, output, kernel)
    if sgd:
        optimizer = keras.optimizers.SGD(lr, momentum=0.9, global_clipnorm=clip)
    else:
        optimizer = keras.optimizers.Adam(lr, global_clipnorm=clip)

    @tf.function
    def backward(images: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(images, training=True) - images) ** 2)
        return loss, tape.gradient(loss, model.trainable_variables)

    for _ in range(STEPS):
        loss, gradients = backward(tf.constant(_images(rng, 24)))
        optimizer.apply(gradients, model.trainable_variables)
        yield float(loss)


_run = partial(
    Scenario, half="held", architecture="keras_autoencoder", steps=STEPS, framework="keras"
)

SCENARIOS: tuple[Scenario, ...] = (
    _run(
        name="keras_autoencoder",
        kind="healthy",
        train=partial(_train, output="sigmoid"),
        trap="sigmoid output layer",
    ),
    _run(
        name="keras_autoencoder_clipped",
        kind="healthy",
        train=partial(_train, clip=0.001),
        trap="clipped in every step, with Adam",
    ),
    _run(
        name="keras_autoencoder_sgd",
        kind="healthy",
        train=partial(_train, sgd=True, lr=0.15),
    ),
    _run(
        name="keras_autoencoder_sgd_lr",
        kind="exploding",
        train=partial(_train, sgd=True, lr=40.0),
        also=frozenset({"non_finite", "dead"}),
        twin="keras_autoencoder_sgd",
    ),
    _run(
        name="keras_autoencoder_sigmoid_tiny",
        kind="vanishing",
        train=partial(_train, activation="sigmoid", std=0.01, sgd=True, lr=0.15),
        also=frozenset({"initialization"}),
        twin="keras_autoencoder_sgd",
        # The variance of the pixels: the mean image is all that a bias can learn.
        chance=0.045,
    ),
)
