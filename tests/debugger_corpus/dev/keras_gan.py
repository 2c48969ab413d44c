"""Keras: two dense networks against one another, two optimizers in a model's own ``train_step``.

Quality is how far the moments of what is generated lie from those of the data.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy

from tests.debugger_corpus.dev._common import Family
from tests.debugger_corpus.scenario import Scenario

STEPS = 200
BATCH = 64
LATENT = 4
CENTRE = (3.0, -2.0)


def _generator(*, start: str, bias: float, output: str, gain: float) -> Any:
    import keras

    def kernel() -> Any:
        return keras.initializers.get(start)

    layers: list[Any] = [keras.layers.Input((LATENT,))]
    for _ in range(2):
        layers += [
            keras.layers.Dense(
                32,
                kernel_initializer=kernel(),
                bias_initializer=keras.initializers.Constant(bias),
            ),
            keras.layers.ReLU(),
        ]
    layers.append(
        keras.layers.Dense(
            2,
            use_bias=False,
            kernel_initializer=kernel() if gain == 1.0 else keras.initializers.Constant(gain),
        )
    )
    if output == "tanh":
        layers += [keras.layers.Activation("tanh"), keras.layers.Rescaling(4.0)]
    return keras.Sequential(layers)


def _critic(activation: str, hidden: str, depth: int) -> Any:
    import keras

    layers: list[Any] = [keras.layers.Input((2,))]
    for _ in range(depth):
        layers += [keras.layers.Dense(32), keras.layers.Activation(hidden)]
    return keras.Sequential([*layers, keras.layers.Dense(1, activation=activation)])


def _losses(name: str) -> Any:
    """Return the critic's loss of (real, generated), and the generator's of (generated)."""
    from keras import ops

    if name == "wasserstein":
        return (
            lambda real, made: ops.mean(made) - ops.mean(real),
            lambda made: -ops.mean(made),
        )
    if name == "hinge":
        return (
            lambda real, made: ops.mean(ops.relu(1 - real)) + ops.mean(ops.relu(1 + made)),
            lambda made: -ops.mean(made),
        )
    if name == "probabilities":
        # By hand, with nothing added within the logarithms.
        return (
            lambda real, made: -ops.mean(ops.log(real)) - ops.mean(ops.log(1 - made)),
            lambda made: -ops.mean(ops.log(made)),
        )
    return (
        lambda real, made: ops.mean(ops.softplus(-real)) + ops.mean(ops.softplus(made)),
        lambda made: ops.mean(ops.softplus(-made)),
    )


def _adversaries(generator: Any, critic: Any, losses: Any, rounds: int, clip: float) -> Any:
    import keras
    import tensorflow
    from keras import ops

    of_critic, of_generator = losses

    class Adversaries(keras.Model):  # type: ignore[misc]
        """A generator and its critic."""

        def __init__(self) -> None:
            super().__init__()
            self.generator = generator
            self.critic = critic
            self.noise = keras.random.SeedGenerator(1)

        def compile(self, for_generator: Any, for_critic: Any) -> None:
            super().compile()
            for_generator.build(self.generator.trainable_variables)
            for_critic.build(self.critic.trainable_variables)
            self.for_generator = for_generator
            self.for_critic = for_critic

        def train_step(self, data: Any) -> Any:
            real = data[0]
            variables = self.critic.trainable_variables
            for _ in range(rounds):
                made = self.generator(self._noise(), training=True)
                with tensorflow.GradientTape() as tape:
                    loss = of_critic(self.critic(real), self.critic(made))
                self.for_critic.apply(tape.gradient(loss, variables), variables)
                if clip:
                    for variable in variables:
                        variable.assign(ops.clip(variable, -clip, clip))
            variables = self.generator.trainable_variables
            with tensorflow.GradientTape() as tape:
                made = self.generator(self._noise(), training=True)
                loss = of_generator(self.critic(made))
            self.for_generator.apply(tape.gradient(loss, variables), variables)
            mean = ops.square(ops.mean(made, axis=0) - ops.mean(real, axis=0))
            spread = ops.square(ops.std(made, axis=0) - ops.std(real, axis=0))
            return {"distance": ops.sum(mean + spread)}

        def _noise(self) -> Any:
            return keras.random.normal((BATCH, LATENT), seed=self.noise)

    return Adversaries()


def _train(
    seed: int,
    *,
    loss: str = "logits",
    start: str = "glorot_uniform",
    bias: float = 0.0,
    output: str = "linear",
    gain: float = 1.0,
    optimizer: str = "Adam",
    lr: float = 3e-3,
    critic_lr: float = 3e-3,
    decay: float | None = None,
    settings: dict[str, Any] | None = None,
    rounds: int = 1,
    clip: float = 0.0,
    hidden: str = "leaky_relu",
    depth: int = 2,
    missing_at: int = -1,
) -> Iterator[float]:
    import keras

    keras.utils.set_random_seed(seed)
    random = numpy.random.default_rng(seed)
    generator = _generator(start=start, bias=bias, output=output, gain=gain)
    critic = _critic("sigmoid" if loss == "probabilities" else "linear", hidden, depth)
    model = _adversaries(generator, critic, _losses(loss), rounds, clip)
    rate: Any = lr
    if decay is not None:
        # Meant for epochs, used for steps.
        rate = keras.optimizers.schedules.ExponentialDecay(lr, 1, decay)
    kind = getattr(keras.optimizers, optimizer)
    model.compile(kind(rate, **(settings or {})), kind(critic_lr, **(settings or {})))
    for step in range(STEPS):
        real = numpy.array(CENTRE) + 0.5 * random.normal(size=(BATCH, 2))
        if step == missing_at:
            real[3, 1] = numpy.nan
        logs = model.train_on_batch(real.astype("float32"), return_dict=True)
        yield float(logs["distance"])


KERAS = Family("keras_gan", _train, STEPS, None, "keras")
HALF = {"beta_1": 0.5}
MOMENTUM = {"momentum": 0.5}

SCENARIOS: tuple[Scenario, ...] = (
    KERAS.healthy("keras_gan_logits", "losses that do not fall", settings=HALF),
    KERAS.healthy(
        "keras_gan_momentum", optimizer="SGD", lr=0.02, critic_lr=0.05, settings=MOMENTUM
    ),
    KERAS.healthy("keras_gan_hinge", "losses that do not fall", loss="hinge", settings=HALF),
    KERAS.healthy(
        "keras_gan_clipped_weights",
        "weights clipped in every step; five steps of the critic in one",
        loss="wasserstein",
        optimizer="RMSprop",
        lr=2e-3,
        critic_lr=2e-3,
        rounds=5,
        clip=0.1,
    ),
    KERAS.healthy("keras_gan_tanh", "bounded output", output="tanh", settings=HALF),
    KERAS.ill(
        "keras_gan_deep_critic",
        "vanishing",
        "keras_gan_momentum",
        "saturated",
        "initialization",
        trap="the generator learns through 10 sigmoids",
        hidden="sigmoid",
        depth=10,
        optimizer="SGD",
        lr=0.02,
        critic_lr=0.05,
        settings=MOMENTUM,
    ),
    KERAS.ill(
        "keras_gan_weights_not_clipped",
        "exploding",
        "keras_gan_clipped_weights",
        "non_finite",
        loss="wasserstein",
        optimizer="SGD",
        lr=0.05,
        critic_lr=0.05,
        rounds=5,
    ),
    KERAS.ill(
        "keras_gan_logarithms",
        "non_finite",
        "keras_gan_logits",
        "saturated",
        trap="log(0) of a probability",
        loss="probabilities",
        critic_lr=0.3,
        rounds=5,
        settings=HALF,
    ),
    KERAS.ill(
        "keras_gan_missing_value",
        "non_finite",
        "keras_gan_hinge",
        onset=90,
        loss="hinge",
        settings=HALF,
        missing_at=90,
    ),
    KERAS.ill(
        "keras_gan_dead_generator",
        "dead",
        "keras_gan_logits",
        "vanishing",
        "unchanged",
        "initialization",
        trap="only the generator",
        bias=-20.0,
        settings=HALF,
    ),
    KERAS.ill(
        "keras_gan_saturated_output",
        "saturated",
        "keras_gan_tanh",
        "vanishing",
        "initialization",
        output="tanh",
        gain=1e5,
        settings=HALF,
    ),
    KERAS.ill(
        "keras_gan_zero_generator",
        "initialization",
        "keras_gan_logits",
        "vanishing",
        "unchanged",
        "dead",
        start="zeros",
        settings=HALF,
    ),
    KERAS.ill(
        "keras_gan_rate_decays_by_step",
        "unchanged",
        "keras_gan_logits",
        onset=6,
        trap="only the generator; its critic goes on",
        decay=0.3,
        settings=HALF,
    ),
)
