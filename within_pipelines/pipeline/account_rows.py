"""What a model sees of accounts on one day: the same rows for the daily job and for one account that somebody asks about."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

import polars as pl

from within_pipelines.pipeline.tables import ACCOUNT_ENTITY, HEALTH_ENTITY, maturity
from within_pipelines.pipeline.workspace import Pin, Workspace

if TYPE_CHECKING:
    from within_pipelines.lake import MaturityCurve

# The detector looks back this far to know each series' weekdays and spread.
SERIES_DAYS = 140


def account_rows(
    ws: Workspace,
    pin: Pin,
    day: date,
    known_at: datetime,
    *,
    accounts: Sequence[tuple[str, str]] | None = None,
    campaigns: bool = True,
    origins: Sequence[date] | None = None,
    curve: MaturityCurve | None = None,
    mixed: Collection[tuple[str, str]] = (),
) -> pl.DataFrame:
    """Feature rows at the end of `day` with facts known at `known_at`: of every account, or of the (platform, account_id) in `accounts`.

    Account rows carry an empty `campaign_id`; with `campaigns` those of campaigns follow. `origins` asks for other days up to `day` too;
    `curve` saves learning it again. Of the accounts in `mixed` (money in several currencies) only the newest currency's rows count."""
    from within_pipelines.features import account_features, run_by_account

    known = maturity(ws, pin) if curve is None else curve
    days = [day] if origins is None else list(origins)

    def features_of(history: pl.DataFrame) -> pl.DataFrame:
        if mixed and history.select(ACCOUNT_ENTITY).row(0) in mixed:
            history = newest_currency(history)
        own = account_features(history, origins=days, entity=ACCOUNT_ENTITY, maturity=known).with_columns(campaign_id=pl.lit(""))
        if not campaigns:
            return own
        parts = account_features(history, origins=days, entity=HEALTH_ENTITY, maturity=known)
        return pl.concat([own.select(parts.columns), parts])

    if accounts is None:
        batches = ws.lake.account_batches(commit_seq=pin.commit_seq, as_of=known_at, end=day)
        rows = run_by_account(batches, features_of)
    else:
        history = ws.lake.history(commit_seq=pin.commit_seq, as_of=known_at, end=day, accounts=accounts)
        rows = features_of(history) if history.height else pl.DataFrame()
    return rows.sort(*HEALTH_ENTITY) if rows.width else rows


def newest_currency(history: pl.DataFrame) -> pl.DataFrame:
    """The rows of an account in the currency of its newest day."""
    return history.filter(pl.col("currency") == pl.col("currency").sort_by("event_date").last())


def series_rows(
    ws: Workspace,
    pin: Pin,
    day: date,
    known_at: datetime,
    *,
    accounts: Sequence[tuple[str, str]] | None = None,
    curve: MaturityCurve | None = None,
    without: Collection[tuple[str, str]] = (),
) -> pl.DataFrame:
    """Daily metrics of the last `SERIES_DAYS` days up to `day`, as the anomaly detector reads them; accounts in `without` are left out."""
    from within_pipelines.features import metric_series

    start = day - timedelta(days=SERIES_DAYS - 1)
    facts = ws.lake.facts(commit_seq=pin.commit_seq, as_of=known_at, start=start, end=day, accounts=accounts)
    if without:
        left_out = pl.DataFrame(sorted(without), schema=list(ACCOUNT_ENTITY), orient="row")
        facts = facts.join(left_out, on=list(ACCOUNT_ENTITY), how="anti")
    return metric_series(facts, maturity=maturity(ws, pin) if curve is None else curve) if facts.height else pl.DataFrame()
