"""Gradients or loss that grow beyond all bounds."""

from __future__ import annotations

import math
import statistics
from collections import deque
from typing import TYPE_CHECKING, Any

from orchestrator_runtime.rules.finding import Finding
from orchestrator_runtime.rules.parameters import Parameter
from orchestrator_runtime.rules.robust.base import CourseRule
from orchestrator_runtime.rules.robust.loss import LUCK
from orchestrator_runtime.rules.rule import Need

if TYPE_CHECKING:
    from orchestrator_runtime.trace.record import StepRecord

CAUSE = (
    "each step overshoots: the update is larger than the region in which the gradient tells "
    "anything, so loss and gradients feed on each other"
)
REMEDIES = (
    "lower the learning rate (by 10 first), or warm it up over the first few hundred steps",
    "clip the gradient norm (torch.nn.utils.clip_grad_norm_, clipnorm=1.0)",
    "normalise (LayerNorm, BatchNorm), scale inputs and targets, or initialise with less gain",
)


EARLY = 10
"""Steps in which a loss is high by the luck of its batch, if the weights have hardly moved."""
MOVED = 0.02
"""Update ratio of some weight below which steps do not make a loss explode."""
BAD_START = 40
"""Steps that count as the start: later, a loss near its floor makes any gradient look large."""
HELD = 0.5
"""Clipping that holds a run: steps are less than half of what gradients ask for."""
BEHIND = 10
"""Steps by which the slow average of the loss is behind."""
LEARNT = 0.15
"""Share of its start that the loss of a run gained that can fall back."""
KEPT = 0.1
"""Share of its start that a loss must have gained, for good, for large steps to be right."""
DRIFT = 0.3
"""Evidence that is forgotten each step: what doubles and stays there has not exploded."""


class ExplodingGradient(CourseRule):
    """Fires when the loss rises far above its start, or gradients are out of all proportion.

    Evidence adds up over steps: the worse, the sooner. A spike that recovers is none.
    """

    name = "exploding_gradient"
    parameters = (
        Parameter(
            "evidence", 5.0, "float", 0.5, 100, help="sum of log10 of the excess that fires"
        ),
        Parameter("loss_rise", 20.0, "float", 1.5, help="times the start, judged by loss alone"),
        Parameter(
            "norm_rise", 5.0, "float", 1.5, help="times the usual norm, judged with the loss"
        ),
        Parameter(
            "elasticity", 1250.0, "float", 10, help="sum of |g||w| over |loss| of a bad start"
        ),
        Parameter("patience", 5, "int", 1, help="steps at that elasticity"),
        Parameter("clip", 2e-3, "float", 0, 1, help="clipping by which a bad start is hidden"),
        Parameter(
            "clipped_elasticity", 200.0, "float", 1, help="|g||w|/|loss| that is bad if so clipped"
        ),
        Parameter(
            "lost", 0.5, "float", 0.01, 2, help="share of its gain that a run lost as steps grew"
        ),
        Parameter(
            "update", 0.5, "float", 0.01, help="update ratio of most weights, twice in a row"
        ),
        Parameter(
            "overshoot", 0.5, "float", 0.01, help="sum of |g||dw| over |loss| that steps promise"
        ),
        Parameter("samples", 5, "int", 1, help="update ratios in a row that promise so much"),
        Parameter(
            "bottomless", 100.0, "float", 2, help="times that loss and norm grow as the loss falls"
        ),
    )
    needs = (Need("gradients/l2"), Need("weights/l2", 10), Need("weights/update_ratio", 10))

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._evidence = 0.0
        self._stiff = 0
        self._wild = 0
        self._last_update = 0.0
        self._relapsed = 0
        self._hidden = 0
        self._hovers = 0
        self._moved = math.inf
        self._rates: deque[float] = deque(maxlen=BEHIND)
        self._rate_at_best = 0.0
        self._norm_at_best = 0.0
        self._gained = 0.0
        self._overshot = 0
        self._sinking = 0

    def judge(self, record: StepRecord) -> Finding | None:
        """Add up the evidence of one step."""
        run = self._run
        loss = record.scalars.get("loss")
        if record.skipped or loss is None:
            return None
        ratios = self._ratios(record)
        if ratios and (run.steps == 1 or max(ratios) > self._moved):
            self._moved = max(ratios)
        if not (math.isfinite(loss) and math.isfinite(run.norm)):
            return self._on_overflow(record, loss)
        self._evidence = max(0.0, self._evidence + self._excess())
        if self._evidence >= self.number("evidence"):
            return self._finding(
                record,
                f"the loss is {loss:.3g} after {run.loss.first:.3g} at the start, with a gradient norm of {run.norm:.3g}",
            )
        return (
            self._on_elasticity(record)
            or self._on_clip(record)
            or self._on_hover(record)
            or self._on_update(record, ratios)
            or self._on_overshoot(record)
            or self._on_bottomless(record)
            or self._on_relapse(record, loss)
        )

    def _excess(self) -> float:
        """Return log10 of how far this step is beyond what is tolerated; negative if it is not."""
        run = self._run
        if run.steps < EARLY and self._moved < MOVED:
            return -DRIFT
        rise = run.loss.rise
        grown = run.norm / run.usual_norm if run.usual_norm > 0 else 1.0
        if grown > self.number("norm_rise") and rise > 1.2:
            return min(math.log10(rise) * (1.0 + math.log10(grown)) - DRIFT, 3.0)
        excess = math.log10(rise) - math.log10(self.number("loss_rise")) + DRIFT
        return min(max(excess, -1.0), 3.0)

    def _on_overflow(self, record: StepRecord, loss: float) -> Finding | None:
        """What overflows after it has grown has exploded; out of the blue it is `non_finite`."""
        if self._evidence <= 0.5 and self._last_update < 1.0:
            return None
        return self._finding(record, f"loss ({loss:.3g}) or gradients overflow after growing")

    def _on_elasticity(self, record: StepRecord) -> Finding | None:
        run = self._run
        limit = self.number("elasticity")
        is_stiff = run.elasticity > limit and run.loss.best_gain < 0.1
        block = record.blocks.get("gradients/l2")
        if is_stiff and block is not None:
            is_stiff = run.elasticity_by_layer(block, record.scalars.get("norm", 0.0)) > limit
        self._stiff = self._stiff + 1 if is_stiff else 0
        if self._stiff < self.whole("patience"):
            return None
        return self._finding(
            record,
            f"a change of the weights by 1 % may change the loss by {run.elasticity:.3g} % "
            f"(gradient norm {run.norm:.3g}), and it has not improved",
        )

    def _on_clip(self, record: StepRecord) -> Finding | None:
        """Find a start so steep that only heavy clipping keeps it from overflowing.

        Clipping alone tells nothing, for sums of losses are clipped as heavily and train well. But
        they are not steep; and a loss that falls from 1e13 to 1e10, clipped, has learnt nothing.
        """
        run = self._run
        if run.steps > BAD_START:
            return None
        steep = run.norm * run.weight > self.number("clipped_elasticity") * abs(run.loss.fast)
        hidden = steep and record.scalars.get("clip", 1.0) < self.number("clip")
        self._hidden = self._hidden + 1 if hidden else max(self._hidden - 1, 0)
        if self._hidden < 4 * self.whole("patience"):
            return None
        return self._finding(
            record,
            f"the gradient norm is {run.norm:.3g} and is clipped to a part of "
            f"{record.scalars['clip']:.1g}; a change of the weights by 1 % may change the loss by "
            f"{run.norm * run.weight / abs(run.loss.fast):.3g} %",
        )

    def _on_hover(self, record: StepRecord) -> Finding | None:
        """Find a loss that went up and stays up, because clipping keeps it from going further."""
        loss = self._run.loss
        is_held = record.scalars.get("clip", 1.0) < HELD and loss.best_gain < 0.1
        hovers = is_held and loss.fast - loss.start > loss.scale + LUCK * loss.noise
        self._hovers = self._hovers + 1 if hovers else max(self._hovers - 1, 0)
        if self._hovers < 6 * self.whole("patience"):
            return None
        return self._finding(
            record,
            f"the loss went from {loss.start:.3g} to {loss.slow:.3g} and stays there, with "
            f"gradients of {self._run.norm:.3g} that clipping holds",
        )

    def _on_relapse(self, record: StepRecord, loss: float) -> Finding | None:
        """Find a run that had learnt and fell back to its start as the steps grew."""
        # A schedule that does not end makes rates negative: these steps climb, and grow.
        run, rate = self._run, abs(record.scalars.get("learning_rate", 0.0))
        self._rates.append(rate)
        if run.loss.slow <= run.loss.best:  # an average that knows little of the newest rates
            self._rate_at_best, self._norm_at_best = self._rates[0], run.usual_norm
            # By the noise of then: that of an explosion would make little of any gain.
            self._gained = (run.loss.start - run.loss.best) / run.loss.scale
        grown = rate > 2.0 * self._rate_at_best or run.usual_norm > 10.0 * self._norm_at_best
        fell = self._gained > LEARNT and run.loss.lost > self.number("lost")
        self._relapsed = self._relapsed + 1 if fell and grown else 0
        if self._relapsed < 2 * self.whole("patience"):
            return None
        return self._finding(
            record,
            f"the loss had come down from {run.loss.start:.3g} to {run.loss.best:.3g} and is back "
            f"at {loss:.3g} since steps grew",
        )

    def _ratios(self, record: StepRecord) -> list[float]:
        block = record.blocks.get("weights/update_ratio")
        return [value for _, value in block.present()] if block is not None else []

    def _on_update(self, record: StepRecord, ratios: list[float]) -> Finding | None:
        if not ratios:
            return None
        typical = statistics.median(ratios)
        # A step that is not finite itself is no growth: see `non_finite`.
        self._last_update = typical if math.isfinite(sum(ratios)) else 0.0
        if self._run.steps == 1:  # small first weights may well change much at once
            return None
        is_wild = typical > self.number("update") and self._run.loss.gain < 0.1
        self._wild = self._wild + 1 if is_wild else 0
        if self._wild < 2:  # once may be chance
            return None
        return self._finding(
            record, f"each step changes the weights by {typical:.0%} of their size"
        )

    def _on_overshoot(self, record: StepRecord) -> Finding | None:
        """Find steps that promise most of the loss each, and keep nothing of it.

        Where a step should change the loss by as much as itself, again and again, the loss falls or
        steps are too large.
        """
        promised = self._run.promised(record)
        if promised is None:
            return None
        loss = self._run.loss
        falls = loss.kept_gain > KEPT or loss.is_moving
        overshoots = promised > self.number("overshoot") and not falls
        self._overshot = self._overshot + 1 if overshoots else 0
        if self._overshot < self.whole("samples"):
            return None
        return self._finding(
            record,
            f"each step should change the loss by up to {promised:.0%} of itself, and it has not "
            "fallen: steps overshoot",
        )

    def _on_bottomless(self, record: StepRecord) -> Finding | None:
        """Find a loss that falls below zero without end: its slope grows with it.

        A likelihood or a critic's score has a floor, towards which slopes get smaller. What is
        maximised by mistake has none.
        """
        run, far = self._run, self.number("bottomless")
        sinks = run.loss.fast < -far * abs(run.loss.start) and run.norm > far * run.first_norm
        self._sinking = self._sinking + 1 if sinks else 0
        if self._sinking < self.whole("patience"):
            return None
        return self._finding(
            record,
            f"the loss falls without end, from {run.loss.start:.3g} to {run.loss.fast:.3g}, while "
            f"the gradient norm grew from {run.first_norm:.3g} to {run.norm:.3g}",
        )

    def _finding(self, record: StepRecord, message: str) -> Finding:
        run = self._run
        block = record.blocks.get("gradients/l2")
        worst = sorted(block.present(), key=lambda pair: -pair[1])[:5] if block is not None else ()
        return Finding(
            self.name,
            record.step,
            message,
            CAUSE,
            REMEDIES,
            tuple(tensor.name for tensor, _ in worst),
            {
                "loss": record.scalars.get("loss", math.nan),
                "loss_start": run.loss.start,
                "norm": run.norm,
                "usual_norm": run.usual_norm,
                "elasticity": run.elasticity,
            },
        )
