"""What do models see, as of when?

Features are pure functions of whole accounts' facts: for an origin day they use only facts of days up to the origin, in the
version that was known at the origin's knowledge time. The same functions serve training and scoring. Nothing here reads a clock, a file or
a database."""

from __future__ import annotations

from within_pipelines.features.account import ACCOUNT_FEATURES, account_features
from within_pipelines.features.creative import CREATIVE_FEATURES, creative_features, creative_values
from within_pipelines.features.creative_table import creative_table
from within_pipelines.features.knowledge import MixedCurrencyError
from within_pipelines.features.labels import account_labels
from within_pipelines.features.plain import LOOK_ALIKE, plain_text
from within_pipelines.features.runner import run_by_account
from within_pipelines.features.series import METRICS, metric_series
from within_pipelines.features.spec import FeatureSpec
from within_pipelines.features.spelling import Speller
from within_pipelines.features.targets import TARGETS
from within_pipelines.features.text import TEXT_FEATURES, text_counts

__all__ = [
    "ACCOUNT_FEATURES",
    "CREATIVE_FEATURES",
    "LOOK_ALIKE",
    "METRICS",
    "TARGETS",
    "TEXT_FEATURES",
    "FeatureSpec",
    "MixedCurrencyError",
    "Speller",
    "account_features",
    "account_labels",
    "creative_features",
    "creative_table",
    "creative_values",
    "metric_series",
    "plain_text",
    "run_by_account",
    "text_counts",
]
