"""Trains small models in many ways; prints for each the sum of squares of its weights, as hex.

Each way has an optimizer of its own, so that the trace tells them apart by its index.
"""

import sys

import keras
import numpy as np
import tensorflow as tf

BATCH, STEPS = 32, 12
RNG = np.random.default_rng(7)
X = RNG.normal(size=(BATCH * STEPS, 8)).astype("float32")
Y = X.sum(axis=1, keepdims=True).astype("float32")
WORDS = RNG.integers(0, 40, size=(BATCH * STEPS, 5))


def layers():
    """Three dense layers; the first two are activations."""
    return [
        keras.layers.Dense(16, activation="relu"),
        keras.layers.Dense(16, activation="tanh"),
        keras.layers.Dense(1),
    ]


def sequential():
    """A sequential model."""
    return keras.Sequential([keras.layers.Input((8,)), *layers()])


class Subclassed(keras.Model):  # type: ignore[misc]
    """The same model, without a graph of layers."""

    def __init__(self):
        super().__init__()
        self.parts = layers()

    def call(self, values):
        """Apply all layers."""
        for part in self.parts:
            values = part(values)
        return values


class OwnStep(keras.Model):  # type: ignore[misc]
    """A model with a training step of its own."""

    def train_step(self, data):
        """Do what Keras does, by hand."""
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x=x, y=y, y_pred=self(x, training=True))
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return {"loss": loss}


def own_step():
    """A functional model with a training step of its own."""
    inputs = keras.layers.Input((8,))
    values = inputs
    for part in layers():
        values = part(values)
    return OwnStep(inputs, values)


def fit(optimizer, model=None, x=X, **options):
    """Train for one epoch in order."""
    model = sequential() if model is None else model
    model.compile(optimizer=optimizer, loss="mse", **options)
    model.fit(x, Y, epochs=1, batch_size=BATCH, shuffle=False, verbose=0)
    return model


def frozen():
    """A model of which only the last layers learn; then another optimizer has all of it."""
    model = sequential()
    model.layers[0].trainable = False
    fit(keras.optimizers.SGD(0.01), model)
    model.layers[0].trainable = True
    return fit(keras.optimizers.SGD(0.01), model)


def refrozen():
    """One optimizer, first for all variables, then for some of them."""
    optimizer = keras.optimizers.SGD(0.01)
    model = fit(optimizer)
    model.layers[0].trainable = False
    return fit(optimizer, model)


def embedding(**options):
    """A model with sparse gradients."""
    model = keras.Sequential(
        [keras.layers.Embedding(40, 6), keras.layers.Flatten(), keras.layers.Dense(1)]
    )
    return fit(keras.optimizers.SGD(0.01), model, WORDS, **options)


def on_batches():
    """Training without ``fit``."""
    model = sequential()
    model.compile(optimizer=keras.optimizers.SGD(0.01), loss="mse", metrics=["mae"])
    for start in range(0, len(X), BATCH):
        model.train_on_batch(X[start : start + BATCH], Y[start : start + BATCH])
    return model


def scaled():
    """Mixed precision's scaling; one batch overflows."""
    inner = keras.optimizers.SGD(0.01)
    optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=1024.0)
    x = X.copy()
    x[BATCH * 5] = np.inf
    model = sequential()
    model.layers[1].activation = keras.activations.linear
    return fit(optimizer, model, x)


def validated():
    """Two epochs with validation."""
    model = sequential()
    model.compile(optimizer=keras.optimizers.SGD(0.01), loss="mse", metrics=["mae"])
    model.fit(X, Y, validation_split=0.5, epochs=2, batch_size=BATCH, shuffle=False, verbose=0)
    return model


SGD = keras.optimizers.SGD
WAYS = {
    "eager": lambda: fit(SGD(0.01), run_eagerly=True),
    "graph": lambda: fit(SGD(0.01)),
    "jit": lambda: fit(SGD(0.01), jit_compile=True),
    "subclassed": lambda: fit(SGD(0.01), Subclassed()),
    "own_step": lambda: fit(SGD(0.01), own_step()),
    "on_batches": on_batches,
    "several": lambda: fit(SGD(0.01), steps_per_execution=4),
    "several_jit": lambda: fit(SGD(0.01), steps_per_execution=4, jit_compile=True),
    "global_clipnorm": lambda: fit(SGD(0.01, global_clipnorm=0.5)),
    "clipnorm": lambda: fit(SGD(0.01, clipnorm=0.5)),
    "clipvalue": lambda: fit(SGD(0.01, clipvalue=0.01)),
    "accumulated": lambda: fit(SGD(0.01, gradient_accumulation_steps=3)),
    "accumulated_jit": lambda: fit(SGD(0.01, gradient_accumulation_steps=3), jit_compile=True),
    "accumulated_eager": lambda: fit(SGD(0.01, gradient_accumulation_steps=3), run_eagerly=True),
    "scaled": scaled,
    "frozen": frozen,
    "refrozen": refrozen,
    "embedding": embedding,
    "embedding_jit": lambda: embedding(jit_compile=True),
    "embedding_eager": lambda: embedding(run_eagerly=True),
    "adamw": lambda: fit(keras.optimizers.AdamW(0.01, use_ema=True)),
    "validated": validated,
}


def main():
    """Run the ways that are named, or all."""
    for name in sys.argv[1:] or WAYS:
        keras.utils.set_random_seed(3)
        model = WAYS[name]()
        total = float(sum((weight.astype("float64") ** 2).sum() for weight in model.get_weights()))
        sys.stdout.write(f"{name} {total.hex()}\n")


main()
