"""Does a model still answer, and answer alike, when its input is a little wrong?

Perturbations imitate what feeds and people get wrong: typos, case, look-alike letters, missing fields, units, shuffled and doubled rows.
Some must change nothing at all, some may change little, and of some only an answer is asked."""

from within_pipelines.robustness.answers import Answers, Predict, ask
from within_pipelines.robustness.feed import (
    duplicated_rows,
    feed_faults,
    missing_column,
    missing_values,
    scaled_unit,
    shuffled_rows,
)
from within_pipelines.robustness.perturbation import Expectation, Perturbation, Perturbed
from within_pipelines.robustness.stability import PerturbationResult, StabilityReport, stability_report
from within_pipelines.robustness.text import (
    homoglyphs,
    lower_case,
    punctuation,
    text_perturbations,
    typos,
    upper_case,
)

__all__ = [
    "Answers",
    "Expectation",
    "Perturbation",
    "PerturbationResult",
    "Perturbed",
    "Predict",
    "StabilityReport",
    "ask",
    "duplicated_rows",
    "feed_faults",
    "homoglyphs",
    "lower_case",
    "missing_column",
    "missing_values",
    "punctuation",
    "scaled_unit",
    "shuffled_rows",
    "stability_report",
    "text_perturbations",
    "typos",
    "upper_case",
]
