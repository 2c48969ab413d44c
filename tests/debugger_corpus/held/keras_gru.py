"""Keras: a functional GRU classifier of sequences, by ``train_on_batch``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import numpy as np

from tests.debugger_corpus.held import _tools
from tests.debugger_corpus.scenario import Scenario

STEPS = 120
LENGTH = 16


def _waves(rng: np.random.Generator, count: int) -> tuple[_tools.Floats, _tools.Floats]:
    """Return noisy waves of three frequencies, and which."""
    classes = rng.integers(0, 3, count)
    time = np.arange(LENGTH)[None] + rng.uniform(0, 6, (count, 1))
    waves = np.sin(time * np.array([0.4, 0.8, 1.4])[classes][:, None])
    waves = waves + rng.normal(0, 0.1, waves.shape)
    return waves[..., None].astype(np.float32), classes.astype(np.float32)


def _train(
    seed: int, *, trainable: bool = True, nan_at: int | None = None, warm_up: bool = False
) -> Iterator[float]:
    import keras

    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    inputs = keras.Input((LENGTH, 1))
    x = keras.layers.GRU(20, unroll=False)(inputs)
    x = keras.layers.LayerNormalization()(x)
    outputs = keras.layers.Dense(3, activation="softmax")(x)
    model = keras.Model(inputs, outputs)
    rate: float | keras.optimizers.schedules.LearningRateSchedule = 2e-2
    if warm_up:
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, STEPS, warmup_target=2e-2, warmup_steps=20
        )
    # A flag of an earlier experiment: nothing is left to train.
    model.trainable = trainable
    model.compile(keras.optimizers.Nadam(rate), "sparse_categorical_crossentropy")
    for step in range(STEPS):
        x, y = _waves(rng, 32)
        if step == nan_at:
            x[3, 7] = np.nan
        # The mean of the epoch so far is what Keras returns; it starts anew in each step here.
        model.reset_metrics()
        yield float(model.train_on_batch(x, y))


_run = partial(Scenario, half="held", architecture="keras_gru", steps=STEPS, framework="keras")

SCENARIOS: tuple[Scenario, ...] = (
    _run(name="keras_gru", kind="healthy", train=_train, trap="compiled, train_on_batch"),
    _run(
        name="keras_gru_warm_up",
        kind="healthy",
        train=partial(_train, warm_up=True),
        trap="warm-up from 0, cosine to 0",
    ),
    _run(
        name="keras_gru_nan_batch",
        kind="non_finite",
        train=partial(_train, nan_at=80),
        onset=80,
        twin="keras_gru",
        chance=math.log(3),
    ),
    _run(
        name="keras_gru_frozen",
        kind="unchanged",
        train=partial(_train, trainable=False),
        twin="keras_gru",
        chance=math.log(3),
    ),
)
