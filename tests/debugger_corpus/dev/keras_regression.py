"""Keras: wide and deep on the table of diabetes, a functional model with two inputs and two heads.

One head tells a score worked out of the table, the other whether it is above the median; ``fit``
with the library's ``train_step`` or an own one.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy

from tests.debugger_corpus.dev._common import Family
from tests.debugger_corpus.dev._fitted import losses_of
from tests.debugger_corpus.scenario import Scenario

BATCH = 34
STEPS = 150


def _hidden(number: int, activation: str, norm: bool, **options: Any) -> list[Any]:
    import keras

    layers: list[Any] = [keras.layers.Dense(24, name=f"deep_{number}", **options)]
    if norm:
        layers.append(keras.layers.BatchNormalization(momentum=0.9))
    layers.append(
        keras.layers.PReLU() if activation == "prelu" else keras.layers.Activation(activation)
    )
    return layers


def _model(
    *,
    depth: int = 2,
    wide: bool = True,
    activation: str = "relu",
    norm: bool = False,
    start: Any = "glorot_uniform",
    bias: float = 0.0,
    penalty: float = 0.0,
    own: str = "",
) -> Any:
    import keras
    import tensorflow as tf

    table = keras.layers.Input((10,), name="table")
    sex = keras.layers.Input((2,), name="sex")
    if isinstance(start, float):
        start = keras.initializers.RandomNormal(stddev=start)
    deep = keras.layers.Concatenate()([table, sex])
    for number in range(depth):
        for layer in _hidden(
            number,
            activation,
            norm,
            kernel_initializer=start,
            bias_initializer=keras.initializers.Constant(bias),
            kernel_regularizer=keras.regularizers.L2(penalty) if penalty else None,
        ):
            deep = layer(deep)
    both = keras.layers.Concatenate()([table, deep]) if wide else deep
    outputs = {
        "score": keras.layers.Dense(1, kernel_initializer=start, name="score")(both),
        "above": keras.layers.Dense(1, "sigmoid", kernel_initializer=start, name="above")(both),
    }

    class Stepper(keras.Model):  # type: ignore[misc]
        """An own step, as of a user who wants the gradients."""

        def train_step(self, data: Any) -> Any:
            inputs, targets, weights = keras.utils.unpack_x_y_sample_weight(data)
            with tf.GradientTape() as tape:
                given = self(inputs, training=True)
                if own == "detached":
                    given = {name: tf.stop_gradient(value) for name, value in given.items()}
                loss = self.compute_loss(inputs, targets, given, weights, training=True)
            variables = self.trainable_variables
            values = [variable.value for variable in variables]
            gradients = tape.gradient(loss, values, unconnected_gradients="zero")
            if own == "by_norm":
                gradients = [value / tf.norm(value) for value in gradients]
            elif own == "ascent":
                gradients = [-value for value in gradients]
            self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
            return {"loss": loss}

    return (Stepper if own else keras.Model)([table, sex], outputs)


def _rows(
    generator: numpy.random.Generator,
    *,
    scale: float = 1.0,
    units: float = 1.0,
    missing_at: int = -1,
    hidden_at: int = -1,
) -> Iterator[tuple[Any, ...]]:
    """Yield both inputs, both targets, and the weights of rows for each head."""
    from sklearn.datasets import load_diabetes

    table = load_diabetes().data
    table = (table - table.mean(axis=0)) / table.std(axis=0)
    sex = numpy.eye(2)[(table[:, 1] > 0).astype(int)]
    score = table[:, 2] + 0.7 * table[:, 3] + table[:, 8] + 0.5 * table[:, 2] * table[:, 8]
    score = (score - score.mean()) / score.std()
    above = (score > numpy.median(score)).astype("float32")
    for step in range(STEPS + 5):
        rows = generator.choice(len(table), BATCH, replace=False)
        given = scale * table[rows]
        if step == missing_at:
            given[3, 4] = numpy.nan
        weights = numpy.full(BATCH, float(step != hidden_at), "float32")
        yield (
            {"table": given.astype("float32"), "sex": sex[rows].astype("float32")},
            {"score": (units * score[rows, None]).astype("float32"), "above": above[rows, None]},
            {"score": weights, "above": weights},
        )


def _own_log(true: Any, given: Any, least: float = 0.0) -> Any:
    """A cross entropy by hand, which ``least`` alone keeps from log(0)."""
    from keras import ops

    logs = true * ops.log(given + least) + (1 - true) * ops.log(1 - given + least)
    return -ops.mean(logs, axis=-1)


def _train(
    seed: int,
    *,
    rows: dict[str, Any] | None = None,
    optimizer: str = "Adam",
    lr: float = 0.01,
    settings: dict[str, Any] | None = None,
    above: Any = "binary_crossentropy",
    weight: float = 1.0,
    compiling: dict[str, Any] | None = None,
    **shape: Any,
) -> Iterator[float]:
    import keras

    keras.utils.set_random_seed(seed)
    model = _model(**shape)
    model.compile(
        optimizer=getattr(keras.optimizers, optimizer)(lr, **(settings or {})),
        loss={"score": "mse", "above": above},
        loss_weights={"score": weight, "above": 0.3},
        **(compiling or {}),
    )
    losses = losses_of()
    batches = _rows(numpy.random.default_rng(seed), **(rows or {}))
    model.fit(batches, steps_per_epoch=STEPS, verbose=0, callbacks=[losses], shuffle=False)
    yield from losses.kept


KERAS = Family("keras_regression", _train, STEPS, 1.2, "keras")
SGD: dict[str, Any] = {"optimizer": "SGD", "lr": 0.02, "settings": {"momentum": 0.9}}
PLAIN: dict[str, Any] = {"own": "plain", **SGD}
EAGER = {"run_eagerly": True}
BY_NORM: dict[str, Any] = {"own": "by_norm", "optimizer": "SGD", "lr": 0.02, "compiling": EAGER}
OWN_LOG: dict[str, Any] = {"optimizer": "Adamax", "lr": 0.05}
TANH: dict[str, Any] = {"wide": False, "activation": "tanh"}
NORMED: dict[str, Any] = {"activation": "prelu", "norm": True, "depth": 6, "wide": False}

SCENARIOS: tuple[Scenario, ...] = (
    KERAS.healthy("keras_regression_wide_deep"),
    KERAS.healthy("keras_regression_own_step", **PLAIN),
    KERAS.healthy("keras_regression_by_norm", "gradients are divided by their norm", **BY_NORM),
    KERAS.healthy(
        "keras_regression_odd_units",
        "a score of hundreds, its loss weighted down",
        rows={"units": 100.0},
        weight=1e-4,
        lr=0.1,
        norm=True,
    ),
    KERAS.healthy("keras_regression_prelu_6", **NORMED),
    KERAS.healthy("keras_regression_tanh", **TANH),
    KERAS.healthy(
        "keras_regression_relu",
        "part of the loss is a penalty on weights",
        wide=False,
        penalty=3e-3,
        optimizer="RMSprop",
    ),
    KERAS.healthy(
        "keras_regression_own_log",
        above=partial(_own_log, least=1e-6),
        settings={"clipnorm": 0.1},
        compiling={"jit_compile": True},
        **OWN_LOG,
    ),
    KERAS.ill(
        "keras_regression_sigmoid_8",
        "vanishing",
        "keras_regression_prelu_6",
        "initialization",
        trap="logistic layers without normalisation, started small",
        wide=False,
        activation="sigmoid",
        depth=8,
        start=0.05,
        optimizer="SGD",
    ),
    KERAS.ill(
        "keras_regression_ascent",
        "exploding",
        "keras_regression_own_step",
        "non_finite",
        trap="the gradients have the wrong sign",
        own="ascent",
        **SGD,
    ),
    KERAS.ill(
        "keras_regression_raw_units",
        "exploding",
        "keras_regression_own_step",
        "non_finite",
        "dead",
        trap="the score is not divided by its unit",
        rows={"units": 1000.0},
        **PLAIN,
    ),
    KERAS.ill(
        "keras_regression_log_of_zero",
        "non_finite",
        "keras_regression_own_log",
        trap="log(0) once the head is sure",
        above=_own_log,
        **OWN_LOG,
    ),
    KERAS.ill(
        "keras_regression_missing_value",
        "non_finite",
        "keras_regression_wide_deep",
        onset=70,
        rows={"missing_at": 70},
    ),
    KERAS.ill(
        "keras_regression_norm_of_zero",
        "non_finite",
        "keras_regression_by_norm",
        onset=90,
        trap="all rows of one batch weigh nothing: gradients 0 / 0",
        rows={"hidden_at": 90},
        **BY_NORM,
    ),
    KERAS.ill(
        "keras_regression_dead",
        "dead",
        "keras_regression_relu",
        "vanishing",
        "initialization",
        wide=False,
        bias=-15.0,
    ),
    KERAS.ill(
        "keras_regression_not_standardised",
        "saturated",
        "keras_regression_tanh",
        "vanishing",
        "initialization",
        trap="inputs and kernels of hundreds before tanh",
        rows={"scale": 300.0},
        start=30.0,
        lr=1e-3,
        **TANH,
    ),
    KERAS.ill(
        "keras_regression_detached",
        "unchanged",
        "keras_regression_own_step",
        "vanishing",
        trap="the loss is of outputs without a gradient; None is taken for 0",
        own="detached",
        **SGD,
    ),
    KERAS.ill(
        "keras_regression_zeros",
        "initialization",
        "keras_regression_relu",
        "vanishing",
        "unchanged",
        wide=False,
        start="zeros",
    ),
    KERAS.ill(
        "keras_regression_large_start",
        "initialization",
        "keras_regression_own_step",
        "exploding",
        "non_finite",
        "dead",
        start=5.0,
        **PLAIN,
    ),
)
