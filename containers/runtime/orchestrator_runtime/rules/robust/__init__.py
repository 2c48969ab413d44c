"""Our own rules: relative to the weights and to what the run did before, gated by the loss."""

from orchestrator_runtime.rules.robust.dead import DeadUnits
from orchestrator_runtime.rules.robust.exploding import ExplodingGradient
from orchestrator_runtime.rules.robust.initialization import PoorInitialization
from orchestrator_runtime.rules.robust.non_finite import NonFinite
from orchestrator_runtime.rules.robust.progress import (
    LossNotDecreasing,
    StalledTraining,
    UpdateRatio,
)
from orchestrator_runtime.rules.robust.saturated import SaturatedActivation
from orchestrator_runtime.rules.robust.unchanged import UnchangedWeights
from orchestrator_runtime.rules.robust.validation import Overfit, Overtraining
from orchestrator_runtime.rules.robust.vanishing import VanishingGradient
from orchestrator_runtime.rules.rule import Rule

ROBUST: tuple[type[Rule], ...] = (
    ExplodingGradient,
    NonFinite,
    PoorInitialization,
    SaturatedActivation,
    DeadUnits,
    VanishingGradient,
    UnchangedWeights,
    UpdateRatio,
    LossNotDecreasing,
    Overfit,
    Overtraining,
    StalledTraining,
)
"""In the order in which they are asked: what is more specific comes first."""
DEFAULT_RULES: tuple[str, ...] = tuple(rule.name for rule in ROBUST)
