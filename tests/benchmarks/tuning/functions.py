"""Functions that are minimised, with the ranges and optima of the literature.

The definitions are those of Surjanovic and Bingham, Virtual Library of Simulation Experiments
(https://www.sfu.ca/~ssurjano/optimization.html), where nothing else is said.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

from orchestrator.spec.ranges import (
    CategoricalParameter,
    ContinuousParameter,
    IntegerParameter,
)
from tests.benchmarks.tuning.problems import Problem, Values

Function = Callable[[Sequence[float]], float]


def _over(
    name: str,
    function: Function,
    ends: Sequence[tuple[float, float]],
    optimum: float,
    *,
    is_smooth: bool = False,
) -> Problem:
    """Return a function of real numbers as a problem."""
    parameters = tuple(
        ContinuousParameter(name=f"x{place}", min_value=low, max_value=high, scaling_type="Linear")
        for place, (low, high) in enumerate(ends, start=1)
    )

    def loss(values: Values) -> float:
        return function([float(values[parameter.name]) for parameter in parameters])

    return Problem(name, parameters, loss, optimum, is_smooth)


def branin(x: Sequence[float]) -> float:
    """Three equal valleys in a smooth landscape."""
    a, b = x
    bend = b - 5.1 / (4 * math.pi**2) * a**2 + 5 / math.pi * a - 6
    return bend**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(a) + 10


_HARTMANN_WEIGHTS = (1.0, 1.2, 3.0, 3.2)
_HARTMANN6_WIDTHS = (
    (10, 3, 17, 3.5, 1.7, 8),
    (0.05, 10, 17, 0.1, 8, 14),
    (3, 3.5, 1.7, 10, 17, 8),
    (17, 8, 0.05, 10, 0.1, 14),
)
_HARTMANN6_CENTRES = (
    (0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886),
    (0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991),
    (0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650),
    (0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381),
)
_HARTMANN3_WIDTHS = ((3, 10, 30), (0.1, 10, 35), (3, 10, 30), (0.1, 10, 35))
_HARTMANN3_CENTRES = (
    (0.3689, 0.1170, 0.2673),
    (0.4699, 0.4387, 0.7470),
    (0.1091, 0.8732, 0.5547),
    (0.0381, 0.5743, 0.8828),
)


def _hartmann(
    x: Sequence[float], widths: Sequence[Sequence[float]], centres: Sequence[Sequence[float]]
) -> float:
    return -sum(
        weight * math.exp(-sum(w * (v - c) ** 2 for w, v, c in zip(width, x, centre, strict=True)))
        for weight, width, centre in zip(_HARTMANN_WEIGHTS, widths, centres, strict=True)
    )


def hartmann6(x: Sequence[float]) -> float:
    """Six valleys; the second is nearly as deep as the first."""
    return _hartmann(x, _HARTMANN6_WIDTHS, _HARTMANN6_CENTRES)


def hartmann3(x: Sequence[float]) -> float:
    """Four valleys."""
    return _hartmann(x, _HARTMANN3_WIDTHS, _HARTMANN3_CENTRES)


def ackley(x: Sequence[float]) -> float:
    """A narrow hole in a plain of ripples."""
    size = len(x)
    radius = math.sqrt(sum(v * v for v in x) / size)
    ripple = sum(math.cos(2 * math.pi * v) for v in x) / size
    return -20 * math.exp(-0.2 * radius) - math.exp(ripple) + 20 + math.e


def levy(x: Sequence[float]) -> float:
    """A valley of ripples."""
    w = [1 + (v - 1) / 4 for v in x]
    middle = sum((v - 1) ** 2 * (1 + 10 * math.sin(math.pi * v + 1) ** 2) for v in w[:-1])
    last = (w[-1] - 1) ** 2 * (1 + math.sin(2 * math.pi * w[-1]) ** 2)
    return math.sin(math.pi * w[0]) ** 2 + middle + last


def rosenbrock(x: Sequence[float]) -> float:
    """A narrow bent valley."""
    pairs = itertools.pairwise(x)
    return sum(100 * (after - before**2) ** 2 + (before - 1) ** 2 for before, after in pairs)


def rastrigin(x: Sequence[float]) -> float:
    """A bowl with many deep holes."""
    return sum(v * v - 10 * math.cos(2 * math.pi * v) + 10 for v in x)


def schwefel(x: Sequence[float]) -> float:
    """Deep holes that lie far from each other; the best is near a corner."""
    return sum(418.9828872724339 - v * math.sin(math.sqrt(abs(v))) for v in x)


def styblinski_tang(x: Sequence[float]) -> float:
    """Two valleys along each axis; the smallest per axis is -39.16617."""
    return sum(v**4 - 16 * v * v + 5 * v for v in x) / 2


def michalewicz(x: Sequence[float]) -> float:
    """Plains with steep canyons."""
    return -sum(
        math.sin(v) * math.sin(place * v * v / math.pi) ** 20 for place, v in enumerate(x, start=1)
    )


def griewank(x: Sequence[float]) -> float:
    """A wide bowl with small ripples."""
    waves = math.prod(math.cos(v / math.sqrt(place)) for place, v in enumerate(x, start=1))
    return sum(v * v for v in x) / 4000 - waves + 1


def zakharov(x: Sequence[float]) -> float:
    """A plate that rises steeply."""
    lean = sum(place * v / 2 for place, v in enumerate(x, start=1))
    return sum(v * v for v in x) + lean**2 + lean**4


def dixon_price(x: Sequence[float]) -> float:
    """A bent valley."""
    return (x[0] - 1) ** 2 + sum(
        place * (2 * after**2 - before) ** 2
        for place, (before, after) in enumerate(itertools.pairwise(x), start=2)
    )


def six_hump_camel(x: Sequence[float]) -> float:
    """Six valleys, two of them the deepest."""
    a, b = x
    return (4 - 2.1 * a**2 + a**4 / 3) * a**2 + a * b + (4 * b**2 - 4) * b**2


_SHEKEL_CENTRES = (
    (4, 4, 4, 4),
    (1, 1, 1, 1),
    (8, 8, 8, 8),
    (6, 6, 6, 6),
    (3, 7, 3, 7),
    (2, 9, 2, 9),
    (5, 5, 3, 3),
    (8, 1, 8, 1),
    (6, 2, 6, 2),
    (7, 3.6, 7, 3.6),
)
_SHEKEL_DEPTHS = (0.1, 0.2, 0.2, 0.4, 0.4, 0.6, 0.3, 0.7, 0.5, 0.5)


def shekel(x: Sequence[float]) -> float:
    """Ten narrow holes in a plain."""
    return -sum(
        1 / (sum((v - c) ** 2 for v, c in zip(x, centre, strict=True)) + depth)
        for centre, depth in zip(_SHEKEL_CENTRES, _SHEKEL_DEPTHS, strict=True)
    )


def _mixed_conditional() -> Problem:
    """Return a training that is made up: three algorithms with parameters of their own."""
    parameters = (
        CategoricalParameter(name="algorithm", values=("net", "trees", "kernel")),
        ContinuousParameter(name="sample", min_value=0.3, max_value=1.0, scaling_type="Linear"),
        ContinuousParameter(
            name="rate", min_value=1e-5, max_value=1.0, when={"algorithm": ("net",)}
        ),
        IntegerParameter(name="layers", min_value=1, max_value=8, when={"algorithm": ("net",)}),
        CategoricalParameter(
            name="optimizer", values=("sgd", "adam", "rms"), when={"algorithm": ("net",)}
        ),
        ContinuousParameter(
            name="momentum",
            min_value=0.0,
            max_value=0.99,
            scaling_type="Linear",
            when={"algorithm": ("net",), "optimizer": ("sgd",)},
        ),
        IntegerParameter(name="depth", min_value=1, max_value=12, when={"algorithm": ("trees",)}),
        ContinuousParameter(
            name="shrinkage", min_value=1e-3, max_value=1.0, when={"algorithm": ("trees",)}
        ),
        ContinuousParameter(
            name="cost", min_value=1e-3, max_value=1e3, when={"algorithm": ("kernel",)}
        ),
        ContinuousParameter(
            name="width", min_value=1e-4, max_value=1e1, when={"algorithm": ("kernel",)}
        ),
    )

    def off(values: Values, name: str, best: float) -> float:
        return math.log10(float(values[name]) / best)

    def loss(values: Values) -> float:
        sample = 0.02 * (1 - float(values["sample"])) ** 2
        if values["algorithm"] == "net":
            best = {"sgd": 0.1, "adam": 0.002, "rms": 0.001}[values["optimizer"]]
            cost = 0.05 + 0.05 * off(values, "rate", best) ** 2
            cost += 0.004 * (int(values["layers"]) - 5) ** 2
            cost += {"sgd": 0.0, "adam": 0.01, "rms": 0.015}[values["optimizer"]]
            if values["optimizer"] == "sgd":
                cost += 0.1 * (float(values["momentum"]) - 0.9) ** 2
        elif values["algorithm"] == "trees":
            cost = 0.07 + 0.03 * off(values, "shrinkage", 0.06) ** 2
            cost += 0.002 * (int(values["depth"]) - 6) ** 2
        else:
            cost = 0.09 + 0.02 * off(values, "cost", 10) ** 2
            cost += 0.03 * (off(values, "width", 0.02) + 0.3 * off(values, "cost", 10)) ** 2
        return 1 - 1 / (1 + cost + sample)

    return Problem("mixed-conditional", parameters, loss, 1 - 1 / 1.05)


def _mixed_flat() -> Problem:
    """Return a network's training that is made up: logarithmic, whole and categorical."""
    parameters = (
        ContinuousParameter(name="rate", min_value=1e-6, max_value=1.0),
        ContinuousParameter(name="dropout", min_value=0.0, max_value=0.8, scaling_type="Linear"),
        IntegerParameter(name="layers", min_value=1, max_value=10),
        IntegerParameter(name="units", min_value=16, max_value=1024, scaling_type="Logarithmic"),
        CategoricalParameter(name="activation", values=("relu", "tanh", "gelu", "elu")),
    )
    bias = {"relu": 0.0, "gelu": 0.01, "elu": 0.03, "tanh": 0.06}

    def loss(values: Values) -> float:
        layers, units = int(values["layers"]), math.log2(int(values["units"]))
        rate = math.log10(float(values["rate"])) + 2 + 0.15 * layers
        size = layers + units - 12
        cost = 0.02 * rate**2 + 0.01 * size**2 + (0.3 - float(values["dropout"])) ** 2 / 4
        return math.tanh(cost + bias[values["activation"]])

    return Problem("mixed-flat", parameters, loss, 0.0)


BENCHED = (
    _over("branin", branin, [(-5, 10), (0, 15)], 0.39788735772973816, is_smooth=True),
    _over("hartmann6", hartmann6, [(0, 1)] * 6, -3.3223680114155147, is_smooth=True),
    _over("ackley5", ackley, [(-32.768, 32.768)] * 5, 0.0),
    _over("levy4", levy, [(-10, 10)] * 4, 0.0),
    _over("rosenbrock4", rosenbrock, [(-5, 10)] * 4, 0.0, is_smooth=True),
    _mixed_conditional(),
)
"""What the default is scored on; nothing is chosen by it."""

DESIGN = (
    _over("camel2", six_hump_camel, [(-3, 3), (-2, 2)], -1.0316284534898774, is_smooth=True),
    _over("hartmann3", hartmann3, [(0, 1)] * 3, -3.8627797869493365, is_smooth=True),
    _over("styblinski5", styblinski_tang, [(-5, 5)] * 5, -39.16616570377142 * 5),
    _over("zakharov4", zakharov, [(-5, 10)] * 4, 0.0, is_smooth=True),
    _over("dixon-price5", dixon_price, [(-10, 10)] * 5, 0.0, is_smooth=True),
    _over("shekel4", shekel, [(0, 10)] * 4, -10.536443153483534),
    _over("rastrigin4", rastrigin, [(-5.12, 5.12)] * 4, 0.0),
    _over("rastrigin2", rastrigin, [(-5.12, 5.12)] * 2, 0.0),
    _over("schwefel4", schwefel, [(-500, 500)] * 4, 0.0),
    _over("michalewicz5", michalewicz, [(0, math.pi)] * 5, -4.687658179088148),
    _over("griewank5", griewank, [(-600, 600)] * 5, 0.0),
    _mixed_flat(),
)
"""What the default was chosen by."""
