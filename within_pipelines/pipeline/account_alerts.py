"""Alerts about accounts, opened and closed once a day within a budget of false ones, and the backtest of that rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import polars as pl

from within_pipelines.exceptions import SampleError
from within_pipelines.lake import knowledge_time
from within_pipelines.pipeline.alert_manager import AlertManager, Precision, alert_precision
from within_pipelines.pipeline.scoring import champion
from within_pipelines.pipeline.training import load_version
from within_pipelines.pipeline.workspace import Pin, Workspace

if TYPE_CHECKING:
    from within_pipelines.database import AlertRecord
    from within_pipelines.monitoring import Alert, AlertBudget
    from within_pipelines.prediction import AnomalyDetector
    from within_pipelines.stats import Estimate

PREFIX = "account/"
# Known on the next morning. Conversions and revenue come days later: their single series are judged in `anomalies` when they are known.
METRICS = ("spend", "impressions", "clicks", "ctr", "cpc", "cpm")
_SERIES_DAYS = 140
# The newest week does not take part in saying what is usual, so that an incident of these days cannot excuse itself.
_UNSETTLED = 7
# Delivery below this share of what was expected is critical.
_STOPPED = 0.3
# An account whose alert a person has closed is left in peace for as long as its evidence may still hold the same days.
_HELD = timedelta(days=3)
_EXCUSED_FROM_ORDER = 1


@dataclass(frozen=True, slots=True)
class AccountSeries:
    """Surprises (accounts, metrics, days) with whose they are, and the scored rows behind them."""

    accounts: tuple[tuple[str, str], ...]
    first_day: date
    surprise: np.ndarray[Any, np.dtype[np.float64]]
    scored: pl.DataFrame

    @property
    def days(self) -> int:
        """Days of the window."""
        return int(self.surprise.shape[2])


@dataclass(frozen=True, slots=True)
class AccountReview:
    """What a day's review did. `budget` is None, and `reason` says why, when nothing could be judged."""

    day: date
    accounts: int
    opened: tuple[str, ...]
    closed: tuple[str, ...]
    still_open: int
    budget: AlertBudget | None
    precision: Precision
    reason: str
    table: pl.DataFrame


def account_series(ws: Workspace, pin: Pin, day: date, known_at: datetime) -> AccountSeries:
    """The champion's surprises of every account's prompt metrics over the 140 days up to `day`."""
    from within_pipelines.features import metric_series

    detector = cast("AnomalyDetector", load_version(ws, champion(ws, "anomaly")))
    first = day - timedelta(days=_SERIES_DAYS - 1)
    series = metric_series(ws.lake.facts(commit_seq=pin.commit_seq, as_of=known_at, start=first, end=day), metrics=METRICS)
    return _scored(detector, series, first=first, days=_SERIES_DAYS)


def _scored(detector: AnomalyDetector, series: pl.DataFrame, *, first: date, days: int) -> AccountSeries:
    if series.is_empty():
        return AccountSeries((), first, np.empty((0, len(METRICS), days)), series)
    scored = detector.score_series(series, limits=False)
    accounts = scored.select("platform", "account_id").unique().sort("platform", "account_id")
    place = scored.join(accounts.with_row_index("row"), on=["platform", "account_id"], how="left", maintain_order="left")
    surprise = np.full((accounts.height, len(METRICS), days), np.nan)
    number = {name: i for i, name in enumerate(METRICS)}
    surprise[
        place["row"].to_numpy(),
        place["metric"].replace_strict(number, return_dtype=pl.Int64).to_numpy(),
        place.select((pl.col("timestamp") - first).dt.total_days()).to_series().to_numpy(),
    ] = scored["score"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    return AccountSeries(tuple(accounts.iter_rows()), first, surprise, scored)


def review_accounts(ws: Workspace, pin: Pin, day: date, *, now: datetime, run_id: str = "") -> AccountReview:
    """Open alerts for accounts whose evidence stands out on `day`, count those that go on, close those that are calm again.

    Judging the same day again changes nothing but the count. A day that is older than the newest by more than one is looked at and not
    told: its news is no news. An open alert of an account that has no data any more stays open until somebody resolves it.

    Raises `ModelNotFoundError` when no detector serves."""
    from within_pipelines.monitoring import AlertBudget

    manager = AlertManager(ws)
    found = account_series(ws, pin, day, knowledge_time(day))
    precision = alert_precision(manager)
    open_now = {record.dedup_key: record for record in manager.store.open_under(PREFIX)}

    def nothing(reason: str) -> AccountReview:
        return AccountReview(day, len(found.accounts), (), (), len(open_now), None, precision, reason, pl.DataFrame())

    last = ws.lake.last_event_date(pin.commit_seq)
    if last is not None and day < last - timedelta(days=_EXCUSED_FROM_ORDER):
        return nothing(f"{day} is not the newest day, which is {last}; alerts are about the present.")
    try:
        budget = AlertBudget.learn(found.surprise[:, :, :-_UNSETTLED], false_per_week=manager.settings.false_alerts_per_week)
    except SampleError as error:
        return nothing(str(error))
    keys = [f"{PREFIX}{platform}/{account}" for platform, account in found.accounts]
    if not budget.can_tell(len(keys)):
        return nothing(
            f"{budget.quiet_days} quiet account-days are too few to tell one account among {len(keys)} within "
            f"{manager.settings.false_alerts_per_week:g} false alerts a week."
        )
    judged = budget.judge(found.surprise, is_open=[key in open_now for key in keys])
    held = manager.store.resolved_since(PREFIX, now - _HELD)
    opened, closed = [], []
    for row, key in enumerate(keys):
        if key in open_now:
            if judged.calm[row]:
                manager.close(key, now=now)
                closed.append(key)
            elif np.isfinite(judged.p_value[row]):
                manager.tell(_alert(found, row, day, float(judged.p_value[row]), run_id), now=now)
        elif judged.opens[row] and key not in held:
            manager.tell(_alert(found, row, day, float(judged.p_value[row]), run_id), now=now)
            opened.append(key)
    table = pl.DataFrame(
        {
            "platform": [platform for platform, _ in found.accounts],
            "account_id": [account for _, account in found.accounts],
            "evidence": judged.statistic,
            "p_value": judged.p_value,
            "adjusted": judged.adjusted,
            "state": [_state(key, open_now, opened, closed) for key in keys],
        }
    ).sort("p_value", nulls_last=True)
    still = len(open_now) + len(opened) - len(closed)
    return AccountReview(day, len(keys), tuple(opened), tuple(closed), still, budget, precision, "", table)


def _state(key: str, open_now: dict[str, AlertRecord], opened: Sequence[str], closed: Sequence[str]) -> str:
    if key in opened:
        return "opened"
    if key in closed:
        return "closed"
    return "open" if key in open_now else ""


def _alert(found: AccountSeries, row: int, day: date, p_value: float, run_id: str) -> Alert:
    from within_pipelines.monitoring import Alert, Severity

    platform, account = found.accounts[row]
    own = found.scored.filter((pl.col("platform") == platform) & (pl.col("account_id") == account))
    # The day of the three on which it is plainest.
    recent = own.filter((pl.col("timestamp") > day - timedelta(days=3)) & (pl.col("timestamp") <= day) & pl.col("score").is_not_null())
    plainest = recent.group_by("timestamp").agg(pl.col("score").top_k(3).mean()).sort("score", "timestamp")["timestamp"][-1]
    rows = recent.filter(pl.col("timestamp") == plainest).sort("score", "metric", descending=[True, False]).to_dicts()
    delivery = [r for r in rows if r["metric"] in ("spend", "impressions") and _share(r) is not None]
    stopped = any((_share(r) or 0.0) < _STOPPED for r in delivery)
    # A ratio of next to nothing is improbable, too, but that delivery stopped is the news; else what moved farthest of the worst three.
    rows = [*delivery, *(r for r in rows if r not in delivery)] if stopped else rows
    rows = sorted(rows[:3], key=lambda r: -_distance(r))
    spend = own.filter((pl.col("metric") == "spend") & (pl.col("timestamp") > day - timedelta(days=7)))
    currency = own["currency"].drop_nulls().first() if "currency" in own.columns else None
    week = float(spend["value"].fill_null(0.0).sum())
    said = "; ".join(f"{r['metric']} {_moved(r)}" for r in rows)
    context = {
        "asset": "anomalies",
        "platform": platform,
        "account_id": account,
        "day": day.isoformat(),
        "p_value": f"{p_value:.2g}",
        "run_id": run_id,
    }
    return Alert(
        dedup_key=f"{PREFIX}{platform}/{account}",
        severity=Severity.CRITICAL if stopped else Severity.WARNING,
        title=f"{platform} {account}: {rows[0]['metric']} {_moved(rows[0])}",
        detail=f"On {plainest}: {said}. A quiet account shows as much on one day in {1 / max(p_value, 1e-9):,.0f}.",
        closes_when="the evidence of three days is again what one in twenty quiet account-days shows",
        context=context,
        # What hits several accounts of a platform on a day has one cause more often than not.
        group=f"accounts/{platform}/{day.isoformat()}",
        likely_cause=_cause({r["metric"]: r for r in recent.filter(pl.col("timestamp") == plainest).to_dicts()}),
        accounts=(account,),
        money_at_risk={str(currency): week} if currency is not None and week > 0 else {},
    )


def _share(row: dict[str, Any]) -> float | None:
    expected, value = row["expected"], row["value"]
    return None if expected is None or value is None or expected <= 0 else float(value / expected)


def _distance(row: dict[str, Any]) -> float:
    share = _share(row)
    return abs(float(np.log(max(share, 1e-9)))) if share is not None else 0.0


def _moved(row: dict[str, Any]) -> str:
    share = _share(row)
    if share is None:
        return f"is {row['value']:,.4g}, which is unusual"
    word = "fell" if share < 1 else "rose"
    return f"{word} to {share:.0%} of what was expected ({row['value']:,.4g} for {row['expected']:,.4g})"


def _cause(rows: dict[str, dict[str, Any]]) -> str:
    """Which of delivery, click-through rate and click price explains most of what happened to spend and clicks, in plain words."""
    parts = {
        "delivery (impressions)": rows.get("impressions"),
        "the click-through rate": rows.get("ctr"),
        "the price of a click": rows.get("cpc"),
    }
    logs = {name: np.log(share) for name, row in parts.items() if row is not None and (share := _share(row)) is not None and share > 0}
    if not logs:
        return ""
    name = max(logs, key=lambda part: abs(logs[part]))
    return f"{name} {'fell' if logs[name] < 0 else 'rose'} to {np.exp(logs[name]):.0%} of what was expected"


# More false alerts than one a day are more than anybody reads, whatever the alerts file accepts.
_MOST_FALSE_PER_WEEK = 7.0
_CHANCE = 0.05


@dataclass(frozen=True, slots=True)
class AlertBacktest:
    """Incidents put into past days: how many open an alert, after how many days (median); and how many alerts open on the same days as
    they were.

    `stated` is the budget's own number of false alerts a week, `from_incidents` how many a week the incidents of the `learned_days` before
    opened, `accepted` the number of false ones a week that the alerts file accepts."""

    recall: Estimate
    delay_days: float
    alerts: int
    stated: float
    from_incidents: float
    accepted: float
    incidents: int
    accounts: int
    days: int
    learned_days: int

    @property
    def alerts_per_week(self) -> float:
        """Alerts a week on the days as they were; what really happened there is among them."""
        return self.alerts / self.days * 7

    @property
    def chance_of_so_many(self) -> float:
        """Chance of at least `alerts` if the stated false ones and the incidents of the past go on as they were.

        Both are Poisson numbers of one rate, which only the learned days tell: with Jeffreys' prior the new one is negative binomial."""
        from scipy.stats import nbinom

        past = (self.stated + self.from_incidents) * self.learned_days / 7
        return float(nbinom.sf(self.alerts - 1, past + 0.5, self.learned_days / (self.learned_days + self.days)))

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong with the rule on this past, in words; empty when nothing is."""
        most = min(self.accepted, _MOST_FALSE_PER_WEEK)
        found = {
            f"only {self.recall.value:.0%} of the drops to 30 % are found": self.recall.value < 0.9,
            f"half of the drops are found after {self.delay_days:g} days or later": self.delay_days > 1.0,
            f"{self.stated:.2g} false alerts a week are stated where {most:g} are accepted": self.stated > most,
            f"{self.alerts_per_week:.2g} alerts a week opened on days as they were, where {self.stated:.2g} false ones and "
            f"{self.from_incidents:.2g} from incidents were expected": self.chance_of_so_many <= _CHANCE,
        }
        return tuple(what for what, holds in found.items() if holds)

    @property
    def passed(self) -> bool:
        """Nine of ten drops to 30 % are found, half of them within a day; no more false alerts are stated than accepted, nor than one a
        day; and no more alerts opened than those and the incidents of the past explain."""
        return not self.faults


def backtest_account_alerts(
    ws: Workspace, pin: Pin, day: date, *, rng: np.random.Generator, test_days: int = 35, rounds: int = 4
) -> AlertBacktest | None:
    """Put drops to 30 % into the newest `test_days` days, one per account and round, and see whether an alert opens.

    Delivery drops (spend, impressions, clicks) and click drops (clicks, spend and what is computed from them) for 2 to 5 days. An incident
    counts as found when it would be found on a day on which no other account stands out, the strictest case. The budget is that of
    `review_accounts`, within the alerts file's `false_alerts_per_week`; what was usual is learned from the days before. None when the past
    is too short."""
    from within_pipelines.features import metric_series
    from within_pipelines.monitoring import AlertBudget, account_evidence, accumulate
    from within_pipelines.stats import wilson_interval

    detector = cast("AnomalyDetector", load_version(ws, champion(ws, "anomaly")))
    first = day - timedelta(days=_SERIES_DAYS - 1)
    facts = ws.lake.facts(commit_seq=pin.commit_seq, as_of=knowledge_time(day), start=first, end=day)
    series = metric_series(facts, metrics=METRICS)
    calm = _scored(detector, series, first=first, days=_SERIES_DAYS)
    accepted = AlertManager(ws).settings.false_alerts_per_week
    try:
        budget = AlertBudget.learn(calm.surprise[:, :, :-test_days], false_per_week=accepted)
    except SampleError:
        return None
    accounts = len(calm.accounts)
    if not budget.can_tell(accounts):
        return None
    alerts = budget.replay(calm.surprise[:, :, -test_days - 3 :])[:, 3:].sum()
    found, delays = 0, []
    keys = pl.DataFrame(calm.accounts, schema=["platform", "account_id"], orient="row")
    for _ in range(rounds):
        starts = rng.integers(0, test_days - 5, accounts)
        lengths = rng.integers(2, 6, accounts)
        clicks_only = rng.random(accounts) < 0.5
        plan = keys.with_columns(
            begin=pl.Series([first + timedelta(days=_SERIES_DAYS - test_days + int(s)) for s in starts]),
            length=pl.Series(lengths),
            clicks_only=pl.Series(clicks_only),
        )
        changed = _scored(detector, _with_drops(series, plan), first=first, days=_SERIES_DAYS)
        evidence = account_evidence(changed.surprise[:, :, -test_days - 3 :])
        opens = (accumulate(evidence, centre=budget.centre) >= budget.limit)[:, 3:]
        for row in range(accounts):
            window = opens[row, starts[row] : starts[row] + lengths[row] + 1]
            if window.any():
                found += 1
                delays.append(int(np.argmax(window)))
    total = rounds * accounts
    return AlertBacktest(
        recall=wilson_interval(found, total),
        delay_days=float(np.median(delays)) if delays else float("inf"),
        alerts=int(alerts),
        stated=budget.expected_false_per_week,
        from_incidents=budget.incidents_per_week,
        accepted=accepted,
        incidents=total,
        accounts=accounts,
        days=test_days,
        learned_days=budget.days,
    )


def _with_drops(series: pl.DataFrame, plan: pl.DataFrame) -> pl.DataFrame:
    joined = series.join(plan, on=["platform", "account_id"], how="left", maintain_order="left")
    age = (pl.col("timestamp") - pl.col("begin")).dt.total_days()
    during = (age >= 0) & (age < pl.col("length"))
    hit = (
        pl.when(pl.col("clicks_only"))
        .then(pl.col("metric").is_in(["clicks", "spend", "ctr", "cpm"]))
        .otherwise(pl.col("metric").is_in(["spend", "impressions", "clicks"]))
    )
    return joined.with_columns(value=pl.when(during & hit).then(pl.col("value") * 0.3).otherwise("value")).select(series.columns)
