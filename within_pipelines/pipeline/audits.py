"""Does the newest ad score keep its scores under small changes? A report with a verdict.

The verdict is recorded and shown; the promotion policy does not require it yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from within_pipelines.pipeline.training import KINDS, held_back_rows, load_version, trained_version
from within_pipelines.pipeline.workspace import Pin, Workspace
from within_pipelines.stats import Verdict

if TYPE_CHECKING:
    import polars as pl

    from within_pipelines.prediction import AdScorePredictor
    from within_pipelines.registry import ModelVersion
    from within_pipelines.robustness import StabilityReport

# Points that a small change of a text may move a score by without mattering.
SCORE_TOLERANCE = 5.0
# A share of ads that may move by more than that.
MOVED_SHARE = 0.1


def _newest(ws: Workspace, pin: Pin) -> tuple[ModelVersion, AdScorePredictor, pl.DataFrame]:
    version = trained_version(ws, pin, "ad_score", KINDS["ad_score"][0])
    return version, cast("AdScorePredictor", load_version(ws, version)), held_back_rows(ws, pin, "ad_score")


def _record(ws: Workspace, verdict: Verdict, version: ModelVersion) -> Verdict:
    from within_pipelines.registry import POLICY_VERSION

    bound = verdict.bind(model_sha256=version.model_sha256, data_version=version.data_version, policy_version=POLICY_VERSION)
    ws.registry.record_verdicts([bound])
    return bound


def audit_robustness(ws: Workspace, pin: Pin) -> tuple[StabilityReport, Verdict]:
    """How far typos, case, punctuation, look-alike letters and the order of rows move the scores of ads that the model has not seen."""
    from within_pipelines.robustness import shuffled_rows, stability_report, text_perturbations

    version, predictor, rows = _newest(ws, pin)
    # Only what an advertiser types: stored features would hide a change of the text.
    texts = rows.select("headline", "description", "call_to_action", "format", "platform", "audience_segment", cluster="group_id")
    scores: Callable[[Any], Any] = lambda asked: predictor.predict(asked).to_frame()["score"].to_numpy()
    report = stability_report(
        scores,
        texts,
        [*text_perturbations(("headline",)), shuffled_rows()],
        rng=np.random.default_rng([ws.settings.seed, 31]),
        tolerance=SCORE_TOLERANCE,
        clusters="cluster",
        n_resamples=300,
    )
    return report, _record(ws, report.verdict(limit=MOVED_SHARE), version)
