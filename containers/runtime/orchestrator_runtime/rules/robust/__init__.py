"""Our own rules: relative to the weights and to what the run did before, gated by the loss."""

from orchestrator_runtime.rules.robust.dead import DeadUnits
from orchestrator_runtime.rules.robust.exploding import ExplodingGradient
from orchestrator_runtime.rules.robust.initialization import PoorInitialization
from orchestrator_runtime.rules.robust.non_finite import NonFinite
from orchestrator_runtime.rules.robust.unchanged import UnchangedWeights
from orchestrator_runtime.rules.robust.vanishing import VanishingGradient
from orchestrator_runtime.rules.rule import Rule

ROBUST: tuple[type[Rule], ...] = (
    ExplodingGradient,
    NonFinite,
    PoorInitialization,
    DeadUnits,
    VanishingGradient,
    UnchangedWeights,
)
DEFAULT_RULES: tuple[str, ...] = tuple(rule.name for rule in ROBUST)
