"""What the server wrote down, or what the lake's days show, as outcomes of the canary that runs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

from within_pipelines.exceptions import SampleError
from within_pipelines.pipeline.canary import record_canary_outcomes
from within_pipelines.pipeline.canary_replay import replayed_outcomes
from within_pipelines.pipeline.shadow import SCALES
from within_pipelines.pipeline.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl

    from within_pipelines.database import CanaryMove


def told_by_log(model: str) -> tuple[str, ...]:
    """The metrics that a prediction log with outcomes holds: `score` where the model's value is a probability, and for every model
    `observed` and `latency_ms`; see `outcomes_of_predictions`."""
    return (*(("score",) if SCALES.get(model) is not None else ()), "observed", "latency_ms")


def feed_canary(ws: Workspace, model: str, *, on: date | None = None) -> int | None:
    """Hand the open canary of `model` the outcomes that are known; returns how many rows changed.

    Live ones come from the prediction log. Replayed ones come from the lake, which both versions answer for the days up to `on` (default:
    the newest). None when there is nothing to hand over: no open canary, or one with a metric that neither tells (then its outcomes come
    from elsewhere, by `within canary record`)."""
    from within_pipelines.database import CanaryRepository, PredictionRepository

    repository = CanaryRepository(ws.database)
    canary = repository.open(model)
    if canary is None or canary.spec.outcomes == "recorded":
        return None
    spec, names = canary.spec, [metric.name for metric in canary.spec.metrics]
    if spec.outcomes == "replay":
        found = replayed_outcomes(ws, canary, on=on)
        return 0 if found.is_empty() else record_canary_outcomes(ws, model, found)
    if not set(names) <= set(told_by_log(model)):
        return None
    predictions = PredictionRepository(ws.database).predictions(model, since=canary.started_at)
    versions = {ws.registry.get(model, number).model_sha256 for number in (spec.version, spec.control_version)}
    # Answers of a champion that is no longer the control are no part of this comparison.
    own = predictions.filter(predictions["model_sha256"].is_in(list(versions)) & predictions["value"].is_not_null())
    if own.is_empty():
        return 0
    return record_canary_outcomes(ws, model, outcomes_of_predictions(own, metrics=names, moves=repository.moves(canary)))


def outcomes_of_predictions(
    predictions: pl.DataFrame, *, metrics: Sequence[str] = ("score",), moves: Sequence[CanaryMove] = ()
) -> pl.DataFrame:
    """What a prediction log says about a canary: one row per unit and day.

    `predictions` has `role` (`champion` or `canary`), `unit`, `value`, `outcome`, `answered_at` and optionally `observed_at`, `weight`,
    `latency_ms`. Over the unit's answers of a day, `score` is the mean of 1 - (value - outcome)^2 of probabilities (Brier's score, turned
    so that more is better), `observed` the mean outcome by weight (clicks an impression, drops), `latency_ms` the mean time of an answer.
    An answer without an outcome yet leaves the unit's day open. `moves` of the canary tell the `share` in force at a unit's first answer of
    the day, by which the split is checked.

    Raises `SampleError` for a metric that a log does not tell."""
    import polars as pl

    weight = pl.col("weight") if "weight" in predictions.columns else pl.lit(1.0)
    known: dict[str, pl.Expr] = {
        "score": (1 - (pl.col("value") - pl.col("outcome")) ** 2).mean(),
        "observed": (pl.col("outcome") * weight).sum() / weight.sum(),
        "latency_ms": pl.col("latency_ms").mean(),
    }
    if strange := [name for name in metrics if name not in known]:
        raise SampleError(f"A prediction log does not tell {', '.join(strange)}; it tells {', '.join(known)}.")
    observed = pl.col("observed_at") if "observed_at" in predictions.columns else pl.col("answered_at")
    still_open = pl.col("known").is_null().any()
    rows = predictions.filter(pl.col("role").is_in(["champion", "canary"])).sort("answered_at", maintain_order=True)
    if moves:
        in_force = pl.DataFrame(
            [(move.moved_at, move.share) for move in moves],
            schema={"moved_at": rows.schema["answered_at"], "share": pl.Float64},
            orient="row",
        ).sort("moved_at")
        rows = rows.join_asof(in_force, left_on="answered_at", right_on="moved_at")
    return (
        rows.with_columns(
            arm=pl.when(pl.col("role") == "canary").then(pl.lit("canary")).otherwise(pl.lit("control")),
            day=pl.col("answered_at").dt.date(),
            known=pl.when(pl.col("outcome").is_not_null()).then(observed.dt.date()),
        )
        .group_by("unit", "arm", "day", maintain_order=True)
        .agg(
            known_on=pl.when(still_open).then(None).otherwise(pl.col("known").max()),
            **({"share": pl.col("share").first()} if moves else {}),
            **{name: pl.when(still_open).then(None).otherwise(known[name]) for name in metrics},
        )
    )
