"""Rules that are known by name only: they are about trees, and this debugger watches networks."""

from __future__ import annotations

from orchestrator_runtime.rules.documented.base import BASE_TRIAL, DocumentedRule
from orchestrator_runtime.rules.parameters import Parameter


class TreeRule(DocumentedRule):
    """A rule about XGBoost: it takes its parameters, and finds nothing."""

    evaluated = False

    @property
    def not_evaluated(self) -> str | None:
        """Why nothing can be found."""
        return f"{self.name} is a rule for XGBoost, which this debugger does not watch"


class FeatureImportanceOverweight(TreeRule):
    """Would fire when the ``nfeatures`` largest importances exceed ``threshold`` of all."""

    name = "FeatureImportanceOverweight"
    parameters = (
        BASE_TRIAL,
        Parameter("threshold", 0.8, low=0.0),
        Parameter("nfeatures", 3, "int", 1),
        Parameter("tensor_regex", (".*feature_importance/weight",), "patterns"),
    )


class TreeDepth(TreeRule):
    """Would fire when a tree is not as deep as ``depth``."""

    name = "TreeDepth"
    parameters = (BASE_TRIAL, Parameter("depth", 4, "int", 1))


class CreateXgboostReport(TreeRule):
    """Would make a report."""

    name = "CreateXgboostReport"
    parameters = (BASE_TRIAL,)
