"""Does a model still answer, and answer alike, when its input is a little wrong?

Perturbations imitate what feeds and people get wrong: typos, case, look-alike letters, missing fields, units, shuffled and doubled rows.
Some must change nothing at all, some may change little, and of some only an answer is asked."""

from within_pipelines.robustness.answers import Answers, Predict, ask
from within_pipelines.robustness.facts import FactFault, fact_faults
from within_pipelines.robustness.feed import (
    duplicated_rows,
    feed_faults,
    missing_column,
    missing_values,
    scaled_unit,
    shuffled_rows,
)
from within_pipelines.robustness.feed_audit import Door, Judge, feed_audit, weeks_apart
from within_pipelines.robustness.gate import share_status
from within_pipelines.robustness.perturbation import Expectation, Perturbation, Perturbed
from within_pipelines.robustness.report import FaultResult, RobustnessReport
from within_pipelines.robustness.stability import PerturbationResult, StabilityReport, stability_report
from within_pipelines.robustness.text import (
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

__all__ = [
    "Answers",
    "Door",
    "Expectation",
    "FactFault",
    "FaultResult",
    "Judge",
    "Perturbation",
    "PerturbationResult",
    "Perturbed",
    "Predict",
    "RobustnessReport",
    "StabilityReport",
    "ask",
    "duplicated_rows",
    "exclamation",
    "fact_faults",
    "feed_audit",
    "feed_faults",
    "homoglyphs",
    "invisible",
    "lower_case",
    "missing_column",
    "missing_values",
    "punctuation",
    "scaled_unit",
    "share_status",
    "shuffled_rows",
    "stability_report",
    "synonyms",
    "text_perturbations",
    "typos",
    "upper_case",
    "weeks_apart",
]
