"""Keras: a small encoder of tokens, trained by an own loop with ``GradientTape``.

A text is of the class of its most frequent marks, among words that say nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy

from tests.debugger_corpus.dev._common import Family, constant, jump, ramp, warm_up
from tests.debugger_corpus.scenario import Scenario

STEPS = 120
BATCH = 32
LENGTH = 12
WORDS = 24
CLASSES = 4
WIDTH = 24


def _model(
    *,
    blocks: int = 2,
    heads: int = 4,
    norm: str = "before",
    carried: bool = True,
    activation: str = "gelu",
    start: Any = "glorot_uniform",
    scale: float = 1.0,
    bias: float = 0.0,
    dropout: float = 0.0,
    read: str = "all",
    trained: tuple[str, ...] = (),
) -> Any:
    import keras
    from keras import layers, ops

    def kernel() -> Any:
        return keras.initializers.VarianceScaling(start) if isinstance(start, float) else start

    def around(branch: Any, inputs: Any) -> tuple[Any, Any]:
        """Return what goes on, and what the branch alone gave."""
        inner = branch(layers.LayerNormalization()(inputs) if norm == "before" else inputs)
        outputs = layers.Add()([inputs, inner]) if carried else inner
        return layers.LayerNormalization()(outputs) if norm == "after" else outputs, inner

    class Places(layers.Layer):  # type: ignore[misc]
        """Add a learnt vector for each place."""

        def build(self, shape: Any) -> None:
            self.places = self.add_weight(shape=shape[1:], initializer="random_normal")

        def call(self, inputs: Any) -> Any:
            return ops.multiply(inputs + self.places, scale)

    tokens = layers.Input((LENGTH,), dtype="int32")
    hidden = layers.Embedding(WORDS, WIDTH, name="table")(tokens)
    hidden = Places(name="places")(hidden)
    inner = hidden
    for _ in range(blocks):
        attention = layers.MultiHeadAttention(
            heads, WIDTH // heads, dropout=dropout, kernel_initializer=kernel()
        )
        hidden, _ = around(lambda inputs, layer=attention: layer(inputs, inputs), hidden)
        wide = layers.Dense(
            2 * WIDTH,
            activation,
            kernel_initializer=kernel(),
            bias_initializer=keras.initializers.Constant(bias),
        )
        narrow = layers.Dense(WIDTH, kernel_initializer=kernel())
        hidden, inner = around(lambda inputs, a=wide, b=narrow: b(a(inputs)), hidden)
    if read == "wide":
        # The branch alone is read, so that nothing goes around it.
        hidden = inner
    hidden = layers.GlobalAveragePooling1D()(hidden)
    model = keras.Model(tokens, layers.Dense(CLASSES, name="head", dtype="float32")(hidden))
    for layer in model.layers:
        layer.trainable = not trained or layer.name in trained
    return model


def _texts(generator: numpy.random.Generator) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Of each text a third of the words or more are marks of its class."""
    classes = generator.integers(0, CLASSES, BATCH)
    words = generator.integers(0, WORDS, (BATCH, LENGTH))
    marks = generator.uniform(size=words.shape) < 0.5
    words = numpy.where(marks, words - words % CLASSES + classes[:, None], words)
    return words.astype("int32"), classes.astype("int32")


def _loss(kind: str, logits: Any, classes: Any) -> Any:
    import tensorflow as tf

    if kind == "own":
        # A softmax by hand, without subtracting the largest logit.
        shares = tf.exp(logits) / tf.reduce_sum(tf.exp(logits), axis=1, keepdims=True)
        return -tf.reduce_mean(tf.math.log(tf.gather(shares, classes, batch_dims=1)))
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(classes, logits)
    return tf.reduce_mean(losses)


def _train(
    seed: int,
    *,
    policy: str = "float32",
    loss: str = "logits",
    optimizer: str = "Adam",
    lr: float = 3e-3,
    settings: dict[str, Any] | None = None,
    schedule: Callable[[int], float] = constant,
    scaled: bool = False,
    compiled: bool = True,
    steps: int = STEPS,
    copied: bool = False,
    blown_at: int = -1,
    **shape: Any,
) -> Iterator[float]:
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    generator = numpy.random.default_rng(seed)
    keras.config.set_dtype_policy(policy)
    try:
        model = _model(**shape)
    finally:
        keras.config.set_dtype_policy("float32")
    chosen = getattr(keras.optimizers, optimizer)(learning_rate=lr, **(settings or {}))
    if scaled:
        chosen = keras.optimizers.LossScaleOptimizer(chosen)
    # The optimizer is given a copy of the model by mistake.
    stepped = keras.models.clone_model(model) if copied else model
    chosen.build(stepped.trainable_variables)

    def step(words: Any, classes: Any) -> Any:
        with tf.GradientTape() as tape:
            value = _loss(loss, model(words, training=True), classes)
            target = chosen.scale_loss(value)
        gradients = tape.gradient(target, model.trainable_variables)
        chosen.apply(gradients, stepped.trainable_variables)
        return value

    run = tf.function(step) if compiled else step
    for number in range(steps):
        words, classes = _texts(generator)
        if schedule is not constant:
            chosen.learning_rate = lr * schedule(number)
        if number == blown_at:
            # A checkpoint of another scale is loaded into the head.
            head = model.get_layer("head")
            head.kernel.assign(1e3 * head.kernel)
        yield float(run(tf.constant(words), tf.constant(classes)))


def _past_its_end(step: int) -> float:
    """Decay to zero in 70 steps; the root of what is negative is no number."""
    with numpy.errstate(invalid="ignore"):
        return float(numpy.power(numpy.float64(1 - step / 70), 0.9))


KERAS = Family("keras_attention", _train, STEPS, math.log(CLASSES), "keras")
MOMENTUM = {"momentum": 0.9}
PLAIN: dict[str, Any] = {"optimizer": "SGD", "lr": 0.05, "settings": MOMENTUM}
AFTER: dict[str, Any] = {"norm": "after", "optimizer": "AdamW", "settings": {"weight_decay": 0.01}}
HALVES = {"gradient_accumulation_steps": 2}
OWN: dict[str, Any] = {"loss": "own", "blocks": 1, "settings": HALVES, "lr": 0.01}
WIDE: dict[str, Any] = {"read": "wide", "blocks": 1}

SCENARIOS: tuple[Scenario, ...] = (
    KERAS.healthy("keras_attention_before"),
    KERAS.healthy(
        "keras_attention_eager",
        "clipped in every step, dropout",
        compiled=False,
        steps=50,
        blocks=1,
        dropout=0.1,
        settings={"global_clipnorm": 0.3},
        lr=5e-3,
    ),
    KERAS.healthy("keras_attention_after", "a rate of 0", schedule=warm_up(30), **AFTER),
    KERAS.healthy("keras_attention_relu", activation="relu", **WIDE),
    KERAS.healthy("keras_attention_tanh", activation="tanh", optimizer="Nadam", **WIDE),
    KERAS.healthy(
        "keras_attention_float16",
        "the first steps may overflow and be skipped",
        policy="mixed_float16",
        scaled=True,
    ),
    KERAS.healthy("keras_attention_momentum", "no normalisation", norm="", **PLAIN),
    KERAS.healthy(
        "keras_attention_ends_only",
        "the encoder stays as it was drawn, on purpose",
        trained=("table", "head"),
        lr=0.01,
        policy="mixed_bfloat16",
    ),
    KERAS.healthy("keras_attention_own_softmax", **OWN),
    KERAS.ill(
        "keras_attention_nothing_carried",
        "vanishing",
        "keras_attention_momentum",
        "initialization",
        trap="small kernels, nothing goes around them",
        norm="",
        blocks=3,
        carried=False,
        start=0.02,
        **PLAIN,
    ),
    KERAS.ill(
        "keras_attention_rate_never_ends",
        "exploding",
        "keras_attention_after",
        "non_finite",
        onset=40,
        trap="the rise of the rate has no end",
        schedule=ramp(40, 1.4),
        **AFTER,
    ),
    KERAS.ill(
        "keras_attention_exp_overflows",
        "non_finite",
        "keras_attention_own_softmax",
        onset=30,  # in steps: two batches are accumulated for each
        trap="a head of another scale is loaded",
        blown_at=60,
        **OWN,
    ),
    KERAS.ill(
        "keras_attention_decay_past_its_end",
        "non_finite",
        "keras_attention_before",
        onset=71,
        trap="the rate is NaN",
        schedule=_past_its_end,
    ),
    KERAS.ill(
        "keras_attention_dead",
        "dead",
        "keras_attention_relu",
        "vanishing",
        "initialization",
        activation="relu",
        bias=-40.0,
        **WIDE,
    ),
    KERAS.ill(
        "keras_attention_spike",
        "exploding",
        "keras_attention_relu",
        "dead",
        onset=40,
        trap="one step of a rate 3000 times as large",
        schedule=jump(40, 3000.0),
        activation="relu",
        **WIDE,
    ),
    KERAS.ill(
        "keras_attention_saturated",
        "saturated",
        "keras_attention_tanh",
        "vanishing",
        "initialization",
        trap="places and words multiplied by thousands, behind no normalisation",
        activation="tanh",
        optimizer="Nadam",
        norm="",
        scale=1e4,
        start=100.0,
        lr=1e-4,
        **WIDE,
    ),
    KERAS.ill(
        "keras_attention_copy_is_stepped",
        "unchanged",
        "keras_attention_before",
        trap="the optimizer has the weights of a copy",
        copied=True,
    ),
    KERAS.ill(
        "keras_attention_zeros",
        "initialization",
        "keras_attention_relu",
        "vanishing",
        "unchanged",
        activation="relu",
        start="zeros",
        **WIDE,
    ),
)
