"""Trains in loops of its own; prints for each the sum of squares of its weights, as hex."""

import gc
import sys

import keras
import numpy as np
import tensorflow as tf

BATCH, STEPS = 32, 12
RNG = np.random.default_rng(7)
X = RNG.normal(size=(BATCH * STEPS, 8)).astype("float32")
Y = X.sum(axis=1, keepdims=True).astype("float32")
BATCHES = [
    (tf.constant(X[start : start + BATCH]), tf.constant(Y[start : start + BATCH]))
    for start in range(0, len(X), BATCH)
]


def made():
    """A model and what to train it with."""
    model = keras.Sequential(
        [
            keras.layers.Input((8,)),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(1),
        ]
    )
    return model, keras.optimizers.SGD(0.01)


def step_of(model, optimizer):
    """One step with a tape."""

    def step(x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x, training=True) - y) ** 2)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    return step


def eager():
    """Every operation by itself."""
    model, optimizer = made()
    step = step_of(model, optimizer)
    for x, y in BATCHES:
        step(x, y)
    return model


def graph(**options):
    """A step as a function."""
    model, optimizer = made()
    optimizer.build(model.trainable_variables)
    step = tf.function(step_of(model, optimizer), **options)
    for x, y in BATCHES:
        step(x, y)
    return model


def whole_epoch():
    """All steps in one function."""
    model, optimizer = made()
    optimizer.build(model.trainable_variables)
    step = step_of(model, optimizer)
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(BATCH)

    @tf.function
    def epoch():
        for x, y in data:
            step(x, y)

    epoch()
    return model


def many():
    """More steps in one function than a ring holds: they are read while it runs."""
    model, optimizer = made()
    optimizer.build(model.trainable_variables)
    step = step_of(model, optimizer)
    x, y = BATCHES[0]

    @tf.function
    def long():
        for _ in tf.range(6000):
            step(x, y)

    long()
    return model


def two():
    """Two optimizers, whose gradients are computed before either steps."""
    first, first_optimizer = made()
    second, second_optimizer = made()
    first_optimizer.build(first.trainable_variables)
    second_optimizer.build(second.trainable_variables)

    @tf.function
    def step(x, y):
        with tf.GradientTape() as one, tf.GradientTape() as other:
            loss = tf.reduce_mean((first(x) - y) ** 2)
            other_loss = 100.0 * tf.reduce_mean((second(x) - y) ** 2)
        gradients = one.gradient(loss, first.trainable_variables)
        other_gradients = other.gradient(other_loss, second.trainable_variables)
        first_optimizer.apply(gradients, first.trainable_variables)
        second_optimizer.apply(other_gradients, second.trainable_variables)

    for x, y in BATCHES:
        step(x, y)
    return first


def clipped():
    """A loop that clips by itself and averages two micro batches."""
    model, optimizer = made()
    for (x, y), (other_x, other_y) in zip(BATCHES[::2], BATCHES[1::2], strict=True):
        every = []
        for inputs, targets in ((x, y), (other_x, other_y)):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((model(inputs) - targets) ** 2) / 2
            every.append(tape.gradient(loss, model.trainable_variables))
        gradients, _ = tf.clip_by_global_norm([a + b for a, b in zip(*every, strict=True)], 1.0)
        optimizer.apply(gradients, model.trainable_variables)
    return model


def clipped_graph():
    """A step as a function that clips by itself."""
    model, optimizer = made()
    optimizer.build(model.trainable_variables)

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x) - y) ** 2)
        gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, model.trainable_variables), 0.5)
        optimizer.apply(gradients, model.trainable_variables)

    for x, y in BATCHES:
        step(x, y)
    return model


def by_hand():
    """No optimizer at all."""
    model, _ = made()
    for x, y in BATCHES:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x) - y) ** 2)
        gradients = tape.gradient(loss, model.trainable_variables)
        for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
            variable.assign_sub(0.01 * gradient)
    return model


def replaced(compiled=True):
    """The same as ``trained_beside``, and the model is gone before its last step is read."""
    copy = trained_beside(compiled)
    gc.collect()
    return copy


def trained_beside(compiled):
    """The optimizer has the variables of a copy, and gets the gradients of the model."""
    model, optimizer = made()
    copy = keras.models.clone_model(model)
    optimizer.build(copy.trainable_variables)

    def step(x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x) - y) ** 2)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, copy.trainable_variables)

    step = tf.function(step) if compiled else step
    for x, y in BATCHES:
        step(x, y)
    return copy


def replicated():
    """A strategy with one replica, as scripts for any number of devices have it."""
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        model, optimizer = made()
        model.compile(optimizer=optimizer, loss="mse")
    model.fit(X, Y, batch_size=BATCH, shuffle=False, verbose=0)
    return model


def copied():
    """A copy of a trained model, with its optimizer's settings."""
    model, optimizer = made()
    model.compile(optimizer=optimizer, loss="mse")
    model.fit(X, Y, batch_size=BATCH, shuffle=False, verbose=0)
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    copy.compile(optimizer=keras.optimizers.SGD.from_config(optimizer.get_config()), loss="mse")
    copy.fit(X, Y, batch_size=BATCH, shuffle=False, verbose=0)
    return copy


WAYS = {
    "eager": eager,
    "graph": graph,
    "jit": lambda: graph(jit_compile=True),
    "whole_epoch": whole_epoch,
    "two": two,
    "clipped": clipped,
    "clipped_graph": clipped_graph,
    "copied": copied,
    "replicated": replicated,
    "many": many,
    "by_hand": by_hand,
    "replaced": replaced,
    "replaced_eager": lambda: replaced(compiled=False),
}


def main():
    """Run the ways that are named, or all."""
    for name in sys.argv[1:] or WAYS:
        keras.utils.set_random_seed(3)
        model = WAYS[name]()
        total = float(sum((weight.astype("float64") ** 2).sum() for weight in model.get_weights()))
        sys.stdout.write(f"{name} {total.hex()}\n")


main()
