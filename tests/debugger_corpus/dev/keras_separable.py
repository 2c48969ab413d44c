"""Keras: separable and depthwise convolutions on pictures, trained by ``model.fit``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy

from tests.debugger_corpus.dev._common import LN_10, Family, constant, jump, raised, ramp
from tests.debugger_corpus.dev._keras import pictures
from tests.debugger_corpus.scenario import Scenario

STEPS = 120
BATCH = 32


def _pooling(name: str) -> Any:
    import keras

    class SoftMaximum(keras.layers.Layer):  # type: ignore[misc]
        """A smooth maximum over places, by hand and without care for large numbers."""

        def call(self, inputs: Any) -> Any:
            return keras.ops.log(keras.ops.mean(keras.ops.exp(inputs), axis=(1, 2)))

    return SoftMaximum() if name == "soft" else keras.layers.GlobalAveragePooling2D()


def _model(
    *,
    blocks: int,
    batch_norm: bool,
    activation: str,
    depthwise: str | float,
    pointwise: str | float,
    bias: float,
    pooling: str,
) -> Any:
    import keras

    def start(of: str | float) -> Any:
        return keras.initializers.RandomNormal(stddev=of) if isinstance(of, float) else of

    layers: list[Any] = [keras.layers.Input((8, 8, 1)), keras.layers.Conv2D(8, 3, padding="same")]
    for _ in range(blocks):
        layers.append(
            keras.layers.SeparableConv2D(
                24,
                3,
                padding="same",
                use_bias=not batch_norm,
                depthwise_initializer=start(depthwise),
                pointwise_initializer=start(pointwise),
                bias_initializer=keras.initializers.Constant(bias),
            )
        )
        if batch_norm:
            layers.append(keras.layers.BatchNormalization(momentum=0.9))
        layers.append(keras.layers.Activation(activation))
    layers.append(keras.layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2))
    return keras.Sequential([*layers, _pooling(pooling), keras.layers.Dense(10)])


def _losses(schedule: Callable[[int], float], lr: float, every: int) -> Any:
    import keras

    class Losses(keras.callbacks.Callback):  # type: ignore[misc]
        """Keep each batch's own loss, and set its learning rate."""

        def __init__(self) -> None:
            super().__init__()
            self.kept: list[float] = []

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            self.model.reset_metrics()
            if schedule is not constant:
                self.model.optimizer.learning_rate = lr * schedule(batch)

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.kept += [float(logs["loss"])] * every

    return Losses()


def _train(
    seed: int,
    *,
    blocks: int = 2,
    batch_norm: bool = True,
    activation: str = "relu",
    depthwise: str | float = "he_uniform",
    pointwise: str | float = "he_uniform",
    bias: float = 0.0,
    pooling: str = "mean",
    optimizer: str = "Adam",
    lr: float = 0.01,
    settings: dict[str, Any] | None = None,
    schedule: Callable[[int], float] = constant,
    compiling: dict[str, Any] | None = None,
    brightness: float = 1.0,
    bright_at: int = -1,
) -> Iterator[float]:
    import keras

    keras.utils.set_random_seed(seed)
    generator = numpy.random.default_rng(seed)
    prototypes = pictures(generator)
    classes = generator.integers(0, 10, BATCH * STEPS)
    inputs = brightness * (prototypes[classes] + 0.7 * generator.normal(size=(len(classes), 64)))
    if bright_at >= 0:
        inputs[bright_at * BATCH + 5] *= 1e4
    model = _model(
        blocks=blocks,
        batch_norm=batch_norm,
        activation=activation,
        depthwise=depthwise,
        pointwise=pointwise,
        bias=bias,
        pooling=pooling,
    )
    compiling = compiling or {}
    model.compile(
        optimizer=getattr(keras.optimizers, optimizer)(learning_rate=lr, **(settings or {})),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        **compiling,
    )
    losses = _losses(schedule, lr, compiling.get("steps_per_execution", 1))
    pictured = inputs.reshape(-1, 8, 8, 1).astype("float32")
    model.fit(pictured, classes, BATCH, verbose=0, shuffle=False, callbacks=[losses])
    yield from losses.kept


KERAS = Family("keras_separable", _train, STEPS, LN_10, "keras")
MOMENTUM = {"momentum": 0.9}

SCENARIOS: tuple[Scenario, ...] = (
    KERAS.healthy("keras_separable_adam"),
    KERAS.healthy(
        "keras_separable_momentum",
        "several steps in one execution",
        optimizer="SGD",
        lr=0.05,
        settings=MOMENTUM,
        compiling={"steps_per_execution": 4},
    ),
    KERAS.healthy(
        "keras_separable_soft_pooling",
        pooling="soft",
        activation="swish",
        lr=2e-3,
        batch_norm=False,
    ),
    KERAS.healthy(
        "keras_separable_no_norm",
        "clipped element by element",
        batch_norm=False,
        lr=5e-3,
        settings={"clipvalue": 0.05},
    ),
    KERAS.healthy(
        "keras_separable_hard_sigmoid",
        "bounded activation, inputs in odd units",
        activation="hard_sigmoid",
        brightness=500.0,
    ),
    KERAS.healthy("keras_separable_deep", "deep", blocks=6, depthwise=0.01, pointwise=0.05),
    KERAS.ill(
        "keras_separable_deep_no_norm",
        "vanishing",
        "keras_separable_deep",
        "initialization",
        batch_norm=False,
        blocks=6,
        depthwise=0.01,
        pointwise=0.05,
        optimizer="SGD",
        lr=0.05,
        settings=MOMENTUM,
    ),
    KERAS.ill(
        "keras_separable_lr_high",
        "exploding",
        "keras_separable_no_norm",
        "non_finite",
        batch_norm=False,
        activation="leaky_relu",
        optimizer="SGD",
        lr=20.0,
        settings=MOMENTUM,
    ),
    KERAS.ill(
        "keras_separable_lr_ramp",
        "exploding",
        "keras_separable_no_norm",
        "non_finite",
        onset=55,
        batch_norm=False,
        activation="leaky_relu",
        lr=5e-3,
        settings={"clipvalue": 0.05},
        schedule=ramp(55, 1.25),
    ),
    KERAS.ill(
        "keras_separable_bright_picture",
        "non_finite",
        "keras_separable_soft_pooling",
        onset=64,
        trap="exp overflows in a pooling by hand",
        pooling="soft",
        activation="swish",
        lr=2e-3,
        batch_norm=False,
        bright_at=64,
    ),
    KERAS.ill(
        "keras_separable_dead_start",
        "dead",
        "keras_separable_no_norm",
        "vanishing",
        "initialization",
        batch_norm=False,
        bias=-25.0,
        lr=5e-3,
        settings={"clipvalue": 0.05},
    ),
    KERAS.ill(
        "keras_separable_dead_by_jump",
        "dead",
        "keras_separable_no_norm",
        "exploding",
        "vanishing",
        onset=60,
        trap="one step is 2000 times as long",
        batch_norm=False,
        lr=5e-3,
        settings={"clipvalue": 0.05},
        schedule=jump(60, 2000.0),
    ),
    KERAS.ill(
        "keras_separable_saturated",
        "saturated",
        "keras_separable_hard_sigmoid",
        "vanishing",
        "initialization",
        batch_norm=False,
        activation="hard_sigmoid",
        brightness=500.0,
        blocks=5,
        depthwise=1.0,
        pointwise=300.0,
    ),
    KERAS.ill(
        "keras_separable_pointwise_zero",
        "initialization",
        "keras_separable_no_norm",
        "dead",
        "vanishing",
        "unchanged",
        batch_norm=False,
        pointwise="zeros",
        lr=5e-3,
        settings={"clipvalue": 0.05},
    ),
    KERAS.ill(
        "keras_separable_rate_0_from_2",
        "unchanged",
        "keras_separable_adam",
        onset=2,
        schedule=raised(2, 0.0),
        lr=1e-3,
    ),
)
