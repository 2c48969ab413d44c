"""Keras: bags of words; a table of vectors, their mean, dense layers, the topic of a text.

``fit`` over a generator of batches that does not end; texts are filled up with word 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy

from tests.debugger_corpus.dev._common import Family
from tests.debugger_corpus.dev._fitted import losses_of
from tests.debugger_corpus.scenario import Scenario

STEPS = 150
BATCH = 32
LENGTH = 16
TOPICS = 5
VECTOR = 16


def _model(
    *,
    words: int,
    masked: bool = False,
    table: float = 0.3,
    frozen: bool = False,
    activation: str = "relu",
    depth: int = 1,
    norm: bool = False,
    start: Any = "glorot_uniform",
    bias: float = 0.0,
    policy: str = "float32",
) -> Any:
    import keras

    if isinstance(start, float):
        start = keras.initializers.RandomNormal(stddev=start)
    layers: list[Any] = [
        keras.layers.Input((LENGTH,), dtype="int32"),
        keras.layers.Embedding(
            words,
            VECTOR,
            keras.initializers.RandomNormal(stddev=table) if table else "zeros",
            mask_zero=masked,
            trainable=not frozen,
        ),
        keras.layers.GlobalAveragePooling1D(),
    ]
    for _ in range(depth):
        layers.append(
            keras.layers.Dense(
                32,
                kernel_initializer=start,
                bias_initializer=keras.initializers.Constant(bias),
                dtype=keras.DTypePolicy(policy),
            )
        )
        if norm:
            layers.append(keras.layers.LayerNormalization())
        layers.append(keras.layers.Activation(activation))
    layers.append(keras.layers.Dense(TOPICS, "softmax", kernel_initializer=start, dtype="float32"))
    return keras.Sequential(layers)


def _texts(
    generator: numpy.random.Generator, words: int, rare: float, empty_at: int
) -> Iterator[tuple[Any, ...]]:
    """Yield words, topics and weights; six of ten words tell the topic."""
    shares = numpy.full(TOPICS, (1 - rare) / (TOPICS - 1)) if rare else numpy.full(TOPICS, 0.2)
    shares[0] = rare or 0.2
    step = 0
    while True:
        topics = generator.choice(TOPICS, BATCH, p=shares)
        drawn = generator.integers(1, words, (BATCH, LENGTH))
        telling = generator.uniform(size=drawn.shape) < 0.6
        drawn = numpy.where(telling, drawn - drawn % TOPICS + topics[:, None], drawn)
        drawn = numpy.minimum(numpy.maximum(drawn, 1), words - 1)
        lengths = generator.integers(4, LENGTH + 1, (BATCH, 1))
        drawn = numpy.where(numpy.arange(LENGTH) < lengths, drawn, 0)
        if step == empty_at:
            drawn[0] = 0
        # Of equal sums for each topic.
        weights = 1 / (TOPICS * shares[topics])
        yield drawn.astype("int32"), topics.astype("int32"), weights.astype("float32")
        step += 1


def _schedule(name: str, **options: Any) -> Any:
    import keras

    return getattr(keras.optimizers.schedules, name)(**options)


def _train(
    seed: int,
    *,
    words: int = 300,
    rare: float = 0.0,
    empty_at: int = -1,
    optimizer: str = "Adam",
    lr: float = 0.01,
    schedule: Callable[[], Any] | None = None,
    settings: dict[str, Any] | None = None,
    compiling: dict[str, Any] | None = None,
    **shape: Any,
) -> Iterator[float]:
    import keras

    keras.utils.set_random_seed(seed)
    model = _model(words=words, **shape)
    rate = schedule() if schedule else lr
    compiling = compiling or {}
    model.compile(
        optimizer=getattr(keras.optimizers, optimizer)(rate, **(settings or {})),
        loss="sparse_categorical_crossentropy",
        **compiling,
    )
    losses = losses_of(compiling.get("steps_per_execution", 1))
    texts = _texts(numpy.random.default_rng(seed), words, rare, empty_at)
    model.fit(texts, steps_per_epoch=STEPS, verbose=0, callbacks=[losses], shuffle=False)
    yield from losses.kept


KERAS = Family("keras_embedding", _train, STEPS, math.log(TOPICS), "keras")
MOMENTUM = {"momentum": 0.9}
MASKED: dict[str, Any] = {"masked": True, "optimizer": "Nadam", "lr": 5e-3}
NESTEROV = {**MOMENTUM, "nesterov": True}
STEEP: dict[str, Any] = {"words": 60, "optimizer": "SGD", "settings": NESTEROV}
CLIPPED: dict[str, Any] = {
    "optimizer": "SGD",
    "lr": 0.3,
    "settings": {**MOMENTUM, "global_clipnorm": 0.2},
    "compiling": {"steps_per_execution": 5},
}
RARE: dict[str, Any] = {"rare": 0.04, "activation": "elu", "policy": "mixed_bfloat16", "lr": 0.02}
DEEP: dict[str, Any] = {"depth": 6, "activation": "tanh", "norm": True, "lr": 5e-3}

SCENARIOS: tuple[Scenario, ...] = (
    KERAS.healthy("keras_embedding_adam"),
    KERAS.healthy(
        "keras_embedding_rare_words",
        "a step reaches few rows of the table",
        words=1500,
        lr=0.02,
        settings={"gradient_accumulation_steps": 2},
    ),
    KERAS.healthy("keras_embedding_masked", "words are hidden behind a mask", **MASKED),
    KERAS.healthy(
        "keras_embedding_given_table",
        "the table is given and frozen on purpose",
        frozen=True,
        table=1.0,
        words=40,
        compiling={"run_eagerly": True},
    ),
    KERAS.healthy(
        "keras_embedding_steep",
        "a large rate, as means of small vectors need it",
        lr=0.15,
        **STEEP,
    ),
    KERAS.healthy(
        "keras_embedding_clipped",
        "every step is clipped",
        **CLIPPED,
    ),
    KERAS.healthy("keras_embedding_tanh_6", "deep, normalised", **DEEP),
    KERAS.healthy(
        "keras_embedding_decayed",
        "one topic is rare; weights decay",
        optimizer="AdamW",
        settings={"weight_decay": 0.1},
        **RARE,
    ),
    KERAS.ill(
        "keras_embedding_sigmoid_6",
        "vanishing",
        "keras_embedding_tanh_6",
        "initialization",
        trap="logistic layers without normalisation",
        depth=6,
        activation="sigmoid",
        optimizer="SGD",
        lr=0.05,
        settings=MOMENTUM,
    ),
    KERAS.ill(
        "keras_embedding_small_start",
        "vanishing",
        "keras_embedding_steep",
        "initialization",
        trap="vectors and kernels start far too small",
        table=1e-4,
        start=1e-3,
        lr=0.05,
        **STEEP,
    ),
    KERAS.ill(
        "keras_embedding_rate_steps_up",
        "exploding",
        "keras_embedding_steep",
        "non_finite",
        "dead",
        onset=60,
        trap="the next rate was to be 5e-3 and is 5e3",
        schedule=partial(
            _schedule, "PiecewiseConstantDecay", boundaries=[59], values=[0.15, 5000.0]
        ),
        **STEEP,
    ),
    KERAS.ill(
        "keras_embedding_decay_overshoots",
        "exploding",
        "keras_embedding_decayed",
        "non_finite",
        trap="decay times rate is three: weights overshoot zero",
        optimizer="AdamW",
        settings={"weight_decay": 150.0},
        **RARE,
    ),
    KERAS.ill(
        "keras_embedding_empty_text",
        "non_finite",
        "keras_embedding_masked",
        "dead",
        onset=80,
        trap="the mean over a mask that hides everything; ReLU turns NaN to 0, the loss is finite",
        empty_at=80,
        **MASKED,
    ),
    KERAS.ill(
        "keras_embedding_dead",
        "dead",
        "keras_embedding_adam",
        "vanishing",
        "initialization",
        bias=-10.0,
    ),
    KERAS.ill(
        "keras_embedding_large_vectors",
        "saturated",
        "keras_embedding_tanh_6",
        "vanishing",
        "initialization",
        trap="vectors of hundreds without normalisation, before tanh",
        table=3000.0,
        start=20.0,
        depth=6,
        activation="tanh",
        lr=5e-4,
    ),
    KERAS.ill(
        "keras_embedding_decays_each_step",
        "unchanged",
        "keras_embedding_adam",
        onset=30,
        trap="the rate is halved in every step, not in every epoch",
        schedule=partial(
            _schedule,
            "ExponentialDecay",
            initial_learning_rate=2e-3,
            decay_steps=1,
            decay_rate=0.5,
        ),
    ),
    KERAS.ill(
        "keras_embedding_accumulates_on",
        "unchanged",
        "keras_embedding_rare_words",
        trap="more steps are accumulated than are made",
        words=1500,
        lr=0.02,
        settings={"gradient_accumulation_steps": 500},
    ),
    KERAS.ill(
        "keras_embedding_zeros",
        "initialization",
        "keras_embedding_clipped",
        "vanishing",
        "unchanged",
        table=0.0,
        start="zeros",
        **CLIPPED,
    ),
)
