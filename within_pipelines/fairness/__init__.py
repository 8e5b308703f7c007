"""Does a model, or a platform's delivery, treat groups of people alike?

A gap between groups counts against a model only when it is larger than the threshold *and* larger than what shuffled groups give; a
sample in which a gap of the threshold's size could hide is insufficient evidence, never a pass."""

from within_pipelines.fairness.adversarial import AdversarialClassifier
from within_pipelines.fairness.audit import audit_fairness, intersection, pooled
from within_pipelines.fairness.audit_result import FairnessAudit, GapRow
from within_pipelines.fairness.bias import BiasFinding, BiasReport, detect_bias, proxy_strength
from within_pipelines.fairness.budget import DeliveryPlan, fair_budget
from within_pipelines.fairness.counterfactual import Categorical, Counterfactual, CounterfactualQuality, CounterfactualSearch, Numeric
from within_pipelines.fairness.decorrelation import Decorrelation
from within_pipelines.fairness.delivery import delivery_parity, exposure_gaps
from within_pipelines.fairness.fair_ranking import FairRanking
from within_pipelines.fairness.flip import ATTRIBUTES, FlipEffect, declared, flip_effect, flipped
from within_pipelines.fairness.frontier import FrontierPoint, accuracy_gap_frontier
from within_pipelines.fairness.gap_change import gap_change
from within_pipelines.fairness.group_gap import GroupGap, group_gap
from within_pipelines.fairness.measures import Measure, Role, classification_measures, mean_measure
from within_pipelines.fairness.metrics import (
    calibration_gap,
    calibration_within_groups,
    consistency,
    demographic_parity_difference,
    demographic_parity_ratio,
    equal_opportunity_difference,
    equal_opportunity_ratio,
    equalized_odds_difference,
    equalized_odds_ratio,
    exposure_parity,
    group_means,
    predictive_parity_difference,
    predictive_parity_ratio,
    score_gap,
)
from within_pipelines.fairness.penalty import FairLogistic, GapPenalty, fair_xgboost_objective
from within_pipelines.fairness.proxy_world import ProxyWorld
from within_pipelines.fairness.reductions import ConstrainedClassifier
from within_pipelines.fairness.reweighing import reweighing_weights
from within_pipelines.fairness.thresholds import LEGAL_CAVEAT, GroupThresholds

__all__ = [
    "ATTRIBUTES",
    "LEGAL_CAVEAT",
    "AdversarialClassifier",
    "BiasFinding",
    "BiasReport",
    "Categorical",
    "ConstrainedClassifier",
    "Counterfactual",
    "CounterfactualQuality",
    "CounterfactualSearch",
    "Decorrelation",
    "DeliveryPlan",
    "FairLogistic",
    "FairRanking",
    "FairnessAudit",
    "FlipEffect",
    "FrontierPoint",
    "GapPenalty",
    "GapRow",
    "GroupGap",
    "GroupThresholds",
    "Measure",
    "Numeric",
    "ProxyWorld",
    "Role",
    "accuracy_gap_frontier",
    "audit_fairness",
    "calibration_gap",
    "calibration_within_groups",
    "classification_measures",
    "consistency",
    "declared",
    "delivery_parity",
    "demographic_parity_difference",
    "demographic_parity_ratio",
    "detect_bias",
    "equal_opportunity_difference",
    "equal_opportunity_ratio",
    "equalized_odds_difference",
    "equalized_odds_ratio",
    "exposure_gaps",
    "exposure_parity",
    "fair_budget",
    "fair_xgboost_objective",
    "flip_effect",
    "flipped",
    "gap_change",
    "group_gap",
    "group_means",
    "intersection",
    "mean_measure",
    "pooled",
    "predictive_parity_difference",
    "predictive_parity_ratio",
    "proxy_strength",
    "reweighing_weights",
    "score_gap",
]
