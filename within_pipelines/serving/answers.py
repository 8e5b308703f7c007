"""From checked requests to a predictor's values, one class a model. Nothing here knows HTTP."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import polars as pl

from within_pipelines.serving.schemas import Creative

if TYPE_CHECKING:
    from within_pipelines.prediction import AccountHealthPredictor, AdScorePredictor, AnomalyDetector, Calendar

_CREATIVE_SCHEMA: dict[str, Any] = {
    name: pl.Float64 if name == "account_ctr" or name.endswith("_before") else pl.String for name in Creative.model_fields
}
_AD_SCORE_FIELDS = (
    "score", "log_odds_contrast", "low", "high", "interval_level", "predicted_ctr", "ctr_low", "ctr_high", "confidence", "out_of_support",
    "support_reasons", "win_probabilities",
)  # fmt: skip
Answer = dict[str, Any]


class Answerer(Protocol):
    """Answers jobs of one model. A job is what one request asks; jobs are plain values, so that they can go to another process."""

    def answer(self, predictor: Any, jobs: Sequence[Any]) -> list[list[Answer]]:
        """Per job its answers, in order."""

    def explain(self, predictor: Any, job: Any) -> list[Answer]:
        """Per row of a job its parts."""

    def value(self, answer: Answer) -> float | None:
        """The one number by which two versions are compared."""


@dataclass(frozen=True, slots=True)
class AdScoreAnswers:
    """A job is a list of creatives, as dicts of their fields."""

    count_texts: Any = None

    def answer(self, predictor: AdScorePredictor, jobs: Sequence[list[dict[str, Any]]]) -> list[list[Answer]]:
        """All jobs in one table: what costs is the number of calls, not of rows. Creatives of different jobs are nobody's siblings.

        A text's meaning differs by about a millionth with the texts it is encoded beside, and a score by less than 0.0001."""
        rows = [
            {**creative, "group_id": f"{number}/{creative.get('group_id') or f'alone {place}'}"}
            for number, creatives in enumerate(jobs)
            for place, creative in enumerate(creatives)
        ]
        frame = pl.DataFrame(rows, schema=_CREATIVE_SCHEMA)
        self._count(predictor, frame)
        scores = iter(predictor.predict(frame))
        return [[_ad_score(score) for score in islice(scores, len(creatives))] for creatives in jobs]

    def _count(self, predictor: AdScorePredictor, frame: pl.DataFrame) -> None:
        """Count which texts the encoder remembers and which it has to read."""
        encoder = predictor.encoder_in_use
        if encoder is None or self.count_texts is None:
            return
        known = getattr(encoder, "remembered", {})
        for text in predictor.encoded_texts(frame):
            self.count_texts.labels("hit" if text in known else "miss").inc()

    def explain(self, predictor: AdScorePredictor, job: list[dict[str, Any]]) -> list[Answer]:
        """Contributions per feature, word and meaning."""
        frame = pl.DataFrame([{**creative, "group_id": None} for creative in job], schema=_CREATIVE_SCHEMA).drop("group_id")
        self._count(predictor, frame)
        return [
            {name: value for name, value in row.items() if value or name == "log_odds_contrast"} for row in _rows(predictor.explain(frame))
        ]

    def value(self, answer: Answer) -> float | None:
        """The score."""
        return float(answer["score"])


def _ad_score(score: Any) -> Answer:
    found = {name: getattr(score, name) for name in _AD_SCORE_FIELDS}
    found["support_reasons"] = list(score.support_reasons)
    return found


_NO_HEALTH = (
    "score", "probability", "tier", "money_at_risk", "log_ratio", "log_ratio_low", "log_ratio_high", "stop_probability", "out_of_support",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class AccountHealthAnswers:
    """A job is a list of accounts: {"features": a row of account features} or {"daily": daily rows}."""

    def answer(self, predictor: AccountHealthPredictor, jobs: Sequence[list[dict[str, Any]]]) -> list[list[Answer]]:
        """One call per account, because daily rows are counted by account."""
        return [[self._one(predictor, account) for account in job] for job in jobs]

    def _one(self, predictor: AccountHealthPredictor, account: dict[str, Any]) -> Answer:
        band = account.get("bands", {}).get(predictor.loaded_from)
        (report,) = predictor.predict(health_frame(account), band_quantile=None if band is None else band["quantile"])
        found = asdict(report)
        found.pop("campaign_id")
        found["origin"] = report.origin.isoformat()
        found["evidence"] = {name: _finite(value) for name, value in report.evidence.items()}
        own = predictor.learned_until
        # Which band it is: that of the daily job on its day, or the one that was fitted.
        found["evidence"]["band_of"] = "fit" if band is None else band["day"]
        found["evidence"]["outcomes_until"] = (None if own is None else own.isoformat()) if band is None else band["outcomes_until"]
        feed = account.get("feed")
        if feed is not None:
            found["evidence"]["feed_problems"] = feed["problems"]
            if feed["blocked"]:
                # As in the daily job: what a fault of the feed has moved is no health.
                found |= {"state": "feed_problem", **dict.fromkeys(_NO_HEALTH), "support_reasons": ()}
        return found

    def explain(self, predictor: AccountHealthPredictor, job: list[dict[str, Any]]) -> list[Answer]:
        """Contributions per feature."""
        return [row for account in job for row in _rows(predictor.explain(health_frame(account)).drop("campaign_id"))]

    def value(self, answer: Answer) -> float | None:
        """The probability of a drop."""
        return None if answer["probability"] is None else float(answer["probability"])


def health_frame(account: dict[str, Any]) -> pl.DataFrame:
    """The table that a predictor takes, from an account's feature row or daily rows."""
    if "features" in account:
        frame = pl.DataFrame([account["features"]], infer_schema_length=None)
        missing = [name for name, dtype in frame.schema.items() if dtype == pl.Null]
        return frame.with_columns(pl.col(missing).cast(pl.Float64), pl.col("origin").str.to_date())
    amounts = ("impressions", "clicks", "spend", "conversions", "revenue")
    schema: dict[str, Any] = {"date": pl.String, **dict.fromkeys(amounts, pl.Float64)}
    frame = pl.DataFrame(account["daily"], schema=schema)
    absent = [name for name in amounts[2:] if frame[name].null_count() == frame.height]
    names = {"platform": account.get("platform") or "", "account_id": account["account_id"]}
    if account.get("currency"):
        names["currency"] = account["currency"]
    return frame.drop(absent).with_columns(**{name: pl.lit(value) for name, value in names.items()})


@dataclass(frozen=True, slots=True)
class AnomalyAnswers:
    """A job is a list of accounts: {"account_id", "rows": rows of metric series}, of the lake with what the door says as "feed"."""

    def answer(self, predictor: AnomalyDetector, jobs: Sequence[list[dict[str, Any]]]) -> list[list[Answer]]:
        """One call per account."""
        return [[self._one(predictor, account) for account in job] for job in jobs]

    def _one(self, predictor: AnomalyDetector, account: dict[str, Any]) -> Answer:
        feed = account.get("feed") or {"problems": [], "days": [], "mixed": False}
        told = {
            "account_id": account["account_id"],
            "feed_problems": feed["problems"],
            "calendar": account.get("calendar", "none"),
            "planned": [],
        }
        if feed["mixed"]:
            return told | {"state": "feed_problem", "findings": [], "points": 0, "smallest_p_value": None}
        frame = series_frame(account)
        judged = predictor.judge(frame, calendar=_calendar(account.get("planned", ())))
        # Who sends rows asks about those: a metric that was not sent is no feed that stopped. An account of the lake comes whole.
        asked = set(frame["metric"]) if account.get("feed") is None else None
        feeds = [found for found in judged.feeds if asked is None or found["metric"] in asked]
        findings = [_plain(finding) for finding in (*feeds, *judged.findings)]
        # As in the daily job: a day on which the feed itself is at fault raises no alarm about the business.
        findings = [found for found in findings if found["kind"] != "anomaly" or found["timestamp"] not in feed["days"]]
        scored = predictor.score_series(frame, limits=False)
        smallest = scored["p_value"].min()
        return told | {
            "state": "judged",
            "findings": findings,
            "planned": [_plain(finding) for finding in judged.suppressed],
            "points": frame.height,
            "smallest_p_value": None if smallest is None else float(smallest),  # type: ignore[arg-type]
        }

    def explain(self, predictor: AnomalyDetector, job: list[dict[str, Any]]) -> list[Answer]:
        """Each forecaster's expectation and surprise."""
        return [row for account in job if account["rows"] for row in _rows(predictor.explain(series_frame(account)))]

    def value(self, answer: Answer) -> float | None:
        """-log10 of the smallest p-value: how improbable the account's most surprising point is."""
        smallest = answer["smallest_p_value"]
        return None if smallest is None else -math.log10(max(smallest, 1e-300))


def _calendar(entries: Sequence[dict[str, Any]]) -> Calendar:
    """The calendar of a job's plain entries, which were checked when the file was read."""
    from within_pipelines.prediction.anomaly import Calendar, Planned

    days = ((date.fromisoformat(entry["first"]), date.fromisoformat(entry["last"]), entry) for entry in entries)
    return Calendar(tuple(Planned(first, last, entry["reason"], entry["where"]) for first, last, entry in days))


def series_frame(account: dict[str, Any]) -> pl.DataFrame:
    """The long table that the detector takes."""
    schema: dict[str, Any] = {
        "platform": pl.String, "account_id": pl.String, "metric": pl.String, "timestamp": pl.String, "value": pl.Float64,
        "maturity": pl.Float64, "currency": pl.String,
    }  # fmt: skip
    frame = pl.DataFrame(account["rows"], schema=schema).with_columns(pl.col("timestamp").str.to_date())
    absent = [name for name in ("platform", "maturity", "currency") if frame[name].null_count() == frame.height]
    return frame.drop(absent)


def _rows(frame: pl.DataFrame) -> list[Answer]:
    return [_plain(row) for row in frame.to_dicts()]


def _plain(value: Any) -> Any:
    """Values that JSON has."""
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return _finite(value)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def answerers(count_texts: Any = None) -> dict[str, Answerer]:
    """The answerer of each model."""
    return {"ad_score": AdScoreAnswers(count_texts), "account_health": AccountHealthAnswers(), "anomaly": AnomalyAnswers()}
