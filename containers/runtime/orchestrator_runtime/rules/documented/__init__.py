"""SageMaker Debugger's rules, made anew from its documentation."""

from orchestrator_runtime.rules.documented.activations import DeadRelu, SaturatedActivation
from orchestrator_runtime.rules.documented.changes import UnchangedTensor, WeightUpdateRatio
from orchestrator_runtime.rules.documented.classes import ClassImbalance, Confusion
from orchestrator_runtime.rules.documented.initialization import PoorWeightInitialization
from orchestrator_runtime.rules.documented.inputs import CheckInputImages, NLPSequenceRatio
from orchestrator_runtime.rules.documented.losses import LossNotDecreasing, Overfit, Overtraining
from orchestrator_runtime.rules.documented.magnitudes import (
    AllZero,
    ExplodingTensor,
    TensorVariance,
    VanishingGradient,
)
from orchestrator_runtime.rules.documented.runs import SimilarAcrossRuns
from orchestrator_runtime.rules.documented.stalled import StalledTrainingRule
from orchestrator_runtime.rules.documented.xgboost import (
    CreateXgboostReport,
    FeatureImportanceOverweight,
    TreeDepth,
)
from orchestrator_runtime.rules.rule import Rule

DOCUMENTED: tuple[type[Rule], ...] = (
    VanishingGradient,
    ExplodingTensor,
    PoorWeightInitialization,
    DeadRelu,
    SaturatedActivation,
    WeightUpdateRatio,
    AllZero,
    TensorVariance,
    UnchangedTensor,
    LossNotDecreasing,
    Overfit,
    Overtraining,
    ClassImbalance,
    Confusion,
    SimilarAcrossRuns,
    StalledTrainingRule,
    CheckInputImages,
    NLPSequenceRatio,
    FeatureImportanceOverweight,
    TreeDepth,
    CreateXgboostReport,
)
