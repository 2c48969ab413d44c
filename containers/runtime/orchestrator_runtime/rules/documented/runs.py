"""A rule over two runs."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

from orchestrator_runtime.rules.documented.base import (
    BASE_TRIAL,
    COLLECTION_NAMES,
    TENSOR_REGEX,
    DocumentedRule,
)
from orchestrator_runtime.rules.documented.tensors import Selection
from orchestrator_runtime.rules.parameters import Parameter, RuleError
from orchestrator_runtime.rules.rule import Need
from orchestrator_runtime.trace.reader import Reader
from orchestrator_runtime.trace.record import StepRecord
from orchestrator_runtime.trace.writer import SUFFIX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator_runtime.rules.finding import Finding

    Run = dict[int, dict[tuple[str, str], float]]

STATISTIC = "l2"
RELATIVE, ABSOLUTE = 1e-5, 1e-8  # as numpy.allclose has them


class SimilarAcrossRuns(DocumentedRule):
    """Fires when a tensor differs from the one that another run had at the same step.

    Compared are L2 norms and losses, with the tolerances of ``numpy.allclose``.
    """

    name = "SimilarAcrossRuns"
    parameters = (
        BASE_TRIAL,
        Parameter("other_trial", None, "str", help="a trace, or a directory of traces"),
        Parameter("other_trials", None, "str", help="the older name of other_trial"),
        COLLECTION_NAMES,
        TENSOR_REGEX,
    )
    cause = "The two runs do not compute the same: seeds, data, code or libraries differ."
    remedies = (
        "Fix the seeds, the order of the data and the versions of the libraries in both runs.",
        "Use deterministic algorithms, and compare the first step that differs.",
    )

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        other = self.values["other_trial"] or self.values["other_trials"]
        if not other:
            raise RuleError(
                "SimilarAcrossRuns: parameter 'other_trial' is missing: give a trace, or a "
                "directory of traces, of the run to compare with"
            )
        self._other = str(other)
        self.selection: Selection = Selection(
            self.words("collection_names"), self.words("tensor_regex")
        )
        self._run: Run | None = None
        self._reason: str | None = None
        self._compared = 0

    @property
    def not_evaluated(self) -> str | None:
        """Why nothing was compared."""
        if self._reason is None and self._run is not None and not self._compared:
            return f"SimilarAcrossRuns: {self._other} has no step and tensor that this run has"
        return self._reason

    def needed(self) -> tuple[Need, ...]:
        """Return what must be recorded for this rule."""
        return tuple(Need(name, self.every) for name in self.selection.series(STATISTIC))

    def judge(self, record: StepRecord) -> Finding | None:
        """Compare a saved step."""
        if self._run is None:
            self._run = self._load(record.optimizer)
        theirs = self._run.get(record.step)
        if not theirs:
            return None
        different = []
        for key, value in self._of(record):
            other = theirs.get(key)
            if other is not None:
                self._compared += 1
                if not _is_close(value, other):
                    different.append((key[1], value, other))
        if not different:
            return None
        name, value, other = different[0]
        return self.found(
            record.step,
            f"{len(different)} tensors differ from {self._other}; {name}: {value:.9g}, there "
            f"{other:.9g}",
            [each[0] for each in different],
            {"here": value, "there": other, "tensors": len(different)},
        )

    def _of(self, record: StepRecord) -> Iterator[tuple[tuple[str, str], float]]:
        for measured in self.selection.values(record, STATISTIC):
            yield (measured.collection, measured.name), measured.value

    def _load(self, optimizer: int) -> Run:
        run: Run = {}
        try:
            for item in Reader(_trace_of(self._other)).read():
                if (
                    isinstance(item, StepRecord)
                    and item.optimizer == optimizer
                    and item.step % self.every == 0
                ):
                    run[item.step] = dict(self._of(item))
        except OSError as error:
            self._reason = (
                f"SimilarAcrossRuns: {self._other} cannot be read ({error.strerror}); give the "
                "path of a trace as other_trial"
            )
        return run


def _trace_of(path: str) -> str:
    """Return a trace of a directory: the first process's, if the names are the recorder's."""
    if not os.path.isdir(path):
        return path
    names = sorted(name for name in os.listdir(path) if name.endswith(SUFFIX))
    return os.path.join(path, names[0]) if names else path


def _is_close(here: float, there: float) -> bool:
    if not (math.isfinite(here) and math.isfinite(there)):
        return here == there or (math.isnan(here) and math.isnan(there))
    return abs(here - there) <= ABSOLUTE + RELATIVE * abs(there)
