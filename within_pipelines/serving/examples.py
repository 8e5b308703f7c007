"""Requests that show what may be asked. The documentation answers them with the model that serves, and so does a new version's trial."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

_LAST = date(2026, 6, 30)
_DAYS = 56


def _creative(headline: str, description: str) -> dict[str, Any]:
    return {
        "headline": headline,
        "description": description,
        "call_to_action": "Shop now",
        "format": "image",
        "platform": "meta_ads",
        "audience_segment": "women 25-34",
    }


AD_SCORE: dict[str, Any] = {
    "creative": {**_creative("Save 20 percent on running shoes today", "Free delivery and returns"), "account_ctr": 0.012},
    "unit": "agency-7/account-12",
}
AD_SCORE_BATCH: dict[str, Any] = {
    "creatives": [
        {**_creative("Save 20 percent on running shoes today", "Free delivery and returns"), "ad_id": "a", "group_id": "spring"},
        {**_creative("Our new running shoes", "See the collection"), "ad_id": "b", "group_id": "spring"},
    ],
}


def _daily() -> list[dict[str, Any]]:
    """Eight weeks that lose a fifth of their clicks in the last one."""
    days = [_LAST - timedelta(days=back) for back in range(_DAYS)][::-1]
    return [
        {
            "date": day.isoformat(),
            "impressions": 12_000 + 150 * day.weekday(),
            "clicks": (300 if place < _DAYS - 7 else 235) + 4 * day.weekday(),
            "spend": 210.0 + 3.0 * day.weekday(),
            "conversions": 12 + day.day % 4,
            "revenue": 640.0 + 20.0 * (day.day % 5),
        }
        for place, day in enumerate(days)
    ]


ACCOUNT_HEALTH: dict[str, Any] = {"platform": "google_ads", "account_id": "account-12", "currency": "EUR", "daily": _daily()}
ACCOUNT_HEALTH_BATCH: dict[str, Any] = {"accounts": [ACCOUNT_HEALTH]}


def _spend() -> dict[str, Any]:
    """Eight weeks of spend with a day on which almost nothing was spent."""
    points = [{"date": row["date"], "value": row["spend"] + 2.0 * (place % 3)} for place, row in enumerate(_daily())]
    points[-2]["value"] = 9.0
    return {"metric": "spend", "currency": "EUR", "points": points}


ANOMALIES: dict[str, Any] = {"platform": "google_ads", "account_id": "account-12", "series": [_spend()]}
ANOMALIES_BATCH: dict[str, Any] = {"accounts": [ANOMALIES]}
EXPLAIN: dict[str, Any] = {"model": "ad_score", "creative": AD_SCORE["creative"]}
OUTCOMES: dict[str, Any] = {
    "outcomes": [
        {"prediction_id": f"{'0' * 31}1-0", "value": 0.014, "weight": 12_500, "observed_at": "2026-07-14T06:00:00Z"},
    ]
}
REQUESTS: dict[str, dict[str, Any]] = {
    "/v1/ad-score": AD_SCORE,
    "/v1/ad-score/batch": AD_SCORE_BATCH,
    "/v1/account-health": ACCOUNT_HEALTH,
    "/v1/account-health/batch": ACCOUNT_HEALTH_BATCH,
    "/v1/anomalies": ANOMALIES,
    "/v1/anomalies/batch": ANOMALIES_BATCH,
    "/v1/explain": EXPLAIN,
    "/v1/outcomes": OUTCOMES,
}


def trial(model: str) -> list[dict[str, Any]]:
    """A job that a version has to answer before it is taken up."""
    if model == "ad_score":
        return [dict(AD_SCORE["creative"])]
    if model == "account_health":
        return [{name: ACCOUNT_HEALTH[name] for name in ("platform", "account_id", "currency", "daily")}]
    series = ANOMALIES["series"][0]
    rows = [
        {
            "platform": ANOMALIES["platform"],
            "account_id": ANOMALIES["account_id"],
            "metric": series["metric"],
            "timestamp": point["date"],
            "value": point["value"],
            "maturity": 1.0,
            "currency": series["currency"],
        }
        for point in series["points"]
    ]
    return [{"account_id": ANOMALIES["account_id"], "rows": rows}]
