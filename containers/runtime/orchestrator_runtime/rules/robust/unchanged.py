"""Steps that change nothing."""

from __future__ import annotations

import math
import statistics
from collections import deque
from typing import TYPE_CHECKING, Any

from orchestrator_runtime.rules.finding import Finding
from orchestrator_runtime.rules.parameters import Parameter
from orchestrator_runtime.rules.robust.base import CourseRule
from orchestrator_runtime.rules.robust.dead import IDLE
from orchestrator_runtime.rules.robust.loss import CONVERGED
from orchestrator_runtime.rules.robust.reach import MATRICES, Reach
from orchestrator_runtime.rules.rule import Need
from orchestrator_runtime.trace.record import STRAYS_L2

if TYPE_CHECKING:
    from orchestrator_runtime.trace.record import Block, StepRecord, Tensor

REMEDIES = (
    "make the optimizer after the model is complete, with the parameters of that same model",
    "check requires_grad, detach(), and that zero_grad() is not called between backward and step",
    "check the learning rate and its schedule",
)
FEW_ROWS = 0.5
"""Share of zeros in a gradient from which it is one of some rows alone, as of a table of users."""
HEAD = 0.25
"""Share of the loss whose gain means that a head that is trained alone does what it should."""
LATE = 3
"""Times the patience, for a first gradient: a loss may be switched off for some steps."""
HOPELESS = -4.0
"""log10 of ``|g||w|/|loss|`` of a typical layer at which no step is large enough."""
FULL = 0.99
"""Share of saturated units from which a layer passes nothing on."""


class UnchangedWeights(CourseRule):
    """Fires when an optimizer steps but its weights get no gradient, or do not change."""

    name = "unchanged_weights"
    parameters = (
        Parameter("patience", 20, "int", 1, help="steps without any gradient"),
        Parameter("samples", 3, "int", 1, help="update ratios in a row that are too small"),
        Parameter("ratio", 1e-6, "float", 0, 1, help="update ratio that changes nothing"),
        Parameter(
            "drift",
            0.015,
            "float",
            0,
            help="change of norms over one step's by which steps add up",
        ),
        Parameter(
            "share", 0.5, "float", 0.01, 1, help="share of trainable matrices without gradient"
        ),
        Parameter("gain", 0.1, "float", 0, 1, help="share of the loss gained that means health"),
    )
    needs = (
        Need("gradients/l2"),
        Need("weights/l2", 10),
        Need("weights/update_ratio", 10),
        Need("gradients/zeros", 50),
        Need("outputs/idle_units", 50),
        Need("outputs/saturated", 50),
    )

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._without = 0
        self._small = 0
        self._all_zero = 0
        self._had_gradient = False
        self._at_zero = 0
        self._had_learnt = False
        self._rate = math.inf
        self._at_zero_gradient = 0
        self._is_dead = False
        self._is_shut = False
        self._strays: tuple[Tensor, ...] = ()
        self._rows: set[str] = set()
        self._seen: dict[Tensor, float] = {}
        self._lacking = 0
        self._moves: deque[tuple[dict[str, float], dict[str, float]]] = deque(
            maxlen=self.whole("samples") + 1
        )
        self._reach = Reach()

    def judge(self, record: StepRecord) -> Finding | None:
        """Look at who has a gradient, and at what changed."""
        if record.skipped:
            return None
        return (
            self._on_gradients(record)
            or self._on_rate(record)
            or self._on_updates(record)
            or self._on_return(record)
            or self._on_strays(record)
        )

    def _learns(self) -> bool:
        return self._run.loss.best_gain > self.number("gain") or self._run.loss.is_moving

    def _has_converged(self) -> bool:
        """Return whether gradients are small because a minimum was reached."""
        return self._run.usual_norm < 0.1 * self._run.first_norm

    def _on_gradients(self, record: StepRecord) -> Finding | None:
        block = record.blocks.get("gradients/l2")
        if block is None:
            return self._on_missing(record, (), self.whole("patience"))
        self._reach.take(block)
        self._look_at_units(record)
        self._had_gradient |= self._run.norm != 0.0
        if not self._had_gradient and not self._is_shut:
            return self._on_zeros(record)  # the loss may do what it likes
        if not self._reach.matrices:  # a few biases, where a model is meant
            return self._on_missing(record, (), 2 * self.whole("patience"))
        reach, share, patience = self._reach, self.number("share"), self.whole("patience")
        if reach.unreached and reach.unreached_share >= share:
            return self._on_missing(record, reach.unreached, patience)
        self._without = 0
        return self._on_cut(record, block)

    def _look_at_units(self, record: StepRecord) -> None:
        """Note whether activations explain gradients that are zero."""
        idle = _largest(record, "outputs/idle_units", ("relu",))
        if idle is None:
            return
        full = _largest(record, "outputs/saturated", ("sigmoid", "tanh"))
        self._is_dead = idle >= IDLE
        self._is_shut = idle == 1.0 or (full or 0.0) >= FULL

    def _on_zeros(self, record: StepRecord) -> Finding | None:
        """Count the first steps of which every gradient is exactly zero, that of biases as well.

        Where gradients vanish or units are dead, the last bias still has one.
        """
        self._all_zero += 1
        # A loss of zero has none, as of pairs in order; one that is switched off at first gets some.
        is_done = record.scalars.get("loss") == 0.0
        if is_done or self._all_zero < LATE * self.whole("patience"):
            return None
        return Finding(
            self.name,
            record.step,
            f"all gradients have been exactly zero for all of the {self._all_zero} steps so far",
            "gradients are set to zero between backward() and step(), or the loss is a constant",
            REMEDIES,
            tuple(tensor.name for tensor in self._reach.matrices[:10]),
            {"steps": self._all_zero},
        )

    def _on_missing(
        self, record: StepRecord, missing: tuple[Tensor, ...], patience: int
    ) -> Finding | None:
        """Count the steps in which the loss stands still; what shakes may yet settle and learn."""
        loss = self._run.loss
        has_gradient = "gradients/l2" in record.blocks
        # What biases can learn alone is learnt once the loss rests.
        learns = self._learns() and not loss.is_settled
        if has_gradient and (learns or not loss.is_still):
            self._without = max(self._without - 1, 0)
            return None
        self._without += 1
        if self._without < patience:
            return None
        return Finding(
            self.name,
            record.step,
            f"{len(missing)} weight matrices of the optimizer never had a gradient"
            if missing
            else f"no weight matrix of the optimizer has had a gradient for {self._without} steps",
            "backward() does not reach the weights that the optimizer was given",
            REMEDIES,
            tuple(tensor.name for tensor in missing),
            {"steps": self._without},
        )

    def _on_cut(self, record: StepRecord, block: Block) -> Finding | None:
        """Find first layers that never get anything but zeros, though units behind them live.

        What lies behind the cut learns what can be learnt without inputs, which may be much; so
        only the end of progress counts, and not how far it went. A cut of less than half of the
        matrices is the matter of `vanishing_gradient`.
        """
        is_explained = self._is_dead or self._is_shut  # by units that are off or at their ends
        cut = () if is_explained else self._reach.cut(block)
        if not cut or self._reach.share(cut) < self.number("share"):
            self._at_zero_gradient = 0
            return None
        loss = self._run.loss
        if loss.is_moving or not loss.is_still or loss.kept_gain > CONVERGED:
            self._at_zero_gradient = max(self._at_zero_gradient - 1, 0)
            return None
        self._at_zero_gradient += 1
        if self._at_zero_gradient < LATE * self.whole("patience"):
            return None
        return Finding(
            self.name,
            record.step,
            f"the gradient of {len(cut)} of {len(self._reach.matrices)} weight matrices has always "
            "been exactly zero: nothing comes back to the first layers",
            "a function whose derivative is zero (round, sign, comparison) or a product with zero "
            "lies between them and the loss",
            (
                "let the gradient pass: x + (round(x) - x).detach(), or a soft function",
                "find the place: look for the first tensor behind which gradients are not zero",
            ),
            tuple(tensor.name for tensor in cut),
            {"steps": self._at_zero_gradient, "matrices": len(self._reach.matrices)},
        )

    def _on_rate(self, record: StepRecord) -> Finding | None:
        """Count steps of size zero.

        What was learnt before them counts; what a loss gains behind them it owes to its data alone,
        so a later gain excuses it only for a while: the program may see to the rate itself.
        """
        if record.scalars.get("learning_rate") != 0.0:
            self._at_zero, self._had_learnt = 0, self._learns()
            return None
        if self._had_learnt or self._run.loss.is_moving:
            self._at_zero = 0
            return None
        self._at_zero += 1
        if self._at_zero < self.whole("patience") * (LATE if self._learns() else 1):
            return None
        return Finding(
            self.name,
            record.step,
            f"the learning rate has been 0 for {self._at_zero} steps, and nothing was learnt",
            "a step of size zero changes nothing",
            REMEDIES[::-1][:2],
            values={"learning_rate": 0.0, "steps": self._at_zero},
        )

    def _matters(self, record: StepRecord) -> bool:
        """Return whether gradients of a typical layer are not too small for larger steps to help."""
        block = record.blocks.get("gradients/l2")
        profile = self._run.relative_gradients(block) if block is not None else []
        return len(profile) < 3 or statistics.median(self._run.importances(profile)) > HOPELESS

    def _known_ratios(self, record: StepRecord, block: Block) -> list[float]:
        """Return the update ratios that tell whether weights stand still.

        Of weights that are not finite nobody can say so; nor from a sample of those of which a step
        changes a few rows.
        """
        zeros = record.blocks.get("gradients/zeros")
        if zeros is not None:
            self._rows = {tensor.name for tensor, value in zeros.present() if value > FEW_ROWS}
        return [
            value
            for tensor, value in block.present()
            if not math.isnan(value)
            and tensor.role != "embedding"
            and tensor.name not in self._rows
        ]

    def _on_updates(self, record: StepRecord) -> Finding | None:
        block = record.blocks.get("weights/update_ratio")
        if block is None:
            return None
        ratios = self._known_ratios(record, block)
        rate, before = record.scalars.get("learning_rate", 0.0), self._rate
        self._rate = rate
        # Where no gradient comes others know why.
        gradients = record.blocks.get("gradients/l2")
        slopes = {t.name: value for t, value in gradients.present()} if gradients else {}
        still = not any(slopes.get(name, 1.0) for name in block.table.names)
        is_small = bool(ratios) and not still and max(ratios) <= self.number("ratio")
        is_slow = is_small and self._matters(record)
        if not is_slow or self._learns():
            self._small = 0
            return None
        if rate > before or self._has_converged():  # it warms up, or has arrived
            return None
        self._small += 1
        if self._small < self.whole("samples"):
            return None
        return Finding(
            self.name,
            record.step,
            f"steps change the weights by at most {max(ratios):.1g} of their size",
            "the learning rate is zero or far too small for these gradients, so training stands "
            "still though it runs",
            REMEDIES[::-1],
            tuple(block.table.names[:10]),
            {
                "largest_ratio": max(ratios),
                "learning_rate": record.scalars.get("learning_rate", 0.0),
                "norm": record.scalars.get("norm", 0.0),
            },
        )

    def _on_strays(self, record: StepRecord) -> Finding | None:
        """Find most of a model that gets gradients, though no optimizer has it.

        Often that is meant: a head is trained, and learns. Here it does not.
        """
        block = record.blocks.get(STRAYS_L2)
        if block is not None:
            now = {t: value for t, value in block.present() if t.role in MATRICES}
            # What is as it was at the look before is left over from an earlier training.
            before, self._seen = self._seen, now
            self._strays = tuple(t for t in now if t in before and now[t] != before[t])
        if self._reach.share_beside(self._strays) < self.number("share"):
            return None
        loss = self._run.loss
        # What a head alone can learn, such as how often classes are, is learnt once the loss rests.
        has_learnt = self._learns() and not (loss.is_settled and loss.kept_gain < HEAD)
        rests = loss.is_still and not has_learnt
        self._lacking = self._lacking + 1 if rests else max(self._lacking - 1, 0)
        if self._lacking < self.whole("patience"):
            return None
        return Finding(
            self.name,
            record.step,
            f"{len(self._strays)} weight matrices get gradients but belong to no optimizer, and "
            "nothing was learnt",
            "the optimizer was given a part of the model alone, or modules were replaced since",
            REMEDIES[:2],
            tuple(tensor.name for tensor in self._strays[:10]),
            {"matrices": len(self._strays), "steps": self._lacking},
        )

    def _on_return(self, record: StepRecord) -> Finding | None:
        """Find weights that move at each step and are as before at the next.

        In steps that add up, norms of weights change by about as much as one step in some tens of
        them, even if their directions are random. Where the norms of all matrices change by a
        hundredth of one step, something puts the old weights back.
        """
        updates = record.blocks.get("weights/update_ratio")
        weights = record.blocks.get("weights/l2")
        if updates is None or weights is None:
            return None
        norms = {t.name: value for t, value in weights.present() if t.role in MATRICES}
        steps = {t.name: value for t, value in updates.present() if t.name in norms}
        self._moves.append((norms, steps))
        if self._learns() or len(norms) < 2:
            self._moves.clear()
        span = self.whole("samples")
        if len(self._moves) <= span or self._drift() > self.number("drift"):
            return None
        return Finding(
            self.name,
            record.step,
            f"each step changes the weights by up to {max(steps.values()):.1g} of their size, and yet "
            f"they are as they were {span} samples ago",
            "something puts the old weights back after each step: a copy, an average, a checkpoint",
            (
                "look for load_state_dict(), copy_() or an average that is applied in the loop",
                "let averages be a copy of the model, for validation alone",
            ),
            tuple(steps)[:10],
        )

    def _drift(self) -> float:
        """Return the most by which the norm of a matrix has changed, as a share of its steps."""
        shares = [0.0]
        for name in self._moves[-1][1]:
            norms = [norms.get(name, 0.0) for norms, _ in self._moves]
            step = min(steps.get(name, 0.0) for _, steps in self._moves)
            if step > self.number("ratio") and min(norms) > 0.0:
                shares.append((max(norms) - min(norms)) / min(norms) / step)
        return max(shares) if len(shares) > 2 else math.inf


def _largest(record: StepRecord, series: str, roles: tuple[str, ...]) -> float | None:
    """Return the largest value of activations of these kinds; None if none were looked at."""
    block = record.blocks.get(series)
    if block is None:
        return None
    return max((value for tensor, value in block.present() if tensor.role in roles), default=0.0)
