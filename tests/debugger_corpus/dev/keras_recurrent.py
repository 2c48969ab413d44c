"""Keras: LSTMs that name a sequence, stacked or both ways, by ``fit`` or with a GradientTape."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy

from tests.debugger_corpus.dev._common import Family, constant, jump, raised
from tests.debugger_corpus.scenario import Scenario

STEPS = 120
BATCH = 32
LENGTH = 8
FEATURES = 5
CLASSES = 6
WIDTH = 16


def _lstm(*, sequences: bool, activation: str = "tanh", gain: float = 1.0) -> Any:
    import keras

    return keras.layers.LSTM(
        WIDTH,
        activation=activation,
        kernel_initializer=keras.initializers.VarianceScaling(gain**2) if gain else "zeros",
        recurrent_initializer=keras.initializers.Orthogonal(gain) if gain else "zeros",
        return_sequences=sequences,
    )


def _model(
    *,
    padded: bool,
    depth: int = 1,
    both_ways: bool = False,
    pooled: bool = False,
    norm: bool = False,
    hidden_bias: float | None = None,
    dropout: float = 0.0,
    head: str = "glorot_uniform",
    gates: tuple[float, ...] = (0.0, 1.0, 0.0, 0.0),
    **recurrent: Any,
) -> Any:
    import keras

    layers: list[Any] = [keras.layers.Input((LENGTH, FEATURES))]
    if padded:
        layers.append(keras.layers.Masking())
    for number in range(depth):
        layer = _lstm(sequences=pooled or number < depth - 1, **recurrent)
        layers.append(keras.layers.Bidirectional(layer) if both_ways else layer)
        if norm:
            layers.append(keras.layers.LayerNormalization())
    if pooled:
        layers.append(keras.layers.GlobalAveragePooling1D())
    if dropout:
        layers.append(keras.layers.Dropout(dropout))
    if hidden_bias is not None:
        bias = keras.initializers.Constant(hidden_bias)
        layers.append(keras.layers.Dense(WIDTH, "relu", bias_initializer=bias))
    layers.append(keras.layers.Dense(CLASSES, kernel_initializer=head))
    model = keras.Sequential(layers)
    for variable in model.trainable_variables:
        if variable.path.endswith("lstm_cell/bias"):
            # Input, forget, cell and output gates.
            variable.assign(numpy.repeat(gates, WIDTH))
    return model


def _data(seed: int, padded: bool, offset: float, empty_at: int) -> tuple[Any, Any]:
    generator = numpy.random.default_rng(seed)
    prototypes = generator.normal(size=(CLASSES, LENGTH, FEATURES))
    classes = generator.integers(0, CLASSES, STEPS * BATCH)
    inputs = prototypes[classes] + 0.7 * generator.normal(size=(len(classes), LENGTH, FEATURES))
    if padded:
        lengths = generator.integers(4, LENGTH + 1, len(classes))
        if empty_at >= 0:
            lengths[empty_at * BATCH + 3] = 0
        inputs *= (numpy.arange(LENGTH) < lengths[:, None])[:, :, None]
        # Each sequence in units of its own size.
        with numpy.errstate(invalid="ignore"):
            inputs /= numpy.sqrt((inputs**2).sum(axis=(1, 2), keepdims=True) / 20)
    return (inputs + offset).astype("float32"), classes


def _by_fit(
    model: Any, optimizer: Any, data: Any, rate: Callable[[int], float], options: Any
) -> list[float]:
    import keras

    kept: list[float] = []

    class Losses(keras.callbacks.Callback):  # type: ignore[misc]
        """Set each batch's rate, and keep its own loss."""

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            self.model.reset_metrics()
            self.model.optimizer.learning_rate = rate(len(kept))

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            kept.append(float(logs["loss"]))

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=optimizer, loss=loss, **{"jit_compile": False, **options})
    model.fit(*data, BATCH, verbose=0, shuffle=False, callbacks=[Losses()])
    return kept


def _by_tape(
    model: Any, optimizer: Any, data: Any, rate: Callable[[int], float], flags: tuple[bool, ...]
) -> Iterator[float]:
    import keras
    import tensorflow

    graph, summed, stale = flags
    criterion = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # Stale: the variables of a copy are changed, by the gradients of the model.
    changed = keras.models.clone_model(model) if stale else model
    optimizer.build(changed.trainable_variables)

    def one_step(inputs: Any, classes: Any) -> Any:
        with tensorflow.GradientTape() as tape:
            loss = criterion(classes, model(inputs, training=True))
            total = BATCH * loss if summed else loss
        gradients = tape.gradient(total, model.trainable_variables)
        optimizer.apply(gradients, changed.trainable_variables)
        return loss

    if graph:
        one_step = tensorflow.function(one_step)
    for step in range(STEPS):
        rows = slice(step * BATCH, (step + 1) * BATCH)
        optimizer.learning_rate = rate(step)
        yield float(one_step(*(tensorflow.constant(part[rows]) for part in data)))


def _train(
    seed: int,
    *,
    how: str = "fit",
    padded: bool = False,
    offset: float = 0.0,
    empty_at: int = -1,
    optimizer: str = "Adam",
    lr: float = 0.01,
    settings: dict[str, Any] | None = None,
    schedule: Callable[[int], float] = constant,
    compiling: dict[str, Any] | None = None,
    summed: bool = False,
    stale: bool = False,
    **shape: Any,
) -> Iterator[float]:
    import keras

    keras.utils.set_random_seed(seed)
    data = _data(seed, padded, offset, empty_at)
    model = _model(padded=padded, **shape)
    chosen = getattr(keras.optimizers, optimizer)(learning_rate=lr, **(settings or {}))

    def rate(step: int) -> float:
        return lr * schedule(step)

    if how == "fit":
        yield from _by_fit(model, chosen, data, rate, compiling or {})
    else:
        yield from _by_tape(model, chosen, data, rate, (how == "graph", summed, stale))


KERAS = Family("keras_recurrent", _train, STEPS, math.log(CLASSES), "keras")
SGD: dict[str, Any] = {"optimizer": "SGD", "lr": 0.1, "settings": {"momentum": 0.9}}
CUT: dict[str, Any] = {**SGD, "settings": {"momentum": 0.9, "global_clipnorm": 0.5}}
DEEP: dict[str, Any] = {"depth": 3, "how": "graph", **SGD}
BOTH: dict[str, Any] = {"both_ways": True, "pooled": True, "dropout": 0.2}
PADDED: dict[str, Any] = {"padded": True, "optimizer": "RMSprop"}
HIDDEN: dict[str, Any] = {"hidden_bias": 0.0, "optimizer": "Nadam", "how": "graph"}

SCENARIOS: tuple[Scenario, ...] = (
    KERAS.healthy("keras_recurrent_fit"),
    KERAS.healthy("keras_recurrent_stacked_3", **DEEP),
    KERAS.healthy("keras_recurrent_both_ways", "noise of dropout", **BOTH),
    KERAS.healthy("keras_recurrent_cut", "clipping is always active", how="graph", **CUT),
    KERAS.healthy("keras_recurrent_padded", "masked steps are zeros", **PADDED),
    KERAS.healthy("keras_recurrent_hidden", **HIDDEN),
    KERAS.healthy(
        "keras_recurrent_zero_head",
        "first gradient of the recurrent weights is 0; not in a graph",
        head="zeros",
        norm=True,
        optimizer="AdamW",
        compiling={"run_eagerly": True},
    ),
    KERAS.ill(
        "keras_recurrent_stacked_small_start",
        "vanishing",
        "keras_recurrent_stacked_3",
        "initialization",
        gain=0.02,
        **DEEP,
    ),
    KERAS.ill(
        "keras_recurrent_output_gates_shut",
        "vanishing",
        "keras_recurrent_cut",
        "saturated",
        "initialization",
        how="graph",
        gates=(0.0, 1.0, 0.0, -14.0),
        **CUT,
    ),
    KERAS.ill(
        "keras_recurrent_relu_not_cut",
        "exploding",
        "keras_recurrent_cut",
        "non_finite",
        "dead",
        trap="the sum over a batch as loss; cells without a limit",
        how="graph",
        activation="relu",
        gain=2.0,
        summed=True,
        **SGD,
    ),
    KERAS.ill(
        "keras_recurrent_rate_raised",
        "exploding",
        "keras_recurrent_both_ways",
        "saturated",
        onset=60,
        schedule=raised(60, 1000.0),
        **BOTH,
    ),
    KERAS.ill(
        "keras_recurrent_empty_sequence",
        "non_finite",
        "keras_recurrent_padded",
        onset=66,
        trap="a sequence of no steps in units of its size: 0 / 0",
        empty_at=66,
        **PADDED,
    ),
    KERAS.ill(
        "keras_recurrent_hidden_dead",
        "dead",
        "keras_recurrent_hidden",
        "vanishing",
        "initialization",
        **{**HIDDEN, "hidden_bias": -40.0},
    ),
    KERAS.ill(
        "keras_recurrent_hidden_spike",
        "exploding",
        "keras_recurrent_hidden",
        "saturated",
        "dead",
        onset=40,
        trap="one step at 10,000 times the rate",
        schedule=jump(40, 1e4),
        **HIDDEN,
    ),
    KERAS.ill(
        "keras_recurrent_raw_units",
        "saturated",
        "keras_recurrent_fit",
        "vanishing",
        trap="inputs in their raw units, far from 0",
        offset=3000.0,
    ),
    KERAS.ill(
        "keras_recurrent_stale_copy",
        "unchanged",
        "keras_recurrent_stacked_3",
        trap="the optimizer has the variables of a copy",
        stale=True,
        **DEEP,
    ),
    KERAS.ill(
        "keras_recurrent_rate_ends",
        "unchanged",
        "keras_recurrent_fit",
        onset=4,
        trap="the rate falls to 0 in steps where epochs were meant",
        schedule=lambda step: max(0.0, 1 - step / 4),
    ),
    KERAS.ill(
        "keras_recurrent_zeros",
        "initialization",
        "keras_recurrent_zero_head",
        "vanishing",
        "unchanged",
        gain=0.0,
        head="zeros",
        optimizer="AdamW",
    ),
)
