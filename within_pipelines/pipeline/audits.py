"""Is the newest ad score fair to audience segments? A report with a verdict.

The verdict is recorded and shown; the promotion policy does not require it yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from within_pipelines.pipeline.training import KINDS, held_back_rows, load_version, trained_version
from within_pipelines.pipeline.workspace import Pin, Workspace
from within_pipelines.stats import Verdict

if TYPE_CHECKING:
    import polars as pl

    from within_pipelines.fairness import GroupGap
    from within_pipelines.prediction import AdScorePredictor
    from within_pipelines.registry import ModelVersion

# Points of the 0-100 score that segments may differ by.
SEGMENT_GAP = 10.0


def _newest(ws: Workspace, pin: Pin) -> tuple[ModelVersion, AdScorePredictor, pl.DataFrame]:
    version = trained_version(ws, pin, "ad_score", KINDS["ad_score"][0])
    return version, cast("AdScorePredictor", load_version(ws, version)), held_back_rows(ws, pin, "ad_score")


def _record(ws: Workspace, verdict: Verdict, version: ModelVersion) -> Verdict:
    from within_pipelines.registry import POLICY_VERSION

    bound = verdict.bind(model_sha256=version.model_sha256, data_version=version.data_version, policy_version=POLICY_VERSION)
    ws.registry.record_verdicts([bound])
    return bound


def audit_fairness(ws: Workspace, pin: Pin) -> tuple[GroupGap, Verdict]:
    """Gap between audience segments in the scores of ads that the model has not seen, against what shuffled segments give.

    Scores compare an ad with past ads, not with its siblings, because siblings share their segment."""
    from within_pipelines.fairness import group_gap

    version, predictor, rows = _newest(ws, pin)
    scores = predictor.predict(rows.drop("group_id")).to_frame()["score"].to_numpy()
    segments = rows["audience_segment"].fill_null("unknown").to_list()
    gap = group_gap(
        scores,
        segments,
        threshold=SEGMENT_GAP,
        rng=np.random.default_rng([ws.settings.seed, 30]),
        clusters=rows["group_id"].to_list(),
    )
    return gap, _record(ws, gap.verdict(attribute="audience_segment"), version)
