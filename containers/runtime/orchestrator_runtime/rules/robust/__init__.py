"""Our own rules: relative to the weights and to what the run did before, gated by the loss."""

from orchestrator_runtime.rules.robust.non_finite import NonFinite
from orchestrator_runtime.rules.rule import Rule

ROBUST: tuple[type[Rule], ...] = (NonFinite,)
DEFAULT_RULES: tuple[str, ...] = tuple(rule.name for rule in ROBUST)
