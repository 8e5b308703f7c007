"""Does a model still answer, and answer alike, when its input is a little wrong, or when somebody wants it to err?

Perturbations and faults imitate what feeds and people get wrong; attacks look for the worst that a feasible change can do; certificates
say what no change within a radius can do; defences change training, input or inference. Heavy libraries load where they are used."""

from within_pipelines.robustness.answers import Answers, Predict, ask
from within_pipelines.robustness.attack import AttackResult, auto_pgd, carlini_wagner, deepfool, fgsm, pgd
from within_pipelines.robustness.black_box import boundary, hop_skip_jump, square, strongest, threshold_search
from within_pipelines.robustness.defences import (
    AdversarialTraining,
    GaussianAugmentation,
    Guard,
    Trades,
    ensemble,
    monotone_constraints,
    smoothed,
)
from within_pipelines.robustness.facts import FactFault, fact_faults
from within_pipelines.robustness.feasible import FeasibleSet
from within_pipelines.robustness.feed import (
    duplicated_rows,
    feed_faults,
    missing_column,
    missing_values,
    scaled_unit,
    shuffled_columns,
    shuffled_rows,
)
from within_pipelines.robustness.feed_audit import Door, Judge, feed_audit, weeks_apart
from within_pipelines.robustness.gate import share_status
from within_pipelines.robustness.history import history_faults
from within_pipelines.robustness.label_noise import LabelNoise, NoisePoint, label_noise, noise_curve, noised
from within_pipelines.robustness.masking import GradientMasking, gradient_masking
from within_pipelines.robustness.network_bounds import ReluNetwork
from within_pipelines.robustness.perturbation import Expectation, Perturbation, Perturbed
from within_pipelines.robustness.report import FaultResult, RobustnessReport
from within_pipelines.robustness.smoothing import Certificate, MedianBound, certify, clopper_pearson_lower, median_bounds
from within_pipelines.robustness.stability import PerturbationResult, StabilityReport, stability_report
from within_pipelines.robustness.text import (
    emoji,
    exclamation,
    homoglyphs,
    invisible,
    lower_case,
    punctuation,
    synonyms,
    text_perturbations,
    typos,
    upper_case,
)
from within_pipelines.robustness.text_attack import READER_EDITS, ScoreTexts, TextAttack, text_attack
from within_pipelines.robustness.tree_bounds import Extreme, TreeEnsemble
from within_pipelines.robustness.victim import Victim, classifier_victim, score_victim

__all__ = [
    "READER_EDITS",
    "AdversarialTraining",
    "Answers",
    "AttackResult",
    "Certificate",
    "Door",
    "Expectation",
    "Extreme",
    "FactFault",
    "FaultResult",
    "FeasibleSet",
    "GaussianAugmentation",
    "GradientMasking",
    "Guard",
    "Judge",
    "LabelNoise",
    "MedianBound",
    "NoisePoint",
    "Perturbation",
    "PerturbationResult",
    "Perturbed",
    "Predict",
    "ReluNetwork",
    "RobustnessReport",
    "ScoreTexts",
    "StabilityReport",
    "TextAttack",
    "Trades",
    "TreeEnsemble",
    "Victim",
    "ask",
    "auto_pgd",
    "boundary",
    "carlini_wagner",
    "certify",
    "classifier_victim",
    "clopper_pearson_lower",
    "deepfool",
    "duplicated_rows",
    "emoji",
    "ensemble",
    "exclamation",
    "fact_faults",
    "feed_audit",
    "feed_faults",
    "fgsm",
    "gradient_masking",
    "history_faults",
    "homoglyphs",
    "hop_skip_jump",
    "invisible",
    "label_noise",
    "lower_case",
    "median_bounds",
    "missing_column",
    "missing_values",
    "monotone_constraints",
    "noise_curve",
    "noised",
    "pgd",
    "punctuation",
    "scaled_unit",
    "score_victim",
    "share_status",
    "shuffled_columns",
    "shuffled_rows",
    "smoothed",
    "square",
    "stability_report",
    "strongest",
    "synonyms",
    "text_attack",
    "text_perturbations",
    "threshold_search",
    "typos",
    "upper_case",
    "weeks_apart",
]
