"""Keras twins: a small CNN, trained with a GradientTape and ``optimizer.apply``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy

from tests.debugger_corpus.dev._common import LN_10, Family
from tests.debugger_corpus.dev._keras import pictures
from tests.debugger_corpus.scenario import Scenario

STEPS = 110


def _model(*, batch_norm: bool, blocks: int, scale: float, zero_head: bool) -> Any:
    import keras

    layers: list[Any] = [keras.layers.Input((8, 8, 1))]
    for _ in range(blocks):
        start = keras.initializers.VarianceScaling(scale, mode="fan_in")
        layers.append(keras.layers.Conv2D(8, 3, padding="same", kernel_initializer=start))
        if batch_norm:
            layers.append(keras.layers.BatchNormalization())
        layers.append(keras.layers.ReLU())
    head = keras.layers.Dense(10, kernel_initializer="zeros" if zero_head else "glorot_uniform")
    return keras.Sequential(
        [*layers, keras.layers.AveragePooling2D(2), keras.layers.Flatten(), head]
    )


def _train(
    seed: int,
    *,
    batch_norm: bool = False,
    blocks: int = 2,
    scale: float = 2.0,
    zero_head: bool = False,
    optimizer: str = "SGD",
    lr: float = 0.05,
    replaced: bool = False,
    unit_length: bool = False,
    blank_at: int = -1,
    compiled: bool = True,
) -> Iterator[float]:
    import keras
    import tensorflow

    keras.utils.set_random_seed(seed)
    generator = numpy.random.default_rng(seed)
    prototypes = pictures(generator)
    model = _model(batch_norm=batch_norm, blocks=blocks, scale=scale, zero_head=zero_head)
    other = keras.models.clone_model(model) if replaced else model
    chosen = getattr(keras.optimizers, optimizer)(learning_rate=lr)
    chosen.build(other.trainable_variables)
    criterion = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def one_step(inputs: Any, classes: Any) -> Any:
        with tensorflow.GradientTape() as tape:
            logits = model(inputs, training=True)
            loss = criterion(classes, logits)
        gradients = tape.gradient(loss, model.trainable_variables)
        # Replaced: the variables of the clone are changed, by the gradients of the model.
        chosen.apply(gradients, other.trainable_variables)
        return loss

    if compiled:
        one_step = tensorflow.function(one_step)
    for step in range(STEPS):
        classes = generator.integers(0, 10, 32)
        inputs = prototypes[classes] + generator.normal(size=(32, 64))
        if step == blank_at:
            inputs[4] = 0.0
        if unit_length:
            with numpy.errstate(invalid="ignore"):
                inputs = 8 * inputs / numpy.linalg.norm(inputs, axis=1, keepdims=True)
        loss = one_step(
            tensorflow.constant(inputs.reshape(-1, 8, 8, 1), dtype="float32"),
            tensorflow.constant(classes),
        )
        yield float(loss)


KERAS = Family("keras_cnn", _train, STEPS, LN_10, "keras")

SCENARIOS: tuple[Scenario, ...] = (
    KERAS.healthy("keras_cnn_plain"),
    KERAS.healthy("keras_cnn_batch_norm", "bias before BatchNorm", batch_norm=True),
    KERAS.healthy(
        "keras_cnn_adam",
        "loop without tf.function",
        blocks=1,
        optimizer="Adam",
        lr=5e-3,
        compiled=False,
    ),
    KERAS.healthy("keras_cnn_zero_head", "first gradient of the body is 0", zero_head=True),
    KERAS.healthy("keras_cnn_unit_length", unit_length=True),
    KERAS.healthy("keras_cnn_batch_norm_10", "deep", batch_norm=True, blocks=10, scale=0.3),
    KERAS.ill(
        "keras_cnn_no_norm_10",
        "vanishing",
        "keras_cnn_batch_norm_10",
        "initialization",
        blocks=10,
        scale=0.3,
    ),
    KERAS.ill(
        "keras_cnn_large_init",
        "exploding",
        "keras_cnn_plain",
        "initialization",
        "dead",
        scale=2e5,
    ),
    KERAS.ill(
        "keras_cnn_blank_picture",
        "non_finite",
        "keras_cnn_unit_length",
        "dead",
        "vanishing",
        onset=70,
        trap="0 / 0; ReLU makes 0 of NaN: the loss is finite",
        unit_length=True,
        blank_at=70,
    ),
    KERAS.ill("keras_cnn_replaced", "unchanged", "keras_cnn_plain", replaced=True),
)
