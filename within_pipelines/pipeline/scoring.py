"""The champions' answers for one day, kept in the operational database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import polars as pl

from within_pipelines.exceptions import ModelNotFoundError, SampleError
from within_pipelines.lake import knowledge_time
from within_pipelines.pipeline.account_rows import account_rows, newest_currency, series_rows
from within_pipelines.pipeline.feeds import planned_changes, tell_stopped_feeds
from within_pipelines.pipeline.health_band import keep_band
from within_pipelines.pipeline.tables import ACCOUNT_ENTITY, HEALTH_ENTITY, HEALTH_HORIZON, maturity, possible_ads
from within_pipelines.pipeline.training import load_version
from within_pipelines.pipeline.workspace import Pin, Workspace

if TYPE_CHECKING:
    from within_pipelines.prediction import AccountHealth, AccountHealthPredictor, AdScorePredictor, AnomalyDetector
    from within_pipelines.registry import ModelVersion

# An ad is scored on a day when it delivered within this many days before.
_LIVE_DAYS = 7
# The level of click-through rates is set anew from ads that started within this many days, given so many groups of them.
_RECENT_DAYS, _RECENT_GROUPS = 28, 12
# The band of account health learns from the outcomes of every third day, as in training, and of at most so many.
_OUTCOME_STEP, _MOST_OUTCOMES = 3, 30
# Metrics of this many days are kept with their anomaly flags at each scoring, because restatements change the newest ones.
_KEPT_DAYS = 14
# The door compares the newest two weeks with the four weeks before them.
_DOOR_DAYS = 42


@dataclass(frozen=True, slots=True)
class ScoreReport:
    """What was scored for `day`; the frames are as stored, empty for a model that was not asked."""

    day: date
    ads: pl.DataFrame
    accounts: pl.DataFrame
    anomalies: pl.DataFrame


def champion(ws: Workspace, model: str) -> ModelVersion:
    """The version that serves.

    Raises `ModelNotFoundError` when nothing does."""
    version = ws.registry.alias(model, "champion")
    if version is None:
        raise ModelNotFoundError(f"No version of {model} serves; `within run` trains and promotes one when its gates pass.")
    return version


def score_day(ws: Workspace, *, day: date | None = None, models: Sequence[str] | None = None, pin: Pin | None = None) -> ScoreReport:
    """Score `day` (default: the newest day with facts) with the champions of `models` (default: all three) and store the answers.

    Facts count as known at noon UTC of the next day, so that scoring an old day again gives what could have been said then. The same
    day scored again replaces its rows.

    Raises `ModelNotFoundError` when a model has no champion, `SampleError` when there are no facts."""
    pin = pin if pin is not None else ws.pin()
    last = ws.lake.last_event_date(pin.commit_seq)
    wanted = day if day is not None else last
    if wanted is None or last is None or wanted > last:
        raise SampleError(f"There are no facts for {wanted}; the newest day is {last}.")
    known_at = knowledge_time(wanted)
    asked = set(models if models is not None else ("ad_score", "account_health", "anomaly"))
    return ScoreReport(
        day=wanted,
        ads=score_ads(ws, pin, wanted, known_at) if "ad_score" in asked else pl.DataFrame(),
        accounts=score_accounts(ws, pin, wanted, known_at) if "account_health" in asked else pl.DataFrame(),
        anomalies=find_anomalies(ws, pin, wanted, known_at) if "anomaly" in asked else pl.DataFrame(),
    )


def _stamp(version: ModelVersion, pin: Pin) -> list[pl.Expr]:
    return [
        pl.lit(version.version).alias("model_version"),
        pl.lit(version.model_sha256).alias("model_sha256"),
        pl.lit(pin.data_version).alias("data_version"),
    ]


def score_ads(ws: Workspace, pin: Pin, day: date, known_at: datetime) -> pl.DataFrame:
    """Score the ads that delivered within the last seven days beside the siblings that did."""
    from within_pipelines.database import AdScoreRepository
    from within_pipelines.features import CREATIVE_FEATURES, creative_features, creative_table

    version = champion(ws, "ad_score")
    predictor = cast("AdScorePredictor", load_version(ws, version))
    history = ws.lake.history(commit_seq=pin.commit_seq, as_of=known_at, end=day)
    table = creative_table(history, ws.lake.creatives(commit_seq=pin.commit_seq, as_of=known_at), as_of=known_at)
    table = possible_ads(table)
    live = table.filter((pl.col("last_day") > day - timedelta(days=_LIVE_DAYS)) & pl.col("headline").is_not_null())
    if live.is_empty():
        return pl.DataFrame()
    features = creative_features(live)
    rows = pl.concat([live, features.select(CREATIVE_FEATURES.columns)], how="horizontal")
    rows = rows.with_columns(account_ctr=pl.col("account_ctr_before"))
    recent = table.filter((pl.col("first_day") > day - timedelta(days=_RECENT_DAYS)) & (pl.col("impressions") > 0))
    recent = recent.filter(pl.col("headline").is_not_null() & (pl.len().over("group_id") > 1))
    if predictor.has_levels and recent["group_id"].n_unique() >= _RECENT_GROUPS:
        predictor = predictor.recalibrated(recent)
    scores = predictor.predict(rows, suggestions=3)
    answers = scores.to_frame()
    identity = rows.select("platform", "account_id", "campaign_id", "ad_group_id", "ad_id", "headline", "format", "audience_segment")
    stored = pl.concat(
        [
            identity.with_columns(scored_on=pl.lit(day)),
            answers.select(
                "score",
                "log_odds_contrast",
                interval_low="low",
                interval_high="high",
                interval_level="interval_level",
                engagement_score="engagement",
                sentiment_score="sentiment",
                complexity_score="complexity",
                topic="topic",
                audience_match="audience_match",
                confidence="confidence",
            ),
        ],
        how="horizontal",
    ).with_columns(_stamp(version, pin))
    text = [name for name in CREATIVE_FEATURES.columns if name.startswith(("headline", "description"))]
    linguistic = features.select(text).to_dicts()
    content = features.select([name for name in CREATIVE_FEATURES.columns if name not in text]).to_dicts()
    images = rows["image_path"].to_list()
    analyses = [
        {
            "content_features": _nonzero(content[i]),
            "linguistic_analysis": _nonzero(linguistic[i]),
            "visual_elements": None,
            "visual_reason": "no image file came with the export" if images[i] is None else "an image is named, but no picture is read",
            "performance_projections": {
                "predicted_ctr": score.predicted_ctr,
                "ctr_interval": [score.ctr_low, score.ctr_high],
                "win_probabilities": score.win_probabilities,
                "contributions": score.contributions,
                "block_contributions": score.block_contributions,
                "out_of_support": list(score.support_reasons),
            },
            "similar_successful_ads": list(score.similar_ads),
            "improvement_suggestions": [asdict(suggestion) for suggestion in score.suggestions],
        }
        for i, score in enumerate(scores)
    ]
    AdScoreRepository(ws.database).save_with_analysis(stored, analyses)
    return stored.sort("score", descending=True)


def _nonzero(values: dict[str, Any]) -> dict[str, float]:
    return {name: round(float(value), 6) for name, value in values.items() if value}


def score_accounts(ws: Workspace, pin: Pin, day: date, known_at: datetime) -> pl.DataFrame:
    """Health of every account and campaign on `day`; accounts carry an empty `campaign_id`.

    The band of the log ratio first learns from the outcomes that became known since the model was fitted (adaptive conformal inference);
    it is learned anew from the artifact each time, so that a day scored again gets the same band, and kept for the HTTP API."""
    from within_pipelines.database import AccountHealthRepository
    from within_pipelines.features import account_labels, run_by_account

    version = champion(ws, "account_health")
    predictor = cast("AccountHealthPredictor", load_version(ws, version))
    curve = maturity(ws, pin)
    faults = feed_faults_on(ws, pin, day, known_at)
    told, blocked = told_faults(faults), told_faults(faults.filter(pl.col("blocking")))
    # Money in two currencies cannot be added up: such an account gets a reason instead of a score.
    mixed = {account for account, kinds in blocked.items() if "currency" in kinds}

    lived = _outcome_origins(predictor.learned_until, day)

    def one_currency(history: pl.DataFrame) -> pl.DataFrame:
        return newest_currency(history) if history.select(ACCOUNT_ENTITY).row(0) in mixed else history

    def outcomes_of(history: pl.DataFrame) -> pl.DataFrame:
        known: dict[str, Any] = {"origins": lived, "horizon": HEALTH_HORIZON, "as_of": known_at, "maturity": curve}
        history = one_currency(history)
        campaigns = account_labels(history, entity=HEALTH_ENTITY, **known)
        accounts = account_labels(history, entity=ACCOUNT_ENTITY, **known)
        return pl.concat([accounts.with_columns(campaign_id=pl.lit("")).select(campaigns.columns), campaigns])

    features = account_rows(ws, pin, day, known_at, origins=[*lived, day], curve=curve, mixed=mixed)
    if features.is_empty():
        return pl.DataFrame()
    if lived:
        batches = ws.lake.account_batches(commit_seq=pin.commit_seq, as_of=known_at, end=day)
        outcomes = run_by_account(batches, outcomes_of).filter("mature").select(*HEALTH_ENTITY, "origin", "log_ratio")
        # What a faulty feed made of an outcome is none.
        sound = features.join(faults.filter(pl.col("blocking")), on=list(ACCOUNT_ENTITY), how="anti")
        predictor.update(sound.join(outcomes, on=[*HEALTH_ENTITY, "origin"]).sort("origin", *HEALTH_ENTITY))
    keep_band(ws, version, day, predictor)
    rows = features.filter(pl.col("origin") == day).sort(*HEALTH_ENTITY)
    if rows.is_empty():
        return pl.DataFrame()
    reports = predictor.predict(rows)
    earlier = _earlier_scores(ws, day)
    learned_until = None if predictor.learned_until is None else predictor.learned_until.isoformat()
    stored = pl.DataFrame(
        [
            {
                "platform": report.platform,
                "account_id": report.account_id,
                "campaign_id": report.campaign_id,
                "scored_on": day,
                # What a blocking fault of the feed has moved is no health: the reader gets the fault instead of a score.
                "state": report.state if (report.platform, report.account_id) not in blocked else "feed_problem",
                **{
                    column: None if (report.platform, report.account_id) in blocked else value
                    for column, value in (
                        ("overall_score", report.score),
                        ("probability", report.probability),
                        ("tier", report.tier),
                        ("money_at_risk", report.money_at_risk),
                    )
                },
                "currency": report.currency,
                "engagement_trends": _trends(row),
                "risk_factors": [asdict(factor) for factor in report.risk_factors],
                "optimization_suggestions": list(report.recommendations),
                "historical_performance": {"scores": earlier.get((report.platform, report.account_id, report.campaign_id), [])},
                "spend_efficiency": report.evidence
                | (_outlook(report) if (report.platform, report.account_id) not in blocked else {})
                | {"out_of_support": [] if (report.platform, report.account_id) in blocked else list(report.support_reasons)}
                | {"feed_problems": list(told.get((report.platform, report.account_id), {}).values()), "outcomes_until": learned_until},
            }
            for report, row in zip(reports, rows.iter_rows(named=True), strict=True)
        ],
        schema_overrides=dict.fromkeys(_HEALTH_JSON, pl.Object)
        | {"overall_score": pl.Float64, "probability": pl.Float64, "tier": pl.String, "money_at_risk": pl.Float64},
        infer_schema_length=None,
    ).with_columns(_stamp(version, pin))
    AccountHealthRepository(ws.database).save(stored)
    # Stored with the reasons in `spend_efficiency`.
    beyond = pl.Series("out_of_support", [report.out_of_support for report in reports], dtype=pl.Boolean)
    return stored.drop(_HEALTH_JSON).with_columns(beyond).sort("overall_score", nulls_last=True)


def feed_faults_on(
    ws: Workspace, pin: Pin, day: date, known_at: datetime, *, accounts: Sequence[tuple[str, str]] | None = None
) -> pl.DataFrame:
    """What the door says of the feeds on `day`, of every account or of the (platform, account_id) in `accounts`; see
    `quality.faulty_feeds`."""
    from within_pipelines.quality import faulty_feeds

    facts = ws.lake.facts(commit_seq=pin.commit_seq, as_of=known_at, start=day - timedelta(days=_DOOR_DAYS), end=day, accounts=accounts)
    return faulty_feeds(facts, day=day)


def told_faults(faults: pl.DataFrame) -> dict[tuple[str, str], dict[str, str]]:
    """Per account the kinds of fault with one sentence each, the newest day's."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for platform, account, kind, day, detail in faults.select("platform", "account_id", "kind", "event_date", "detail").iter_rows():
        found.setdefault((platform, account), {})[kind] = f"{kind.replace('_', ' ')} on {day}: {detail}"
    return found


def _outcome_origins(learned_until: date | None, day: date) -> list[date]:
    """Origins since the last outcome that the model learned from whose horizon is over on `day`: every third day, the newest 30."""
    if learned_until is None:
        return []
    newest = day - timedelta(days=HEALTH_HORIZON)
    return [newest - timedelta(days=back) for back in range(0, (newest - learned_until).days, _OUTCOME_STEP)][:_MOST_OUTCOMES][::-1]


_HEALTH_JSON = ("engagement_trends", "risk_factors", "optimization_suggestions", "historical_performance", "spend_efficiency")


def _outlook(report: AccountHealth) -> dict[str, float | None]:
    """The predicted log ratio with its band, and the probability that the unit stops delivering."""
    return {
        "log_ratio": report.log_ratio,
        "log_ratio_low": report.log_ratio_low,
        "log_ratio_high": report.log_ratio_high,
        "stop_probability": report.stop_probability,
    }


def _trends(row: dict[str, Any]) -> dict[str, float]:
    names = ("log_ctr_7", "slope_ctr_28", "log_impressions_7", "log_efficiency_7", "slope_efficiency_28")
    return {name: round(row[name], 6) for name in names if row.get(name) is not None}


def _earlier_scores(ws: Workspace, day: date) -> dict[tuple[str, str, str], list[dict[str, Any]]]:
    """The last four weeks' stored scores per account and campaign, oldest first."""
    from within_pipelines.database import AccountHealthRepository

    repository = AccountHealthRepository(ws.database)
    found: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for earlier in [d for d in repository.days() if day - timedelta(days=28) <= d < day]:
        for row in repository.on(earlier).select(*HEALTH_ENTITY, "overall_score").iter_rows():
            found.setdefault(row[:3], []).append({"day": earlier.isoformat(), "score": row[3]})
    return found


def find_anomalies(ws: Workspace, pin: Pin, day: date, known_at: datetime) -> pl.DataFrame:
    """What is wrong on `day`: stopped feeds, then alarms; `kind` is "missing", "stalled" or "anomaly" as `AnomalyDetector.detect` says it.

    Kept beside it: the metrics of the newest two weeks with their flags. What HOME/calendar.yaml plans is no alarm; it is kept with its
    reason. An account whose feed stopped has an alert until it goes on.

    Raises `SchemaError` when the calendar does not fit its schema."""
    from within_pipelines.database import PerformanceMetricRepository

    version = champion(ws, "anomaly")
    detector = cast("AnomalyDetector", load_version(ws, version))
    faults = feed_faults_on(ws, pin, day, known_at)
    mixed = set(faults.filter(pl.col("kind") == "currency").select(ACCOUNT_ENTITY).iter_rows())
    series = series_rows(ws, pin, day, known_at, without=mixed)
    if series.is_empty():
        return pl.DataFrame()
    # A day on which the feed itself is at fault raises no alarm about the business; the fault is stored beside the values.
    at_fault = {
        (platform, account, when): f"{kind.replace('_', ' ')}: {detail}"
        for platform, account, when, kind, detail in faults.select("platform", "account_id", "event_date", "kind", "detail").iter_rows()
    }
    scored = detector.score_series(series).filter(pl.col("timestamp") > day - timedelta(days=_KEPT_DAYS))
    kept = scored.filter(pl.col("value").is_finite())
    judged = detector.judge(series, calendar=planned_changes(ws))
    place = ("platform", "account_id", "metric", "timestamp")
    alarmed = {
        tuple(finding[name] for name in place): finding
        for finding in judged.findings
        if (finding["platform"], finding["account_id"], finding["timestamp"]) not in at_fault
    }
    planned = {tuple(finding[name] for name in place): str(finding["reason"]) for finding in judged.suppressed}
    number: Callable[[Any], float | None] = lambda x: None if x is None or x != x else float(x)
    stored = pl.DataFrame(
        [
            {
                "platform": row["platform"],
                "account_id": row["account_id"],
                "metric_name": row["metric"],
                "metric_value": row["value"],
                "period_start": row["timestamp"],
                "period_end": row["timestamp"],
                "expected_value": number(row["expected"]),
                "is_anomaly": where in alarmed,
                "anomaly_score": number(row["score"]),
                "metadata": {
                    "state": row["state"],
                    "low": number(row["low"]),
                    "high": number(row["high"]),
                    "direction": row["direction"],
                    "severity": number(row["severity"]),
                    "cause": alarmed.get(where, {}).get("cause"),
                    "planned": planned.get(where),
                    "currency": row["currency"],
                    "feed_problem": at_fault.get((row["platform"], row["account_id"], row["timestamp"])),
                    "model_sha256": version.model_sha256,
                    "model_version": version.version,
                },
            }
            for row in kept.iter_rows(named=True)
            for where in [tuple(row[name] for name in place)]
        ],
        schema_overrides={"metadata": pl.Object, "expected_value": pl.Float64, "anomaly_score": pl.Float64},
        infer_schema_length=None,
    )
    if stored.height:
        PerformanceMetricRepository(ws.database).save(stored)
    tell_stopped_feeds(ws, judged.feeds, series, now=known_at)
    return _wrong(judged.feeds, [finding for where, finding in alarmed.items() if finding["timestamp"] == day], series)


_SHOWN = ("kind", *ACCOUNT_ENTITY, "metric", "timestamp", "value", "points", "expected", "low", "high", "direction", "score", "p_value")


def _wrong(feeds: Sequence[dict[str, Any]], alarms: Sequence[dict[str, Any]], series: pl.DataFrame) -> pl.DataFrame:
    """Stopped feeds and alarms as one table, each sorted so that the worst comes first."""
    feeds = sorted(feeds, key=lambda feed: (feed["account_id"], feed["metric"]))
    alarms = sorted(alarms, key=lambda alarm: (-alarm["score"], alarm["account_id"], alarm["metric"]))
    types: dict[str, Any] = dict.fromkeys(_SHOWN, pl.String) | dict.fromkeys(_SHOWN[5:], pl.Float64)
    types |= {"timestamp": pl.Date, "points": pl.Int64, "direction": pl.String}
    table = pl.DataFrame([{name: row.get(name) for name in _SHOWN} for row in (*feeds, *alarms)], schema=types)
    money = series.group_by(ACCOUNT_ENTITY).agg(pl.col("currency").drop_nulls().first())
    return table.join(money, on=ACCOUNT_ENTITY, how="left", maintain_order="left")
