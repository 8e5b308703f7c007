"""What a caller's table of ads is read as: creatives to answer, and ads with what was observed of them to learn from."""

from __future__ import annotations

from typing import Any

import polars as pl

from within_pipelines.exceptions import SampleError, SchemaError
from within_pipelines.prediction.ad_score.contrasts import Observed, observe
from within_pipelines.prediction.ad_score.levels import check_days, check_history
from within_pipelines.prediction.ad_score.support import CATEGORIES
from within_pipelines.prediction.ad_score.vocabulary import TEXT_COLUMNS
from within_pipelines.prediction.frames import as_polars, as_vector, refuse_nested, require

# Impressions that an ad counts for when the table does not say.
ASSUMED_IMPRESSIONS = 10_000.0
_MINIMUM_GROUPS = 12
_WORDS = (*TEXT_COLUMNS, *CATEGORIES, "group_id", "cluster_id", "account_id", "campaign_id", "ad_id")


def creatives(data: Any) -> pl.DataFrame:
    """A table of ads in polars. Raises `SchemaError` for what is no table and for lists where words belong."""
    frame = as_polars(data)
    refuse_nested(frame, _WORDS)
    return frame


def with_features(frame: pl.DataFrame) -> pl.DataFrame:
    """The table with the hand-made features, computed unless it holds them already."""
    from within_pipelines.features import CREATIVE_FEATURES, creative_features

    if set(CREATIVE_FEATURES.columns) <= set(frame.columns):
        return frame
    features = creative_features(frame)
    return pl.concat([frame.drop([c for c in features.columns if c in frame.columns]), features], how="horizontal")


def observed_ads(data: Any, labels: Any) -> tuple[pl.DataFrame, Observed]:
    """The usable ads (in groups of at least two), sorted by group, and what was observed of them; `labels` are click-through rates
    (default: `clicks` / `impressions`).

    Raises `SchemaError` and `SampleError` for tables and labels that nothing can be learned from, as `AdScorePredictor.fit` says."""
    frame = creatives(data)
    require(frame, ["headline", "group_id"], why="group_id names the ads that compete with each other.")
    if frame.is_empty():
        raise SampleError("The table holds no ads; give past ads with their results.")
    check_history(frame)
    check_days(frame)
    _check_counts(frame)
    if labels is None:
        require(frame, ["clicks", "impressions"], why="without labels the click-through rate comes from these.")
        if unknown := frame["impressions"].null_count():
            raise SampleError(
                f"impressions are missing in {unknown} of {frame.height} rows, and without labels the click-through rate comes from them; "
                "drop those rows, or give labels (such a row then counts as 10,000 impressions)."
            )
        # An ad that was never shown has no rate; it is dropped below.
        rated = pl.when(pl.col("impressions") > 0).then(pl.col("clicks").cast(pl.Float64) / pl.col("impressions").cast(pl.Float64))
        labels = frame.select(rated.otherwise(0.0))[:, 0]
    rate = as_vector(labels, rows=frame.height, what="labels")
    if rate.min() < 0 or rate.max() > 1:
        raise SampleError(f"labels lie in [{rate.min():g}, {rate.max():g}]; give click-through rates between 0 and 1.")
    given = frame["impressions"] if "impressions" in frame.columns else pl.Series([None] * frame.height, dtype=pl.Float64)
    shown = given.cast(pl.Float64).fill_null(ASSUMED_IMPRESSIONS)
    bad = int(((shown < 0) | shown.is_infinite()).sum())
    if bad:
        raise SampleError(f"impressions are negative or infinite in {bad} of {frame.height} rows; correct or drop them first.")
    frame = frame.with_columns(pl.Series("_rate", rate, dtype=pl.Float64), shown.alias("_shown"))
    # An ad that was never shown is no sibling, so it goes before siblings are counted.
    frame = frame.filter((pl.col("_shown") > 0) & (pl.col("group_id").cast(pl.String) != ""))
    frame = frame.filter(pl.len().over("group_id") > 1)
    groups = frame["group_id"].n_unique()
    if groups < _MINIMUM_GROUPS:
        raise SampleError(
            f"{groups} groups hold at least two ads; at least {_MINIMUM_GROUPS} are needed to learn what makes the difference."
        )
    if not (frame["_rate"] > 0).any():
        raise SampleError(f"None of {frame.height} ads was clicked; without a click nothing tells what makes the difference.")
    frame = frame.sort("group_id", maintain_order=True)
    return frame, observe(frame["_rate"].to_numpy(), frame["_shown"].to_numpy(), frame["group_id"].cast(pl.String).to_numpy())


def _check_counts(frame: pl.DataFrame) -> None:
    for name in ("impressions", "clicks"):
        kind = frame.schema.get(name, pl.Null())
        if not (kind.is_numeric() or kind == pl.Null):
            raise SchemaError(f"The column {name} holds {kind}; give counts as numbers.")
