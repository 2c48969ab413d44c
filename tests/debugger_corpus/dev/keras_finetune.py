"""Keras: a convolution over rows learns half the classes, then a new end learns the other half.

First with the body frozen, then with everything, compiled anew before each ``fit``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy

from tests.debugger_corpus.dev._common import Family
from tests.debugger_corpus.dev._keras import pictures
from tests.debugger_corpus.scenario import Scenario

BATCH = 32
PHASES = (60, 50, 60)
STEPS = sum(PHASES)
NEW = PHASES[0]
UNFROZEN = PHASES[0] + PHASES[1]


def _body(activation: str, batch_norm: bool) -> Any:
    import keras

    layers: list[Any] = [keras.layers.Input((8, 8))]
    for _ in range(2):
        layers.append(keras.layers.Conv1D(24, 3, padding="same"))
        if batch_norm:
            layers.append(keras.layers.BatchNormalization(momentum=0.8))
        layers.append(
            keras.layers.PReLU() if activation == "prelu" else keras.layers.Activation(activation)
        )
    return keras.Sequential([*layers, keras.layers.Flatten()])


def _end(*, depth: int, activation: str, norm: bool, start: str | float, bias: float) -> Any:
    import keras

    layers: list[Any] = []
    for _ in range(depth):
        kernel = keras.initializers.VarianceScaling(start) if isinstance(start, float) else start
        layers.append(
            keras.layers.Dense(
                24,
                kernel_initializer=kernel,
                bias_initializer=keras.initializers.Constant(bias),
            )
        )
        if norm:
            layers.append(keras.layers.LayerNormalization())
        layers.append(keras.layers.Activation(activation))
    return keras.Sequential([*layers, keras.layers.Dense(5)])


def _losses() -> Any:
    import keras

    class Losses(keras.callbacks.Callback):  # type: ignore[misc]
        """Keep each batch's own loss."""

        def __init__(self) -> None:
            super().__init__()
            self.kept: list[float] = []

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            self.model.reset_metrics()

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.kept.append(float(logs["loss"]))

    return Losses()


def _train(
    seed: int,
    *,
    body: str = "relu",
    batch_norm: bool = True,
    depth: int = 1,
    activation: str = "relu",
    norm: bool = False,
    start: str | float = 2.0,
    bias: float = 0.0,
    optimizer: str = "Adam",
    rates: tuple[float, float, float] = (5e-3, 5e-3, 1e-3),
    settings: dict[str, Any] | None = None,
    weighted: bool = False,
    counted: int = 5,
    bad_at: int = -1,
) -> Iterator[float]:
    import keras

    keras.utils.set_random_seed(seed)
    generator = numpy.random.default_rng(seed)
    prototypes = pictures(generator)
    base = _body(body, batch_norm)
    losses = _losses()
    model: Any = None
    for phase, (steps, rate) in enumerate(zip(PHASES, rates, strict=True)):
        offset = 5 if phase else 0
        classes = generator.integers(0, 5, steps * BATCH)
        inputs = prototypes[classes + offset] + 0.6 * generator.normal(size=(len(classes), 64))
        if bad_at >= 0 and phase == 2:
            inputs[(bad_at - UNFROZEN) * BATCH + 3, 20] = numpy.inf
        if phase == 0:
            model = keras.Sequential([base, keras.layers.Dense(5)])
        elif phase == 1:
            end = _end(depth=depth, activation=activation, norm=norm, start=start, bias=bias)
            model = keras.Sequential([base, end])
        base.trainable = phase != 1
        weights = None
        if weighted and phase:
            # The rarer a class, the more it counts; `counted` is where the new classes begin.
            counts = numpy.bincount(classes + offset, minlength=10)[counted : counted + 5]
            with numpy.errstate(divide="ignore"):
                weights = dict(enumerate(len(classes) / (5 * counts)))
        chosen = getattr(keras.optimizers, optimizer)(learning_rate=rate, **(settings or {}))
        model.compile(
            optimizer=chosen, loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        )
        model.fit(
            inputs.reshape(-1, 8, 8).astype("float32"),
            classes,
            BATCH,
            verbose=0,
            shuffle=False,
            class_weight=weights,
            callbacks=[losses],
        )
    yield from losses.kept


KERAS = Family("keras_finetune", _train, STEPS, math.log(5), "keras")
MOMENTUM = {"momentum": 0.9}

SCENARIOS: tuple[Scenario, ...] = (
    KERAS.healthy("keras_finetune_adam", "frozen on purpose, then freed with a smaller rate"),
    KERAS.healthy(
        "keras_finetune_momentum",
        "the loss jumps when the task changes",
        body="prelu",
        optimizer="SGD",
        rates=(0.05, 0.05, 0.01),
        settings=MOMENTUM,
    ),
    KERAS.healthy(
        "keras_finetune_deep_end",
        "deep new layers on a frozen body",
        depth=6,
        activation="elu",
        norm=True,
    ),
    KERAS.healthy("keras_finetune_tanh", body="tanh", activation="tanh", depth=5, start=1.0),
    KERAS.healthy("keras_finetune_class_weights", weighted=True, batch_norm=False),
    KERAS.healthy(
        "keras_finetune_hardly_freed",
        "the last rate is next to nothing; by then it has learnt",
        rates=(5e-3, 5e-3, 1e-6),
    ),
    KERAS.ill(
        "keras_finetune_sigmoid_end",
        "vanishing",
        "keras_finetune_deep_end",
        "initialization",
        onset=NEW,
        depth=6,
        activation="sigmoid",
        start=1.0,
    ),
    KERAS.ill(
        "keras_finetune_freed_too_fast",
        "exploding",
        "keras_finetune_momentum",
        "non_finite",
        onset=UNFROZEN,
        trap="the rate is raised where it should have been lowered",
        body="prelu",
        batch_norm=False,
        activation="linear",
        optimizer="SGD",
        rates=(0.05, 0.05, 1000.0),
        settings=MOMENTUM,
    ),
    KERAS.ill(
        "keras_finetune_weights_of_others",
        "non_finite",
        "keras_finetune_class_weights",
        onset=NEW,
        trap="class weights of the other half: 1 / 0",
        weighted=True,
        counted=0,
        batch_norm=False,
    ),
    KERAS.ill(
        "keras_finetune_infinite_pixel",
        "non_finite",
        "keras_finetune_adam",
        "dead",
        "vanishing",
        onset=UNFROZEN + 20,
        trap="ReLU makes 0 of NaN: the loss is finite",
        bad_at=UNFROZEN + 20,
    ),
    KERAS.ill(
        "keras_finetune_dead_end",
        "dead",
        "keras_finetune_adam",
        "vanishing",
        "initialization",
        onset=NEW,
        bias=-50.0,
    ),
    KERAS.ill(
        "keras_finetune_saturated_end",
        "saturated",
        "keras_finetune_tanh",
        "vanishing",
        "initialization",
        onset=NEW,
        body="tanh",
        activation="tanh",
        depth=5,
        start=1.0,
        bias=40.0,
    ),
    KERAS.ill(
        "keras_finetune_zero_end",
        "initialization",
        "keras_finetune_adam",
        "vanishing",
        "unchanged",
        "dead",
        onset=NEW,
        depth=2,
        start="zeros",
    ),
    KERAS.ill(
        "keras_finetune_rate_of_nothing",
        "unchanged",
        "keras_finetune_adam",
        onset=NEW,
        trap="the small rate for the body is used for the new end as well",
        rates=(5e-3, 1e-9, 1e-9),
    ),
)
