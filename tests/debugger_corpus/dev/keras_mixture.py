"""Keras: experts behind a softmax gate, a functional model of two inputs, trained by ``fit``.

Each of four groups has a regression of its own, and they cancel out over all groups.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy

from tests.debugger_corpus.dev._common import Family
from tests.debugger_corpus.scenario import Scenario

STEPS = 140
BATCH = 64
FEATURES = 6
EXPERTS = 4


def _balance(least: float, weight: float) -> Any:
    import keras
    from keras import ops

    class Balance(keras.layers.Layer):  # type: ignore[misc]
        """Reward gates of high entropy."""

        def call(self, inputs: Any) -> Any:
            information = ops.sum(inputs * ops.log(inputs + least), axis=-1)
            self.add_loss(weight * ops.mean(information))
            return inputs

    return Balance()


def _model(
    *,
    depth: int,
    activation: str,
    norm: bool,
    stddev: float | None,
    bias: float,
    alike: bool,
    favour: float,
    least: float,
    balance: float,
) -> Any:
    import keras

    features = keras.layers.Input((FEATURES,))
    group = keras.layers.Input((), dtype="int32")

    def kernel(number: int) -> Any:
        if alike:
            # A seeded initializer gives the same weights each time.
            return keras.initializers.GlorotUniform(seed=number)
        return keras.initializers.RandomNormal(stddev=stddev) if stddev else "glorot_uniform"

    opinions = []
    for _ in range(EXPERTS):
        hidden = features
        for number in range(depth):
            hidden = keras.layers.Dense(
                16,
                kernel_initializer=kernel(number),
                bias_initializer=keras.initializers.Constant(bias),
            )(hidden)
            hidden = keras.layers.LayerNormalization()(hidden) if norm else hidden
            hidden = keras.layers.Activation(activation)(hidden)
        opinions.append(keras.layers.Dense(1, kernel_initializer=kernel(depth))(hidden))
    favours = favour * numpy.eye(EXPERTS)[1]
    gate = keras.layers.Dense(
        EXPERTS,
        activation="softmax",
        kernel_initializer="zeros" if alike else "glorot_uniform",
        bias_initializer=lambda shape, dtype=None: keras.ops.cast(favours, dtype),
    )(keras.layers.Embedding(EXPERTS, 8, embeddings_initializer="normal")(group))
    if balance:
        gate = _balance(least, balance)(gate)
    return keras.Model(
        [features, group],
        keras.layers.Dot(1)([keras.layers.Concatenate()(opinions), gate]),
    )


def _follower(keep_worst: bool) -> Any:
    import keras

    class Follower(keras.callbacks.Callback):  # type: ignore[misc]
        """Keep each batch's own loss, and by mistake the weights that are worst."""

        def __init__(self) -> None:
            super().__init__()
            self.kept: list[float] = []
            self.best: Any = None

        def on_train_begin(self, logs: Any = None) -> None:
            self.best = self.model.get_weights()

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            self.model.reset_metrics()

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.kept.append(float(logs["squared"]))
            if not keep_worst:
                return
            if self.kept[-1] > max(self.kept[:-1], default=0.0):
                self.best = self.model.get_weights()
            else:
                self.model.set_weights(self.best)

    return Follower()


def _train(
    seed: int,
    *,
    depth: int = 1,
    activation: str = "relu",
    norm: bool = False,
    stddev: float | None = None,
    bias: float = 0.0,
    alike: bool = False,
    favour: float = 0.0,
    least: float = 1e-6,
    balance: float = 0.0,
    optimizer: str = "Adam",
    lr: float = 0.02,
    rise: float = 1.0,
    settings: dict[str, Any] | None = None,
    reduction: str = "sum_over_batch_size",
    keep_worst: bool = False,
) -> Iterator[float]:
    import keras

    keras.utils.set_random_seed(seed)
    generator = numpy.random.default_rng(seed)
    basis = numpy.linalg.qr(generator.normal(size=(FEATURES, 2)))[0]
    groups = generator.integers(0, EXPERTS, STEPS * BATCH)
    inputs = generator.normal(size=(len(groups), FEATURES))
    targets = (inputs @ numpy.concatenate([basis, -basis], axis=1))[
        numpy.arange(len(groups)), groups
    ]
    model = _model(
        depth=depth,
        activation=activation,
        norm=norm,
        stddev=stddev,
        bias=bias,
        alike=alike,
        favour=favour,
        least=least,
        balance=balance,
    )
    rate = keras.optimizers.schedules.ExponentialDecay(lr, 5, rise) if rise != 1.0 else lr
    model.compile(
        optimizer=getattr(keras.optimizers, optimizer)(learning_rate=rate, **(settings or {})),
        loss=keras.losses.MeanSquaredError(reduction=reduction),
        metrics=[keras.metrics.MeanSquaredError(name="squared")],
    )
    follower = _follower(keep_worst)
    model.fit(
        [inputs.astype("float32"), groups],
        targets.astype("float32"),
        BATCH,
        verbose=0,
        shuffle=False,
        callbacks=[follower],
    )
    yield from follower.kept


KERAS = Family("keras_mixture", _train, STEPS, 1.0, "keras")
MOMENTUM = {"momentum": 0.9}

SCENARIOS: tuple[Scenario, ...] = (
    KERAS.healthy("keras_mixture_adam"),
    KERAS.healthy("keras_mixture_balanced", "a loss below 0", balance=0.05),
    KERAS.healthy(
        "keras_mixture_momentum",
        "clipped",
        optimizer="SGD",
        lr=0.1,
        settings={**MOMENTUM, "global_clipnorm": 1.0},
    ),
    KERAS.healthy("keras_mixture_decay", rise=0.95, activation="elu"),
    KERAS.healthy(
        "keras_mixture_norm", "deep experts", depth=3, norm=True, stddev=0.005, activation="tanh"
    ),
    KERAS.healthy("keras_mixture_nadam", optimizer="Nadam", activation="swish", stddev=0.6),
    KERAS.ill(
        "keras_mixture_no_norm",
        "vanishing",
        "keras_mixture_norm",
        "initialization",
        depth=3,
        stddev=0.005,
        activation="tanh",
        optimizer="SGD",
        lr=0.1,
        settings=MOMENTUM,
    ),
    KERAS.ill(
        "keras_mixture_sum_of_errors",
        "exploding",
        "keras_mixture_momentum",
        "non_finite",
        trap="a sum where a mean was meant",
        activation="leaky_relu",
        optimizer="SGD",
        lr=0.1,
        settings=MOMENTUM,
        reduction="sum",
    ),
    KERAS.ill(
        "keras_mixture_decay_above_1",
        "exploding",
        "keras_mixture_decay",
        "non_finite",
        onset=40,
        trap="a decay that is a growth",
        rise=1.8,
        activation="elu",
    ),
    KERAS.ill(
        "keras_mixture_entropy_of_0",
        "non_finite",
        "keras_mixture_balanced",
        "saturated",
        trap="0 log(0)",
        balance=0.05,
        least=0.0,
        favour=200.0,
    ),
    KERAS.ill(
        "keras_mixture_dead_experts",
        "dead",
        "keras_mixture_adam",
        "vanishing",
        "initialization",
        bias=-40.0,
    ),
    KERAS.ill(
        "keras_mixture_one_expert",
        "saturated",
        "keras_mixture_adam",
        "vanishing",
        "initialization",
        trap="only the gate; three experts get nothing",
        favour=150.0,
    ),
    KERAS.ill(
        "keras_mixture_alike",
        "initialization",
        "keras_mixture_adam",
        trap="experts of equal seeds behind equal gates",
        alike=True,
    ),
    KERAS.ill(
        "keras_mixture_worst_kept",
        "unchanged",
        "keras_mixture_nadam",
        trap="a callback puts the weights back after each step",
        optimizer="Nadam",
        activation="swish",
        stddev=0.6,
        keep_worst=True,
    ),
)
