"""What the server wrote down, as outcomes of the canary that runs."""

from __future__ import annotations

from within_pipelines.pipeline.canary import outcomes_of_predictions, record_canary_outcomes
from within_pipelines.pipeline.shadow import SCALES
from within_pipelines.pipeline.workspace import Workspace


def feed_canary(ws: Workspace, model: str) -> int | None:
    """Hand the outcomes in the prediction log to the open canary of `model`; returns how many rows changed.

    None when there is nothing to hand over: no open canary, or one whose metric is no score of probabilities (then its outcomes come from
    elsewhere, by `within canary record`)."""
    from within_pipelines.database import CanaryRepository, PredictionRepository

    canary = CanaryRepository(ws.database).open(model)
    if canary is None or SCALES.get(model) is None or len(canary.spec.metrics) != 1:
        return None
    predictions = PredictionRepository(ws.database).predictions(model, since=canary.started_at)
    spec = canary.spec
    versions = {ws.registry.get(model, number).model_sha256 for number in (spec.version, spec.control_version)}
    # Answers of a champion that is no longer the control are no part of this comparison.
    own = predictions.filter(predictions["model_sha256"].is_in(list(versions)) & predictions["value"].is_not_null())
    if own.is_empty():
        return 0
    return record_canary_outcomes(ws, model, outcomes_of_predictions(own, metric=spec.metrics[0].name))
