from orchestrator_runtime.rules.rule import Rule

ROBUST: tuple[type[Rule], ...] = ()
