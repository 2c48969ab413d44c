"""Keras: highway and gated linear layers, subclassed, with two outputs and ``train_on_batch``.

One output names the picture, the other tells its contrast.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy

from tests.debugger_corpus.dev._common import LN_10, Family, constant, raised
from tests.debugger_corpus.dev._keras import pictures
from tests.debugger_corpus.scenario import Scenario

STEPS = 120
BATCH = 48
WIDTH = 32


def _gated(unit: str, gain: float, gate_bias: float) -> Any:
    import keras
    from keras import ops

    def kernel() -> Any:
        return keras.initializers.VarianceScaling(gain, mode="fan_in") if gain else "zeros"

    gates = {"glu": "sigmoid", "swiglu": "swish", "reglu": "relu"}

    class Gated(keras.layers.Layer):  # type: ignore[misc]
        """Values times gates; of a highway the rest of the gate carries the input on."""

        def __init__(self) -> None:
            super().__init__()
            self.value = keras.layers.Dense(
                WIDTH,
                "linear" if unit in gates else unit,
                kernel_initializer=kernel(),
            )
            self.gate = keras.layers.Dense(
                WIDTH,
                gates.get(unit, "sigmoid"),
                kernel_initializer=kernel(),
                bias_initializer=keras.initializers.Constant(gate_bias),
            )

        def call(self, inputs: Any) -> Any:
            gate = self.gate(inputs)
            value = ops.multiply(gate, self.value(inputs))
            return value if unit in gates else value + (1 - gate) * inputs

    return Gated()


def _model(*, unit: str, depth: int, norm: bool, gain: float, gate_bias: float) -> Any:
    import keras

    class Reader(keras.Model):  # type: ignore[misc]
        """What kind of picture it is, and its contrast."""

        def __init__(self) -> None:
            super().__init__()
            self.first = keras.layers.Dense(WIDTH)
            self.gated = [_gated(unit, gain, gate_bias) for _ in range(depth)]
            self.norms = [keras.layers.LayerNormalization() for _ in range(depth if norm else 0)]
            self.kind = keras.layers.Dense(10)
            self.contrast = keras.layers.Dense(1)

        def call(self, inputs: Any, training: bool = False) -> Any:
            hidden = self.first(inputs)
            for number, layer in enumerate(self.gated):
                hidden = layer(self.norms[number](hidden) if norm else hidden)
            return {"kind": self.kind(hidden), "contrast": self.contrast(hidden)}

    return Reader()


def _train(
    seed: int,
    *,
    unit: str = "glu",
    depth: int = 2,
    norm: bool = False,
    gain: float = 1.0,
    gate_bias: float = 0.0,
    optimizer: str = "Adam",
    lr: float = 5e-3,
    settings: dict[str, Any] | None = None,
    schedule: Callable[[int], float] = constant,
    weighted: bool = False,
    none_at: int = -1,
    eager: bool = False,
) -> Iterator[float]:
    import keras

    keras.utils.set_random_seed(seed)
    generator = numpy.random.default_rng(seed)
    prototypes = pictures(generator)
    model = _model(unit=unit, depth=depth, norm=norm, gain=gain, gate_bias=gate_bias)
    model.compile(
        optimizer=getattr(keras.optimizers, optimizer)(learning_rate=lr, **(settings or {})),
        loss={
            "kind": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            "contrast": keras.losses.Huber(),
        },
        loss_weights={"kind": 1.0, "contrast": 0.3},
        run_eagerly=eager,
    )
    for step in range(STEPS):
        kinds = generator.integers(0, 10, BATCH)
        contrasts = generator.uniform(0.5, 1.5, (BATCH, 1))
        inputs = contrasts * prototypes[kinds] + 0.5 * generator.normal(size=(BATCH, 64))
        weights = None
        if weighted:
            # Rows of which the label is certain, in equal parts.
            certain = (generator.uniform(size=BATCH) < (0.0 if step == none_at else 0.3)) * 1.0
            with numpy.errstate(invalid="ignore"):
                weights = {name: BATCH * certain / certain.sum() for name in ("kind", "contrast")}
        if schedule is not constant:
            model.optimizer.learning_rate = lr * schedule(step)
        model.reset_metrics()
        logs = model.train_on_batch(
            inputs.astype("float32"),
            {"kind": kinds, "contrast": 3.46 * (contrasts - 1)},
            sample_weight=weights,
            return_dict=True,
        )
        yield float(logs["loss"])


KERAS = Family("keras_gated", _train, STEPS, LN_10, "keras")
MOMENTUM = {"momentum": 0.9}
AVERAGED = {"use_ema": True, "ema_overwrite_frequency": 1}

SCENARIOS: tuple[Scenario, ...] = (
    KERAS.healthy("keras_gated_glu"),
    KERAS.healthy("keras_gated_reglu", "half of all gates shut", unit="reglu"),
    KERAS.healthy(
        "keras_gated_swiglu",
        unit="swiglu",
        depth=4,
        norm=True,
        optimizer="AdamW",
        settings={"weight_decay": 0.01, "clipnorm": 0.5},
    ),
    KERAS.healthy(
        "keras_gated_highway_10",
        "deep; gates nearly shut at first",
        unit="sigmoid",
        depth=10,
        gate_bias=-3.0,
    ),
    KERAS.healthy("keras_gated_tanh_7", unit="tanh", depth=7, gate_bias=-1.0),
    KERAS.healthy(
        "keras_gated_few_certain",
        "most sample weights are 0",
        weighted=True,
        unit="tanh",
        gate_bias=-1.0,
        optimizer="SGD",
        lr=0.1,
        settings=MOMENTUM,
    ),
    KERAS.healthy(
        "keras_gated_averaged",
        "an average overwrites the weights in every step",
        settings={**AVERAGED, "ema_momentum": 0.5},
        lr=0.02,
    ),
    KERAS.ill(
        "keras_gated_gates_shut",
        "vanishing",
        "keras_gated_glu",
        "saturated",
        "initialization",
        depth=3,
        gate_bias=-14.0,
        lr=1e-3,
    ),
    KERAS.ill(
        "keras_gated_highway_no_carry",
        "vanishing",
        "keras_gated_highway_10",
        "initialization",
        "saturated",
        trap="gates wide open: a deep stack of sigmoids",
        unit="sigmoid",
        depth=10,
        gate_bias=10.0,
    ),
    KERAS.ill(
        "keras_gated_swiglu_no_norm",
        "exploding",
        "keras_gated_swiglu",
        "non_finite",
        "initialization",
        unit="swiglu",
        depth=4,
        gain=9.0,
        optimizer="AdamW",
        settings={"weight_decay": 0.01},
    ),
    KERAS.ill(
        "keras_gated_rate_raised",
        "exploding",
        "keras_gated_few_certain",
        "non_finite",
        "saturated",
        onset=70,
        weighted=True,
        unit="tanh",
        gate_bias=-1.0,
        optimizer="SGD",
        lr=0.1,
        settings=MOMENTUM,
        schedule=raised(70, 150.0),
    ),
    KERAS.ill(
        "keras_gated_none_certain",
        "non_finite",
        "keras_gated_few_certain",
        onset=75,
        trap="0 / 0 in the sample weights of one batch",
        weighted=True,
        none_at=75,
        unit="tanh",
        gate_bias=-1.0,
        optimizer="SGD",
        lr=0.1,
        settings=MOMENTUM,
    ),
    KERAS.ill(
        "keras_gated_reglu_dead",
        "dead",
        "keras_gated_reglu",
        "vanishing",
        "initialization",
        unit="reglu",
        gate_bias=-30.0,
    ),
    KERAS.ill(
        "keras_gated_tanh_large_gain",
        "saturated",
        "keras_gated_tanh_7",
        "vanishing",
        "initialization",
        unit="tanh",
        depth=7,
        gain=1e7,
        gate_bias=-1.0,
        lr=1e-3,
    ),
    KERAS.ill(
        "keras_gated_average_never_moves",
        "unchanged",
        "keras_gated_averaged",
        trap="weights overwritten by an average with momentum 1",
        settings={**AVERAGED, "ema_momentum": 1.0},
        lr=0.02,
    ),
    KERAS.ill(
        "keras_gated_zeros",
        "initialization",
        "keras_gated_glu",
        "vanishing",
        "unchanged",
        depth=3,
        gain=0.0,
    ),
)
