"""Rules over recorded training: pure, standard library only, live and over traces alike."""

from orchestrator_runtime.rules.engine import Engine, Failure, Judge
from orchestrator_runtime.rules.finding import Finding
from orchestrator_runtime.rules.parameters import Parameter, RuleError
from orchestrator_runtime.rules.registry import judge_of, rules
from orchestrator_runtime.rules.robust import DEFAULT_RULES
from orchestrator_runtime.rules.rule import Need, Rule

__all__ = [
    "DEFAULT_RULES", "Engine", "Failure", "Finding", "Judge", "Need", "Parameter", "Rule", "RuleError", "judge_of",
    "rules",
]  # fmt: skip
