"""Other detectors over the same records: SageMaker's documented rules, and AUTOTRAINER's conditions."""

from __future__ import annotations

import math
from collections.abc import Iterable

from orchestrator_runtime.rules import Finding, judge_of
from orchestrator_runtime.trace.record import StepRecord

from tests.debugger_corpus.evaluate import Detector, engine_detector

DOCUMENTED = ("ExplodingTensor", "VanishingGradient")
CHECK_EVERY = 10


def documented(save_interval: int) -> Detector:
    """Return SageMaker's two rules about gradients, at an interval (its default is 500 steps)."""
    return engine_detector([judge_of(rule, save_interval=save_interval) for rule in DOCUMENTED])


def autotrainer(steps: Iterable[StepRecord]) -> list[Finding]:
    """Judge by AUTOTRAINER's conditions (Zhang et al., ICSE 2021; its ``utils.py``), every 10 steps.

    Vanishing: the first kernel's gradient norm is below 1e-3 of the last one's and below 1e-4.
    Exploding: it is above 70 times the last one's, or not finite, or the loss is 1e3 or more.
    Dying ReLU: 70 % or more of all gradient elements are zero.
    """
    found = []
    for index, record in enumerate(steps):
        if not record.skipped and record.step % CHECK_EVERY == 0:
            rule = _condition(record)
            if rule is not None:
                found.append(Finding(rule, index, ""))
    return found


def _condition(record: StepRecord) -> str | None:
    loss = record.scalars.get("loss", 0.0)
    if not math.isfinite(loss) or loss >= 1e3:
        return "autotrainer_exploding"
    block = record.blocks.get("gradients/l2")
    kernels = [v for t, v in block.present() if t.role == "matrix"] if block is not None else []
    if not kernels:
        return None
    first, last = kernels[0], kernels[-1]
    if not all(map(math.isfinite, kernels)) or first > 70 * last > 0:
        return "autotrainer_exploding"
    if first < 1e-3 * last and first < 1e-4:
        return "autotrainer_vanishing"
    return "autotrainer_dying_relu" if _share_of_zeros(record) >= 0.7 else None


def _share_of_zeros(record: StepRecord) -> float:
    block = record.blocks.get("gradients/zeros")
    if block is None:
        return 0.0
    sizes = [(tensor.size, share) for tensor, share in block.present()]
    total = sum(size for size, _ in sizes)
    return sum(size * share for size, share in sizes) / total if total else 0.0
