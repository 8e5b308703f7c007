"""The rows that monitoring compares, made alike for the three models: what a model sees, what it says, and what came true."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from within_pipelines.exceptions import SampleError
from within_pipelines.lake import knowledge_time
from within_pipelines.pipeline.tables import ACCOUNT_ENTITY, HEALTH_ENTITY, HEALTH_HORIZON, maturity, possible_ads, training_set
from within_pipelines.pipeline.training import held_back_rows
from within_pipelines.pipeline.workspace import Pin, Workspace

if TYPE_CHECKING:
    from datetime import datetime

    import polars as pl

    from within_pipelines.lake import MaturityCurve
    from within_pipelines.prediction import AccountHealthPredictor, AdScorePredictor, AnomalyDetector

# Days of the window that is compared with what the model was trained on. Creatives are few a day, so theirs is longer.
WINDOW_DAYS: Mapping[str, int] = {"ad_score": 28, "account_health": 7, "anomaly": 7}
# Labels of this many days before the newest mature one are judged together.
JUDGED_DAYS = 28
# Ads count as judged once they have run this long: click-through rates arrive at once, but a new ad has few impressions.
AD_DAYS = 7
_SERIES_DAYS = 140
# Whole references stay small; a sample by seed stands for a larger training set.
MOST_ROWS = 6000
# What every row carries beside its features: the account that it belongs to, its platform, its day.
KEYS = ("cluster", "platform", "day")
# What a judged row carries beside its features; `forecast` and its error where the model also forecasts a number, `due` where labels can
# fail to come.
JUDGED = ("prediction", "outcome", "estimated", "realised", "forecast", "forecast_error", "due")
# Texts are embedded once and kept; more than these would cost more than they tell.
TEXT_ROWS, TEXT_WIDTH = 500, 256
_TEXTS = ("headline", "description")


def _nothing() -> pl.DataFrame:
    import polars as pl

    return pl.DataFrame()


@dataclass(frozen=True, slots=True)
class Monitored:
    """`rows`: `cluster`, `platform`, `day` and the features that are watched. `said`: the same keys and `prediction` of each answer.
    `judged`: keys, `prediction`, `outcome`, `estimated` and `realised` loss, and the features that relate to the outcome; outcome and
    realised are null while the label is late. Of account health also `forecast` (the expected log ratio of efficiency; null where a version
    gives none) and `forecast_error` (its absolute error, null while late), and of its window `due`: the day on which the label of a row
    that still waits for it should have come (null where it has come, or where it is known that there will be none).
    `texts`: keys, `text`, its `vector` and what read it (`basis`); empty for models that read none."""

    rows: pl.DataFrame
    said: pl.DataFrame
    judged: pl.DataFrame
    loss: str
    texts: pl.DataFrame = field(default_factory=_nothing)


def _sampled(frame: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    if frame.height <= MOST_ROWS:
        return frame
    sample: pl.DataFrame = frame[np.sort(rng.choice(frame.height, MOST_ROWS, replace=False)).tolist()]
    return sample


def _keys(day: str) -> list[pl.Expr]:
    import polars as pl

    return [pl.concat_str("platform", "account_id", separator="/").alias("cluster"), pl.col("platform"), pl.col(day).alias("day")]


def trained_on(ws: Workspace, pin: Pin, model: str, predictor: Any, rng: np.random.Generator) -> Monitored:
    """What a version was trained on, and what it said of the rows that were held back."""
    import polars as pl

    rows, held = training_set(ws, pin, model), held_back_rows(ws, pin, model)
    if model == "account_health":
        sample = _sampled(rows, rng)
        judged = _health_judged(predictor, _sampled(held, rng))
        return Monitored(_health_features(sample), judged.select(*KEYS, "prediction"), judged, "brier")
    if model == "ad_score":
        newest = _sampled(held, rng)
        return Monitored(
            _creative_features(_sampled(rows, rng)),
            _ad_scores(predictor, newest.head(600)),
            _sampled(_pairs(predictor, newest, rng), rng),
            "brier",
            _texts(predictor, rows, rng),
        )
    scored = predictor.score_series(held, limits=False)
    last_day: date = rows["timestamp"].max()  # type: ignore[assignment]
    settled = rows.filter(pl.col("timestamp") <= last_day - timedelta(days=WINDOW_DAYS["anomaly"]))
    return Monitored(_sampled(_wide(settled), rng), _sampled(_alarms(scored), rng), pl.DataFrame(), "")


def seen_on(ws: Workspace, pin: Pin, model: str, predictor: Any, day: date, *, judged_after: date, rng: np.random.Generator) -> Monitored:
    """The window that ends on `day`, and what became of answers for days after `judged_after`, as known at noon UTC of the next day."""
    known_at = knowledge_time(day)
    if model == "account_health":
        return _health_window(ws, pin, predictor, day, known_at, judged_after)
    if model == "ad_score":
        return _creative_window(ws, pin, predictor, day, known_at, judged_after, rng)
    return _series_window(ws, pin, predictor, day, known_at)


def weekly_spend(ws: Workspace, pin: Pin, day: date) -> dict[str, float]:
    """Spend of the seven days up to `day` by currency, in currency units."""
    import polars as pl

    facts = ws.lake.facts(commit_seq=pin.commit_seq, as_of=knowledge_time(day), start=day - timedelta(days=6), end=day)
    if facts.is_empty():
        return {}
    spent = facts.group_by("currency").agg((pl.col("spend_micros").sum() / 1e6).alias("spend")).sort("currency")
    return {row[0]: float(row[1]) for row in spent.iter_rows() if row[1]}


# Account health

# Features that say what day it is or how long the account is known: a window of a week always differs in them.
_CLOCKS = ("weekday_sin", "weekday_cos", "history_share")


def _health_features(rows: pl.DataFrame) -> pl.DataFrame:
    from within_pipelines.features import ACCOUNT_FEATURES

    return rows.select(*_keys("origin"), *(name for name in ACCOUNT_FEATURES.columns if name not in _CLOCKS))


def _health_judged(predictor: AccountHealthPredictor, rows: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    from within_pipelines.features import ACCOUNT_FEATURES

    usable = rows.filter(pl.col("clicks_28").fill_null(0) >= predictor.minimum_clicks)
    if usable.is_empty():
        return pl.DataFrame()
    p = predictor.probability(usable)
    forecast = pl.concat([batch.select("log_ratio") for batch in predictor.score_batches(usable)])["log_ratio"]
    outcome, came = pl.col("outcome"), pl.col("log_ratio").cast(pl.Float64).fill_nan(None)
    made: pl.DataFrame = (
        usable.select(*_keys("origin"), *ACCOUNT_FEATURES.columns, outcome=pl.col("degraded").cast(pl.Float64), log_ratio=came)
        .with_columns(prediction=pl.Series(p), forecast=forecast)
        .with_columns(
            estimated=pl.col("prediction") * (1 - pl.col("prediction")),
            realised=(outcome - pl.col("prediction")) ** 2,
            forecast_error=(pl.col("log_ratio") - pl.col("forecast")).abs(),
        )
        .drop("log_ratio")
    )
    return made.with_columns(usable["due"]) if "due" in usable.columns else made


def _with_due_days(rows: pl.DataFrame, curve: MaturityCurve) -> pl.DataFrame:
    """`due` of rows whose label is not mature: the day by which the horizon is over and its last day's numbers are in, as far as that
    account's numbers came in the past."""
    import polars as pl

    from within_pipelines.features.labels import MATURE_SHARE

    late = ("conversions", "revenue_micros")

    def settles(platform: str, account: str) -> int:
        return next(age for age in range(curve.longest + 1) if min(curve.share(platform, account, m, age) for m in late) >= MATURE_SHARE)

    accounts = rows.select("platform", "account_id").unique(maintain_order=True)
    accounts = accounts.with_columns(settles=pl.Series([settles(*key) for key in accounts.iter_rows()], dtype=pl.Int64))
    due = pl.col("origin") + pl.duration(days=HEALTH_HORIZON + pl.col("settles"))
    joined = rows.join(accounts, on=["platform", "account_id"], how="left", maintain_order="left")
    waits = ~pl.col("mature").fill_null(False)
    made: pl.DataFrame = joined.with_columns(due=pl.when(waits).then(due).cast(pl.Date)).drop("mature", "settles")
    return made


def _health_window(
    ws: Workspace, pin: Pin, predictor: AccountHealthPredictor, day: date, known_at: datetime, judged_after: date
) -> Monitored:
    import polars as pl

    from within_pipelines.features import account_features, account_labels, run_by_account

    curve = maturity(ws, pin)
    newest = [day - timedelta(days=back) for back in (6, 3, 0)]
    back = range(0, JUDGED_DAYS + HEALTH_HORIZON + 14, 3)
    past = [d for d in (day - timedelta(days=7 + b) for b in back) if d > judged_after]
    origins = sorted({*newest, *past})

    def of(history: pl.DataFrame) -> pl.DataFrame:
        parts = []
        for entity in (HEALTH_ENTITY, ACCOUNT_ENTITY):
            features = account_features(history, origins=origins, entity=entity, maturity=curve)
            labels = account_labels(history, origins=origins, entity=entity, horizon=HEALTH_HORIZON, as_of=known_at, maturity=curve)
            known = [pl.when("mature").then(name).alias(name) for name in ("degraded", "log_ratio")]
            joined = features.join(labels.select(*entity, "origin", "mature", *known), on=[*entity, "origin"], how="left")
            parts.append(joined if "campaign_id" in entity else joined.with_columns(campaign_id=pl.lit("")))
        return pl.concat([part.select(parts[0].columns) for part in parts])

    rows = run_by_account(ws.lake.account_batches(commit_seq=pin.commit_seq, as_of=known_at, end=day), of)
    if rows.is_empty():
        raise SampleError(f"No account has facts up to {day}.")
    rows = _with_due_days(rows, curve)
    recent = rows.filter(pl.col("origin").is_in(newest))
    said = _health_judged(predictor, recent)
    judged = _health_judged(predictor, rows.filter(pl.col("origin") > judged_after))
    return Monitored(_health_features(recent), said.select(*KEYS, "prediction") if said.height else said, judged, "brier")


# Ad score

_WATCHED = ("headline_", "description_", "audience_age", "sibling", "headline_in")
# How many ads came before an ad, and how sure that makes what is known of them, grow with an account's age: newer ads always differ.
_AD_CLOCKS = ("sibling_count", "sibling_reliability")
_CATEGORIES = ("format", "call_to_action", "audience_segment")


def _creative_features(rows: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    from within_pipelines.features import CREATIVE_FEATURES

    watched = (name for name in CREATIVE_FEATURES.columns if name.startswith(_WATCHED) and name not in _AD_CLOCKS)
    numbers = [name for name in watched if name in rows.columns]
    categories = [pl.col(name).cast(pl.String) for name in _CATEGORIES if name in rows.columns]
    return rows.select(*_keys("first_day"), *numbers, *categories)


def _ad_scores(predictor: AdScorePredictor, rows: pl.DataFrame) -> pl.DataFrame:
    """Scores beside past ads, because beside siblings they would lie around the middle whatever happens."""
    import polars as pl

    if rows.is_empty():
        return pl.DataFrame()
    scores = predictor.predict(rows.drop("group_id")).to_frame()["score"]
    return rows.select(*_keys("first_day")).with_columns(prediction=scores)


def _texts(predictor: AdScorePredictor, rows: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """A sample of the ads' texts as vectors: by the encoder that the version was fitted on, else by hashed words."""
    import polars as pl

    from within_pipelines.monitoring import hashed_words
    from within_pipelines.prediction.ad_score.vocabulary import joined_text

    told = rows.select(*_keys("first_day"), text=pl.Series(joined_text(rows, _TEXTS), dtype=pl.String))
    told = told.filter(pl.col("text").is_not_null() & pl.col("cluster").is_not_null())
    if told.height > TEXT_ROWS:
        told = told[np.sort(rng.choice(told.height, TEXT_ROWS, replace=False)).tolist()]
    if told.is_empty():
        return pl.DataFrame()
    encoder = predictor.encoder_in_use
    distinct = told["text"].unique(maintain_order=True).to_list()
    if encoder is None:
        basis, vectors = "hashed words", hashed_words(distinct, width=TEXT_WIDTH)
    else:
        basis = f"{encoder.name} {encoder.sha256[:12]}"
        # A fixed random projection keeps distances (Johnson and Lindenstrauss, 1984) in a sixth of the space.
        axes = np.random.default_rng(encoder.dimension).normal(size=(encoder.dimension, TEXT_WIDTH)) / np.sqrt(TEXT_WIDTH)
        vectors = encoder.encode(distinct).astype(np.float64) @ axes
    place = {text: row for row, text in enumerate(distinct)}
    chosen = vectors[[place[text] for text in told["text"].to_list()]].astype(np.float32)
    made: pl.DataFrame = told.with_columns(vector=pl.Series(chosen.tolist(), dtype=pl.List(pl.Float32)), basis=pl.lit(basis))
    return made


def _pairs(predictor: AdScorePredictor, rows: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """Pairs of siblings: chance that the first wins, and whether it did; features are differences."""
    import polars as pl

    from within_pipelines.prediction.ad_score.evaluation import Answers, Pairs

    siblings = rows.filter(pl.len().over("group_id") > 1)
    try:
        pairs = Pairs.of(siblings, rng=rng)
    except SampleError:
        return pl.DataFrame()
    p = pairs.chance(Answers.of(predictor, siblings))
    watched = _creative_features(siblings).select(pl.exclude(*KEYS)).select(pl.col(pl.Float64))
    values = watched.to_numpy()
    differences = pl.DataFrame(values[pairs.first] - values[pairs.second], schema=watched.columns)
    keys = siblings.select(*_keys("first_day"))[pairs.first.tolist()]
    told = pl.DataFrame({"prediction": p, "outcome": pairs.won, "estimated": p * (1 - p), "realised": (p - pairs.won) ** 2})
    made: pl.DataFrame = pl.concat([keys, told, differences], how="horizontal")
    return made


def _creative_window(
    ws: Workspace, pin: Pin, predictor: AdScorePredictor, day: date, known_at: datetime, judged_after: date, rng: np.random.Generator
) -> Monitored:
    import polars as pl

    from within_pipelines.features import creative_features, creative_table

    history = ws.lake.history(commit_seq=pin.commit_seq, as_of=known_at, end=day)
    table = possible_ads(creative_table(history, ws.lake.creatives(commit_seq=pin.commit_seq, as_of=known_at), as_of=known_at))
    table = table.filter((pl.col("impressions") > 0) & (pl.col("clicks") <= pl.col("impressions")))
    first = min(day - timedelta(days=WINDOW_DAYS["ad_score"]), judged_after)
    table = table.filter((pl.col("first_day") > first) & pl.col("headline").is_not_null())
    if table.is_empty():
        raise SampleError(f"No ad started in the {WINDOW_DAYS['ad_score']} days up to {day}.")
    features = creative_features(table)
    rows = pl.concat([table, features.drop([c for c in features.columns if c in table.columns])], how="horizontal")
    recent = rows.filter(pl.col("first_day") > day - timedelta(days=WINDOW_DAYS["ad_score"]))
    late = pl.col("day") > day - timedelta(days=AD_DAYS)
    judged = _pairs(predictor, rows.filter(pl.col("first_day") > judged_after), rng)
    if judged.height:
        judged = _sampled(judged, rng).with_columns(pl.when(~late).then(pl.col(name)).alias(name) for name in ("outcome", "realised"))
    texts = _texts(predictor, recent, rng)
    return Monitored(_creative_features(recent), _ad_scores(predictor, recent.head(600)), judged, "brier", texts)


# Anomaly


def _wide(series: pl.DataFrame) -> pl.DataFrame:
    """A row per account and day with its metrics; amounts on a logarithmic scale."""
    import polars as pl

    levels = ("spend", "impressions", "clicks", "conversions", "revenue", "cpc", "cpm", "cpa")
    value = pl.when(pl.col("metric").is_in(levels)).then(pl.col("value").log1p()).otherwise("value")
    known = series.filter(pl.col("maturity") >= 0.9).with_columns(value)
    table = known.pivot(
        "metric", index=["platform", "account_id", "timestamp"], values="value", aggregate_function="first", sort_columns=True
    )
    return table.select(*_keys("timestamp"), pl.exclude("platform", "account_id", "timestamp")).with_columns(pl.col("day").cast(pl.Date))


def _alarms(scored: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    judged = scored.filter(pl.col("state") == "scored")
    return judged.select(*_keys("timestamp"), prediction=pl.col("p_value")).with_columns(pl.col("day").cast(pl.Date))


def _series_window(ws: Workspace, pin: Pin, detector: AnomalyDetector, day: date, known_at: datetime) -> Monitored:
    import polars as pl

    from within_pipelines.features import metric_series

    facts = ws.lake.facts(commit_seq=pin.commit_seq, as_of=known_at, start=day - timedelta(days=_SERIES_DAYS - 1), end=day)
    series = metric_series(facts, maturity=maturity(ws, pin))
    span = timedelta(days=WINDOW_DAYS["anomaly"])
    recent, settled = pl.col("timestamp") > day - span, pl.col("timestamp").is_between(day - 2 * span, day - span, closed="right")
    if series.filter(recent).is_empty():
        raise SampleError(f"No account has facts in the {WINDOW_DAYS['anomaly']} days up to {day}.")
    scored = detector.score_series(series, limits=False).filter(recent)
    # Conversions of the newest week are still coming in; the week before shows a shift of the world and not of the calendar.
    return Monitored(_wide(series.filter(settled)), _alarms(scored), pl.DataFrame(), "")
