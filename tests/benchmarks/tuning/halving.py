"""How much sooner a good value is found if bad training jobs are ended early (ASHA), by a simulated clock.

A service of some slots, a training job takes the same time for each epoch, and some more to start and
to be ended. What is decided is decided by the code of the tuning job.
"""

from __future__ import annotations

import functools
import heapq
import json
import math
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.tuner.early_stop import Rung, levels, next_rungs

EPOCHS = 27
FACTOR = 3
LEVELS = levels(1, EPOCHS, FACTOR)
SLOTS = 8
EPOCH_SECONDS = 60.0
HOURS = 4.0
SEEDS = 60
CURVES = Path("build/bench-tuning/curves.json")

Curve = Sequence[float]
"""Loss after each epoch."""


@dataclass(frozen=True)
class Service:
    """What a training job costs beside its epochs.

    Attributes:
        start_seconds: Until its first epoch begins.
        stop_seconds: From the decision to end it until its slot is free.
    """

    start_seconds: float
    stop_seconds: float


WARM = Service(1.0, 1.0)
COLD = Service(150.0, 60.0)


def power_law(drawn: random.Random) -> Curve:
    """Return a curve that falls as a power of the epoch, with some noise."""
    final = 0.06 + 0.5 * drawn.random() ** 2
    height, rate = drawn.uniform(0.2, 1.2), drawn.uniform(0.4, 1.6)
    return [
        final + height * epoch**-rate + drawn.gauss(0, 0.005) for epoch in range(1, EPOCHS + 1)
    ]


def best_by_time(
    next_curve: Callable[[], Curve], service: Service, *, halves: bool, until: float
) -> list[tuple[float, float]]:
    """Run a service.

    Args:
        next_curve: Gives the curve of the next training job.
        service: What a job costs.
        halves: Whether jobs are ended early.
        until: When it ends, in seconds.

    Returns:
        (seconds, loss) of each improvement of the best loss.
    """
    there: dict[int, list[float]] = {level: [] for level in LEVELS}
    rungs: dict[int, tuple[Rung, ...]] = {}
    curves: dict[int, Curve] = {}
    events: list[tuple[float, int, int]] = []  # time, job, epoch; epoch 0 = the slot is free
    improvements: list[tuple[float, float]] = []
    for _ in range(SLOTS):
        heapq.heappush(events, (0.0, -1, 0))
    while events:
        now, job, epoch = heapq.heappop(events)
        if now > until:
            break
        if not epoch:
            job = len(curves)
            curves[job], rungs[job] = next_curve(), ()
            heapq.heappush(events, (now + service.start_seconds + EPOCH_SECONDS, job, 1))
            continue
        loss = curves[job][epoch - 1]
        if not improvements or loss < improvements[-1][1]:
            improvements.append((now, loss))
        if epoch == EPOCHS:
            heapq.heappush(events, (now, job, 0))
            continue
        found = (
            next_rungs(curves[job][:epoch], rungs[job], there, LEVELS, FACTOR) if halves else ()
        )
        for rung in found:
            there[rung.level].append(rung.loss)
        rungs[job] += found
        if found and not found[-1].goes_on:
            heapq.heappush(events, (now + service.stop_seconds, job, 0))
        else:
            heapq.heappush(events, (now + EPOCH_SECONDS, job, epoch + 1))
    return improvements


def times(
    make: Callable[[random.Random], Curve], service: Service, seed: int
) -> tuple[float, float]:
    """Return when the best value that comes out without ASHA is there, without it and with it.

    Both get the same curves in the same order. Infinite if ASHA never has it.
    """
    without, halved = (
        best_by_time(
            functools.partial(make, random.Random(seed)),
            service,
            halves=halves,
            until=HOURS * 3600,
        )
        for halves in (False, True)
    )
    at, value = without[-1]
    return at, next((now for now, loss in halved if loss <= value), math.inf)


def digits_curve(drawn: random.Random) -> Curve:
    """Train a small network on handwritten digits; return its validation loss after each epoch."""
    import numpy
    from sklearn.datasets import load_digits
    from sklearn.metrics import log_loss
    from sklearn.neural_network import MLPClassifier

    inputs, labels = load_digits(return_X_y=True)
    inputs = inputs / 16
    model = MLPClassifier(
        2 ** drawn.randint(3, 7),
        solver="sgd",
        learning_rate_init=10 ** drawn.uniform(-4, 0.5),
        momentum=drawn.uniform(0, 0.98),
        alpha=10 ** drawn.uniform(-6, 0),
        batch_size=2 ** drawn.randint(4, 8),
        random_state=0,
    )
    curve = []
    for _ in range(EPOCHS):
        with numpy.errstate(all="ignore"):
            model.partial_fit(inputs[:1200], labels[:1200], classes=numpy.arange(10))
            told = model.predict_proba(inputs[1200:])
        is_finite = bool(numpy.isfinite(told).all())
        curve.append(float(log_loss(labels[1200:], told)) if is_finite else math.nan)
    return curve


def digits_curves(count: int, path: Path = CURVES) -> list[Curve]:
    """Return so many curves of real trainings; those that were computed before are read."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    while len(known) < count:
        known.append(digits_curve(random.Random(len(known))))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(known), encoding="utf-8")
    return list(known[:count])


def lines(real: int) -> Iterator[str]:
    """Yield the table.

    Args:
        real: From how many real trainings is drawn.
    """
    yield f"\ntime until ASHA has what is found without it: {SLOTS} slots, {HOURS:.0f} h, {SEEDS} seeds"
    curves = digits_curves(real)
    kinds: dict[str, Callable[[random.Random], Curve]] = {
        "made-up curves (power laws)": power_law,
        f"{real} trainings of a network on digits": lambda drawn: drawn.choice(curves),
    }
    for kind, make in kinds.items():
        for name, service in (("1 s to start (warm)", WARM), ("150 s to start (cold)", COLD)):
            found = scores_of(make, service)
            yield f"{kind:42} {name:22} {found}"


def scores_of(make: Callable[[random.Random], Curve], service: Service) -> str:
    """Return medians over the seeds, and their ratio, in words."""
    found = [times(make, service, seed) for seed in range(SEEDS)]
    without, halved = (statistics.median(column) for column in zip(*found, strict=True))
    return f"{without / 60:4.0f} min -> {halved / 60:4.0f} min, ratio {halved / without:.2f}"
