"""What a request may hold, field by field, and what an answer holds."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field


def _day(value: Any) -> Any:
    """Only a date as text: numbers would be read as seconds since 1970."""
    if not isinstance(value, str) or len(value) != 10:
        raise ValueError("give a day as YYYY-MM-DD")
    try:
        return dt.date.fromisoformat(value)
    except ValueError:
        raise ValueError("give a day as YYYY-MM-DD") from None


def _moment(value: Any) -> Any:
    if not isinstance(value, str) or len(value) < 19:
        raise ValueError("give a moment as ISO 8601 with its offset, for example 2026-06-30T12:00:00Z")
    try:
        return dt.datetime.fromisoformat(value.replace("z", "Z").replace("t", "T"))
    except ValueError:
        raise ValueError("give a moment as ISO 8601 with its offset, for example 2026-06-30T12:00:00Z") from None


Day = Annotated[dt.date, BeforeValidator(_day), Field(json_schema_extra={"type": "string", "format": "date"})]
Moment = Annotated[AwareDatetime, BeforeValidator(_moment), Field(json_schema_extra={"type": "string", "format": "date-time"})]
# Names that come back in answers, logs and tables: printable ASCII.
Name = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[!-~](?:[ -~]*[!-~])?$")]
Text = Annotated[str, Field(max_length=1000)]
Count = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Number = Annotated[float, Field(ge=-1e15, le=1e15, allow_inf_nan=False)]
MOST_ROWS = 20_000


class Asked(BaseModel):
    """A part of a request: unknown fields and values of another type are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Told(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(extra="forbid")


# -- requests --------------------------------------------------------------------------------------------------------------------------


class Creative(Asked):
    """One ad as it would be shown. Creatives of one batch with the same `group_id` are compared with each other.

    `account_ctr` is the account's recent click-through rate (a share); the counts say what account, campaign and ad group had before this
    ad's first day. With either, the answer has a click-through rate."""

    headline: Annotated[str, Field(min_length=1, max_length=1000)]
    description: Text | None = None
    call_to_action: Text | None = None
    format: Text | None = None
    platform: Text | None = None
    audience_segment: Text | None = None
    ad_id: Name | None = None
    group_id: Name | None = None
    account_id: Name | None = None
    campaign_id: Name | None = None
    account_ctr: Share | None = None
    account_clicks_before: Count | None = None
    account_impressions_before: Count | None = None
    campaign_clicks_before: Count | None = None
    campaign_impressions_before: Count | None = None
    group_clicks_before: Count | None = None
    group_impressions_before: Count | None = None

    def contradiction(self) -> str | None:
        """What cannot be true of it, or None."""
        for tier in ("account", "campaign", "group"):
            clicks, shown = getattr(self, f"{tier}_clicks_before"), getattr(self, f"{tier}_impressions_before")
            if (clicks or 0.0) > (shown or 0.0):
                return f"{tier}_clicks_before must not exceed {tier}_impressions_before."
        return None


class AdScoreRequest(Asked):
    """One creative. `unit` is who asks, for canaries and experiments: the same unit gets the same version (default: the account)."""

    creative: Creative
    unit: Name | None = None


class AdScoreBatch(Asked):
    """Several creatives, answered by one version in their order."""

    creatives: Annotated[list[Creative], Field(min_length=1, max_length=256)]
    unit: Name | None = None


class DailyRow(Asked):
    """One day of one account (or of one campaign of it)."""

    date: Day
    impressions: Count
    clicks: Count
    spend: Count | None = None
    conversions: Count | None = None
    revenue: Count | None = None


class AccountHealthRequest(Asked):
    """An account that the lake knows (`platform` and `account_id`, at the end of `day`, default: the newest day), or its daily rows.

    With `daily`, at least four weeks make an answer; the ids are then only names."""

    platform: Name | None = None
    account_id: Name
    day: Day | None = None
    daily: Annotated[list[DailyRow], Field(min_length=1, max_length=1000)] | None = None
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] | None = None
    unit: Name | None = None


class AccountHealthBatch(Asked):
    """Several accounts, answered by one version in their order."""

    accounts: Annotated[list[AccountHealthRequest], Field(min_length=1, max_length=64)]
    unit: Name | None = None


class Point(Asked):
    """One value of a daily metric; `maturity` is the share of the final value that is known (null: all of it)."""

    date: Day
    value: Number | None
    maturity: Share | None = None


class Series(Asked):
    """One daily metric, oldest first or in any order, each day once."""

    metric: Name
    points: Annotated[list[Point], Field(min_length=1, max_length=2000)]
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] | None = None


class AnomaliesRequest(Asked):
    """An account that the lake knows (`platform` and `account_id`, up to `day`), or its series.

    Without history of its own that the model knows, a series needs four weeks before its first point is judged."""

    platform: Name | None = None
    account_id: Name
    day: Day | None = None
    series: Annotated[list[Series], Field(min_length=1, max_length=50)] | None = None
    unit: Name | None = None


class AnomaliesBatch(Asked):
    """Several accounts, answered by one version in their order."""

    accounts: Annotated[list[AnomaliesRequest], Field(min_length=1, max_length=16)]
    unit: Name | None = None


class ExplainAdScore(Asked):
    """Explain a creative's score."""

    model: Literal["ad_score"]
    creative: Creative


class ExplainAccountHealth(Asked):
    """Explain an account's health."""

    model: Literal["account_health"]
    account: AccountHealthRequest


class ExplainAnomaly(Asked):
    """Explain how surprising each point of an account's series is."""

    model: Literal["anomaly"]
    account: AnomaliesRequest


ExplainRequest = Annotated[ExplainAdScore | ExplainAccountHealth | ExplainAnomaly, Field(discriminator="model")]


class Outcome(Asked):
    """What became of a prediction. `value` is a share or a 0/1 label: clicks per impression of the ad, 1 when efficiency did fall, 1 when
    the alarm was right. `weight` is the number of trials behind it (impressions; 1 for a label)."""

    prediction_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}-[0-9]{1,4}$")]
    value: Share
    weight: Annotated[float, Field(gt=0, le=1e12, allow_inf_nan=False)] = 1.0
    observed_at: Moment


class OutcomesRequest(Asked):
    """Outcomes of predictions made here."""

    outcomes: Annotated[list[Outcome], Field(min_length=1, max_length=1000)]


# -- answers ---------------------------------------------------------------------------------------------------------------------------


class AnsweredBy(Told):
    """The version that answered, the hash of its artifact, and in which role."""

    name: str
    version: int
    kind: str
    model_sha256: str
    role: str


class AdScoreItem(Told):
    """The score of one creative; fields as in `AdScore` of the package."""

    prediction_id: str
    score: float = Field(ge=0, le=100)
    log_odds_contrast: float
    low: float
    high: float
    interval_level: float
    predicted_ctr: float | None
    ctr_low: float | None
    ctr_high: float | None
    confidence: float
    out_of_support: bool
    support_reasons: list[str]
    win_probabilities: dict[str, float]


class AdScoreAnswer(Told):
    """One scored creative."""

    request_id: str
    model: AnsweredBy
    result: AdScoreItem


class AdScoreBatchAnswer(Told):
    """Scored creatives in the order of the request."""

    request_id: str
    model: AnsweredBy
    results: list[AdScoreItem]


class RiskFactorItem(Told):
    """One group of features that raises the risk."""

    group: str
    log_odds: float
    leading_feature: str
    value: float | None
    stability: float


class AccountHealthItem(Told):
    """Health of one account; `state` "insufficient_data" has no numbers and says why in `evidence`, and so does "feed_problem": an account
    of the lake whose feed says what cannot be (`feed_problems`).

    `target` is what its efficiency is measured by, `evidence.target_reason` why. With `out_of_support` true, features lie beyond those of
    the training rows (`support_reasons` names them) and counted as the nearest training value; null: not judged.

    The band `log_ratio_low` to `log_ratio_high` of an account of the lake is that of the daily job on its day, or last before it:
    `evidence.band_of` names the day, `evidence.outcomes_until` the newest origin whose outcome it learned from. "fit" is the band as
    fitted: of rows that were given, and of a version that the daily job has not scored with."""

    prediction_id: str
    platform: str
    account_id: str
    origin: dt.date
    state: str
    score: float | None
    probability: float | None
    log_ratio: float | None
    log_ratio_low: float | None
    log_ratio_high: float | None
    stop_probability: float | None
    horizon: int
    drop: float
    interval_level: float
    tier: str | None
    money_at_risk: float | None
    currency: str | None
    risk_factors: list[RiskFactorItem]
    recommendations: list[str]
    evidence: dict[str, Any]
    target: str | None
    out_of_support: bool | None
    support_reasons: list[str]


class AccountHealthAnswer(Told):
    """One account."""

    request_id: str
    model: AnsweredBy
    result: AccountHealthItem


class AccountHealthBatchAnswer(Told):
    """Accounts in the order of the request."""

    request_id: str
    model: AnsweredBy
    results: list[AccountHealthItem]


class AnomaliesItem(Told):
    """What is wrong with one account: alarms and stopped feeds, as `AnomalyDetector.detect` gives them. Of an account of the lake
    `feed_problems` says what its feed tells that cannot be: such days raise no alarm, and with money in several currencies nothing is
    judged (`state` "feed_problem"). What the deployment's calendar plans is no alarm: it is in `planned`, each with its `reason`.
    `calendar` is "unreadable" while the file that is there now cannot be read; what was planned before then still holds."""

    prediction_id: str
    account_id: str
    state: Literal["judged", "feed_problem"]
    feed_problems: list[str]
    findings: list[dict[str, Any]]
    planned: list[dict[str, Any]]
    calendar: Literal["none", "applied", "unreadable"]
    points: int
    smallest_p_value: float | None


class AnomaliesAnswer(Told):
    """One account."""

    request_id: str
    model: AnsweredBy
    result: AnomaliesItem


class AnomaliesBatchAnswer(Told):
    """Accounts in the order of the request."""

    request_id: str
    model: AnsweredBy
    results: list[AnomaliesItem]


class ExplainAnswer(Told):
    """Per row the parts that add up to its prediction (ad score: contrast, account health: log-odds), or each forecaster's view."""

    request_id: str
    model: AnsweredBy
    rows: list[dict[str, Any]]


class OutcomesAnswer(Told):
    """How many outcomes are on disk and will be joined with their predictions."""

    request_id: str
    accepted: int


class ModelEntry(Told):
    """One model: who answers, who answers beside, and what is known of the champion."""

    name: str
    champion: AnsweredBy | None
    canary: AnsweredBy | None
    canary_share: float | None
    shadow: AnsweredBy | None
    shadow_state: Literal["starting", "answering", "failed"] | None
    trained_at: dt.datetime | None
    data_version: str | None
    metrics: dict[str, dict[str, float]]
    swap_problem: str | None


class ModelsAnswer(Told):
    """Every model."""

    request_id: str
    models: list[ModelEntry]


class Live(Told):
    """The process runs."""

    status: str


class Ready(Told):
    """Whether requests can be answered, and what is not as it should be."""

    status: str
    models: dict[str, int | None]
    registry: str
    swap_problems: dict[str, str]
    log: str
    shadows: dict[str, Literal["starting", "answering", "failed"]]
