"""Keras: an LSTM over generated sequences, trained by a tape under ``tf.function``."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy

from tests.debugger_corpus.dev._common import Family, constant, raised, ramp
from tests.debugger_corpus.scenario import Scenario

STEPS = 100
CLASSES = 4


def _model(*, layers: int, both_ways: bool, norm: bool, gates: float, zero: bool) -> Any:
    import keras

    parts: list[Any] = [keras.layers.Input((10, 4))]
    for number in range(layers):
        cell: Any = keras.layers.LSTM(
            12,
            return_sequences=number < layers - 1,
            unit_forget_bias=not gates,
            bias_initializer=keras.initializers.Constant(gates) if gates else "zeros",
            kernel_initializer="zeros" if zero else "glorot_uniform",
            recurrent_initializer="zeros" if zero else "orthogonal",
        )
        parts.append(keras.layers.Bidirectional(cell) if both_ways else cell)
        if norm:
            parts.append(keras.layers.LayerNormalization())
    return keras.Sequential([*parts, keras.layers.Dense(CLASSES)])


def _train(
    seed: int,
    *,
    layers: int = 1,
    both_ways: bool = False,
    norm: bool = False,
    gates: float = 0.0,
    zero: bool = False,
    optimizer: str = "Adam",
    lr: float = 1e-2,
    schedule: Callable[[int], float] = constant,
    options: dict[str, Any] | None = None,
    detached: bool = False,
    log_of_zero_from: int = STEPS,
) -> Iterator[float]:
    import keras
    import tensorflow

    keras.utils.set_random_seed(seed)
    generator = numpy.random.default_rng(seed)
    prototypes = generator.normal(size=(CLASSES, 10, 4))
    model = _model(layers=layers, both_ways=both_ways, norm=norm, gates=gates, zero=zero)
    chosen = getattr(keras.optimizers, optimizer)(learning_rate=lr, **(options or {}))
    chosen.build(model.trainable_variables)
    criterion = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    @tensorflow.function  # type: ignore[untyped-decorator, unused-ignore]
    def one_step(sequences: Any, classes: Any) -> Any:
        with tensorflow.GradientTape() as tape:
            loss = criterion(classes, model(sequences, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        if detached:
            # Accumulated gradients are set back before the step instead of after it.
            gradients = [tensorflow.zeros_like(gradient) for gradient in gradients]
        chosen.apply(gradients, model.trainable_variables)
        return loss

    for step in range(STEPS):
        classes = generator.integers(0, CLASSES, 32)
        sequences = prototypes[classes] + 0.3 * generator.normal(size=(32, 10, 4))
        if step >= log_of_zero_from:
            # Amounts are put on a logarithmic scale; one of them is zero.
            amounts = numpy.exp(sequences)
            amounts[0, 0, 0] = 0.0
            with numpy.errstate(divide="ignore"):
                sequences = numpy.log(amounts) * numpy.sign(amounts)
        chosen.learning_rate = lr * schedule(step)
        yield float(
            one_step(
                tensorflow.constant(sequences, dtype="float32"),
                tensorflow.constant(classes),
            )
        )


KERAS = Family("keras_lstm", _train, STEPS, math.log(CLASSES), "keras")

SCENARIOS: tuple[Scenario, ...] = (
    KERAS.healthy("keras_lstm_adam"),
    KERAS.healthy("keras_lstm_both_ways", both_ways=True, optimizer="RMSprop"),
    KERAS.healthy(
        "keras_lstm_sgd_clipped",
        "clipped in every step",
        optimizer="SGD",
        lr=0.5,
        options={"momentum": 0.9, "global_clipnorm": 0.1},
    ),
    KERAS.healthy("keras_lstm_norm_2", layers=2, norm=True, optimizer="AdamW"),
    KERAS.healthy("keras_lstm_sgd", optimizer="SGD", lr=0.3, options={"momentum": 0.9}),
    KERAS.ill(
        "keras_lstm_gates_closed",
        "saturated",
        "keras_lstm_adam",
        "vanishing",
        "initialization",
        trap="every gate is shut from the start",
        gates=-20.0,
    ),
    KERAS.ill(
        "keras_lstm_zero_start_2",
        "initialization",
        "keras_lstm_norm_2",
        "vanishing",
        layers=2,
        zero=True,
        optimizer="AdamW",
    ),
    KERAS.ill(
        "keras_lstm_lr_ramp",
        "exploding",
        "keras_lstm_sgd",
        "saturated",
        "non_finite",
        onset=40,
        optimizer="SGD",
        lr=0.3,
        options={"momentum": 0.9},
        schedule=ramp(40, 1.4),
    ),
    KERAS.ill(
        "keras_lstm_lr_raised",
        "exploding",
        "keras_lstm_adam",
        "saturated",
        onset=50,
        schedule=raised(50, 1e5),
    ),
    KERAS.ill(
        "keras_lstm_log_of_zero",
        "non_finite",
        "keras_lstm_adam",
        onset=50,
        log_of_zero_from=50,
    ),
    KERAS.ill(
        "keras_lstm_zero_gradients", "unchanged", "keras_lstm_adam", "vanishing", detached=True
    ),
    KERAS.ill(
        "keras_lstm_lr_tiny",
        "unchanged",
        "keras_lstm_both_ways",
        trap="steps below the precision of the weights",
        both_ways=True,
        optimizer="RMSprop",
        lr=1e-11,
    ),
)
