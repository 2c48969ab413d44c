"""Keras: sets of points, trained by ``fit`` over epochs with schedules, callbacks, precisions.

The target is an even function of the points, so that a linear model learns nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy

from tests.debugger_corpus.dev._common import Family
from tests.debugger_corpus.dev._fitted import losses_of
from tests.debugger_corpus.scenario import Scenario

EPOCHS = 20
PER_EPOCH = 10
STEPS = EPOCHS * PER_EPOCH
BATCH = 32
POINTS = 8
FEATURES = 5


def _model(*, activation: str, norm: bool, start: str, bias: float, policy: str) -> Any:
    import keras
    from keras import ops

    used: Any = ops.square if activation == "square" else activation
    options = {"dtype": keras.DTypePolicy(policy)}
    constant = keras.initializers.Constant
    layers: list[Any] = [
        keras.layers.Input((POINTS, FEATURES)),
        keras.layers.Dense(
            32, used, kernel_initializer=start, bias_initializer=constant(bias), **options
        ),
    ]
    if norm:
        layers.append(keras.layers.BatchNormalization(momentum=0.9, **options))
    layers += [
        keras.layers.GlobalAveragePooling1D(**options),
        keras.layers.Dense(16, kernel_initializer=start, **options),
        keras.layers.Activation("swish", **options),
        # A mixed precision ends in full precision; a pure one does not.
        keras.layers.Dense(
            1,
            kernel_initializer=start,
            dtype="float32" if policy.startswith("mixed") else policy,
        ),
    ]
    return keras.Sequential(layers)


def _callback(name: str, **options: Any) -> Any:
    import keras

    return getattr(keras.callbacks, name)(**options)


def _restarts(lr: float, growth: float) -> Any:
    import keras

    return keras.optimizers.schedules.CosineDecayRestarts(lr, 60, t_mul=1.0, m_mul=growth)


def _compounding(factor: float, epoch: int, lr: float) -> float:
    """Multiply the rate that was multiplied in the epoch before."""
    return lr * factor**epoch


def _stepped(epoch: int, lr: float) -> float:
    return lr * 0.5 if epoch in (8, 14) else lr


def _train(
    seed: int,
    *,
    activation: str = "relu",
    norm: bool = False,
    start: str = "glorot_uniform",
    bias: float = 0.0,
    policy: str = "float32",
    units: float = 1.0,
    optimizer: str = "Adam",
    lr: float = 0.01,
    rate: Callable[[float], Any] | None = None,
    settings: dict[str, Any] | None = None,
    scaled: bool = False,
    callbacks: tuple[Callable[[], Any], ...] = (),
    compiling: dict[str, Any] | None = None,
) -> Iterator[float]:
    import keras

    keras.utils.set_random_seed(seed)
    generator = numpy.random.default_rng(seed)
    inputs = generator.normal(size=(PER_EPOCH * BATCH, POINTS, FEATURES))
    direction = generator.normal(size=FEATURES)
    targets = (inputs @ direction / numpy.linalg.norm(direction)) ** 2
    targets = targets.mean(axis=1)
    targets = (targets - targets.mean()) / targets.std()
    model = _model(activation=activation, norm=norm, start=start, bias=bias, policy=policy)
    chosen = getattr(keras.optimizers, optimizer)(rate(lr) if rate else lr, **(settings or {}))
    if scaled:
        chosen = keras.optimizers.LossScaleOptimizer(chosen)
    compiling = compiling or {}
    model.compile(optimizer=chosen, loss="mean_squared_error", **compiling)
    losses = losses_of(compiling.get("steps_per_execution", 1))
    model.fit(
        (units * inputs).astype("float32"),
        targets.astype("float32"),
        BATCH,
        EPOCHS,
        verbose=0,
        callbacks=[losses, *(make() for make in callbacks)],
    )
    yield from losses.kept


KERAS = Family("keras_schedule", _train, STEPS, 1.0, "keras")
MOMENTUM = {"momentum": 0.9}
SGD: dict[str, Any] = {"optimizer": "SGD", "lr": 0.05, "settings": MOMENTUM}
SCHEDULER = "LearningRateScheduler"

SCENARIOS: tuple[Scenario, ...] = (
    KERAS.healthy(
        "keras_schedule_warm_restarts",
        "the loss rises at restarts",
        rate=partial(_restarts, growth=0.9),
    ),
    KERAS.healthy(
        "keras_schedule_stepped",
        **SGD,
        callbacks=(partial(_callback, SCHEDULER, schedule=_stepped),),
    ),
    KERAS.healthy(
        "keras_schedule_accumulated",
        "weights change in every fourth step only",
        lr=0.03,
        settings={"gradient_accumulation_steps": 4},
    ),
    KERAS.healthy(
        "keras_schedule_averaged",
        "a moving average beside the weights",
        activation="swish",
        optimizer="AdamW",
        lr=0.02,
        settings={"use_ema": True, "ema_momentum": 0.95},
        compiling={"steps_per_execution": 5},
    ),
    KERAS.healthy(
        "keras_schedule_mixed",
        "half precision; large inputs, normalised",
        activation="square",
        norm=True,
        policy="mixed_bfloat16",
        units=1000.0,
        lr=0.02,
    ),
    KERAS.healthy(
        "keras_schedule_pure_bfloat16",
        policy="bfloat16",
        **SGD,
    ),
    KERAS.healthy(
        "keras_schedule_plateaus",
        "the rate falls whenever the loss rests; stops early",
        lr=0.02,
        callbacks=(
            partial(_callback, "ReduceLROnPlateau", monitor="loss", factor=0.5, patience=2),
            partial(_callback, "EarlyStopping", monitor="loss", patience=6),
        ),
    ),
    KERAS.healthy("keras_schedule_tanh", activation="tanh", lr=0.03),
    KERAS.ill(
        "keras_schedule_tiny_units",
        "vanishing",
        "keras_schedule_stepped",
        trap="inputs divided by their scale twice",
        units=1e-6,
        **SGD,
        callbacks=(partial(_callback, SCHEDULER, schedule=_stepped),),
    ),
    KERAS.ill(
        "keras_schedule_compounding",
        "exploding",
        "keras_schedule_stepped",
        "non_finite",
        "dead",
        onset=3 * PER_EPOCH,
        trap="the factor of an epoch is applied to the rate of the last",
        activation="swish",
        optimizer="SGD",
        lr=0.02,
        settings=MOMENTUM,
        callbacks=(partial(_callback, SCHEDULER, schedule=partial(_compounding, 1.3)),),
    ),
    KERAS.ill(
        "keras_schedule_restarts_grow",
        "exploding",
        "keras_schedule_warm_restarts",
        "dead",
        "non_finite",
        onset=60,
        trap="each restart begins 100 times as fast",
        rate=partial(_restarts, growth=100.0),
    ),
    KERAS.ill(
        "keras_schedule_float16_overflow",
        "non_finite",
        "keras_schedule_mixed",
        "unchanged",
        trap="loss scaling skips each step",
        activation="square",
        norm=True,
        policy="mixed_float16",
        units=1000.0,
        lr=0.02,
        scaled=True,
    ),
    KERAS.ill(
        "keras_schedule_dead",
        "dead",
        "keras_schedule_accumulated",
        "vanishing",
        "initialization",
        bias=-30.0,
        lr=0.03,
        settings={"gradient_accumulation_steps": 4},
    ),
    KERAS.ill(
        "keras_schedule_zeros",
        "initialization",
        "keras_schedule_averaged",
        "vanishing",
        "unchanged",
        start="zeros",
        activation="swish",
        optimizer="AdamW",
        lr=0.02,
        settings={"use_ema": True, "ema_momentum": 0.95},
        compiling={"steps_per_execution": 5},
    ),
    KERAS.ill(
        "keras_schedule_below_precision",
        "unchanged",
        "keras_schedule_pure_bfloat16",
        trap="steps smaller than half precision can tell",
        policy="bfloat16",
        optimizer="SGD",
        lr=1e-6,
        settings=MOMENTUM,
    ),
    KERAS.ill(
        "keras_schedule_impatient",
        "unchanged",
        "keras_schedule_plateaus",
        onset=2 * PER_EPOCH,
        trap="no fall of the loss is large enough: the rate ends within a few epochs",
        lr=5e-4,
        callbacks=(
            partial(
                _callback,
                "ReduceLROnPlateau",
                monitor="loss",
                factor=1e-4,
                patience=1,
                min_delta=100.0,
            ),
        ),
    ),
)
