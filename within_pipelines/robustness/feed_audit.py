"""What wrong feeds do to answers about accounts, with the door that should notice them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from within_pipelines.robustness.facts import FAULT_DAYS, MEASURES, FactFault
from within_pipelines.robustness.perturbation import Expectation
from within_pipelines.robustness.report import FaultResult, RobustnessReport
from within_pipelines.robustness.stability import mean_of_changes, rank_correlation
from within_pipelines.stats import Estimate, cluster_bootstrap, cluster_mean, wilson_interval

ACCOUNT: tuple[str, ...] = ("platform", "account_id")
# What a door says: platform, account_id, kind, blocking; see `quality.faulty_feeds`.
Door = Callable[[pl.DataFrame, date], pl.DataFrame]
# A collapse that really happened: no door may explain it away.
COLLAPSE = 0.3


class Judge(Protocol):
    """A model asked about accounts: answers for facts up to a day, and what lies between two answers."""

    def observe(self, facts: pl.DataFrame, day: date) -> Any:
        """The model's answers on `day`."""

    def compare(self, before: Any, after: Any) -> pl.DataFrame:
        """One row per account that was answered before: platform, account_id, `moved`, `change`, `noticed`, `money`, `currency`; also
        `before` and `after` (null when lost) where answers have an order."""


def feed_audit(
    model: str, facts: pl.DataFrame, days: Sequence[date], judge: Judge, faults: Sequence[FactFault], door: Door,
    *, rng: np.random.Generator, tolerance: float, limit: float, minimum_units: int = 12, progress: Callable[[str], None] | None = None,
) -> RobustnessReport:  # fmt: skip
    """Put each fault into the newest days before each of `days`, for all accounts, and ask `judge` again.

    A unit is an account on one of `days` (give days weeks apart). It is *unhandled* when its answer moved beyond the tolerance, or was
    lost, and neither the door nor the model told of a problem. Two controls keep the door honest: on untouched feeds, and when every
    number really falls to 30 %, it may block at most the same share of accounts. Intervals resample accounts and are never narrower than
    Wilson's over units. To pass, every fault must pass, which asks for no adjustment (the upper ends hold at 95 %); one failure is enough
    to fail, so the lower ends are adjusted for the number of faults."""
    level = 1 - 0.05 / (len(faults) + 2)
    rows: dict[str, list[pl.DataFrame]] = {fault.name: [] for fault in faults}
    problems: dict[str, str] = {}
    controls: dict[str, list[pl.DataFrame]] = {"untouched feeds": [], "a real collapse": []}
    scale = 0.0
    for day in days:
        known = facts.filter(pl.col("event_date") <= day)
        before = judge.observe(known, day)
        accounts = known.select(ACCOUNT).unique().sort(ACCOUNT)
        for name, told in (("untouched feeds", known), ("a real collapse", _collapsed(known, day))):
            blocked = door(told, day).filter(pl.col("blocking")).select(ACCOUNT).unique().with_columns(hit=pl.lit(True))
            controls[name].append(accounts.join(blocked, on=ACCOUNT, how="left").with_columns(pl.col("hit").fill_null(False)))
        for fault in faults:
            if progress is not None:
                progress(f"{fault.name} on {day}")
            told = fault.apply(known, day, rng)
            flags = door(told, day).select(*ACCOUNT, "kind", "blocking")
            # Money in two currencies cannot be added up; such an account is not asked about at all.
            mixed = flags.filter(pl.col("kind") == "currency").select(ACCOUNT).unique()
            try:
                after = judge.observe(told.join(mixed, on=ACCOUNT, how="anti"), day)
                found = judge.compare(before, after)
            except Exception as failure:  # noqa: BLE001 - that the model raised on what the door let through is the finding
                problems[fault.name] = f"raised {type(failure).__name__}: {str(failure)[:200]}"
                continue
            noticed = flags.select(ACCOUNT).unique().with_columns(door=pl.lit(True))
            found = found.join(noticed, on=ACCOUNT, how="left").with_columns(noticed=pl.col("noticed") | pl.col("door").fill_null(False))
            rows[fault.name].append(found.drop("door"))
            scale = max(scale, float(found["change"].abs().max() or 0.0))  # type: ignore[arg-type]
    results = [
        _result(fault, pl.concat(rows[fault.name]) if rows[fault.name] else None, problems.get(fault.name, ""), rng=rng, level=level)
        for fault in faults
    ]
    for name, parts in controls.items():
        table = pl.concat(parts)
        what = "accounts blocked by the door" if name == "untouched feeds" else "every number falls to 30 %: accounts blocked by the door"
        share = _share(table["hit"], table, rng=rng, level=level)
        results.append(FaultResult(name, what, Expectation.STABLE, unhandled=share, noticed=float(table["hit"].mean() or 0.0)))  # type: ignore[arg-type]
    n_units = max((r.unhandled.n for r in results if r.unhandled is not None), default=0)
    notes = {"days": [day.isoformat() for day in days]}
    return RobustnessReport(model, tuple(results), tolerance, limit, minimum_units, n_units, 1.0, notes=notes)


def _result(fault: FactFault, found: pl.DataFrame | None, problem: str, *, rng: np.random.Generator, level: float) -> FaultResult:
    owed = Expectation.UNCHANGED if fault.unchanged else Expectation.STABLE
    if problem or found is None or found.is_empty():
        return FaultResult(fault.name, fault.what, owed, fault=problem or "answered for no account")
    unhandled = found["moved"] & ~found["noticed"]
    change = found["change"].abs().fill_null(0.0)
    lost = found.filter(unhandled & pl.Series(found["money"].is_not_null()))
    money = {str(c): float(m) for c, m in lost.group_by("currency").agg(pl.col("money").max()).iter_rows() if c is not None}
    # Draws of its own, so that shares keep theirs.
    (own,) = rng.spawn(1)
    return FaultResult(
        fault.name,
        fault.what,
        owed,
        unhandled=_share(unhandled, found, rng=rng, level=level),
        noticed=float(found["noticed"].mean() or 0.0),  # type: ignore[arg-type]
        mean_change=mean_of_changes(change.to_numpy(), _accounts(found), rng=own),
        rank_stability=_rank_stability(found, own),
        worst_change=float(change.max() or 0.0),  # type: ignore[arg-type]
        money=money,
    )


def _accounts(table: pl.DataFrame) -> NDArray[np.int64]:
    codes: NDArray[np.int64] = np.unique((table["platform"] + "/" + table["account_id"]).to_numpy(), return_inverse=True)[1]
    return codes


def _rank_stability(found: pl.DataFrame, rng: np.random.Generator) -> Estimate | None:
    """Spearman's correlation of the answers of accounts that nobody was told about, before and after."""
    if "after" not in found.columns:
        return None
    both = found.filter(~pl.col("noticed")).drop_nulls(["before", "after"])
    accounts = _accounts(both)
    if len(np.unique(accounts)) < 3:
        return None
    before, after = (both[name].cast(pl.Float64).to_numpy() for name in ("before", "after"))
    return cluster_bootstrap(lambda at: rank_correlation(before[at], after[at]), accounts, rng=rng, n_resamples=300)


def _share(hit: pl.Series, table: pl.DataFrame, *, rng: np.random.Generator, level: float) -> Estimate:
    clusters = _accounts(table)
    n, k = len(hit), int(hit.sum())
    low, high = wilson_interval(k, n, level=level).low, wilson_interval(k, n).high
    if len(np.unique(clusters)) > 1 and 0 < k < n:
        values = hit.to_numpy().astype(np.float64)
        low = min(low, cluster_mean(values, clusters, rng=rng, n_resamples=300, level=level).low)
        high = max(high, cluster_mean(values, clusters, rng=rng, n_resamples=300).high)
    return Estimate(k / n, min(low, k / n), max(high, k / n), n=n)


def _collapsed(facts: pl.DataFrame, day: date) -> pl.DataFrame:
    newest = (pl.lit(day) - pl.col("event_date")).dt.total_days() < FAULT_DAYS
    shrunk = [
        pl.when(newest)
        .then((pl.col(name).cast(pl.Float64) * COLLAPSE).round(6 if name == "conversions" else 0))
        .otherwise(pl.col(name))
        .cast(facts.schema[name])
        .alias(name)
        for name in MEASURES
    ]
    return facts.with_columns(shrunk)


def weeks_apart(last: date, first: date, *, most: int, step: int = 28, history: int = 84) -> list[date]:
    """Up to `most` days, `step` days apart, newest first, each with `history` days before it.

    >>> [d.isoformat() for d in weeks_apart(date(2026, 6, 30), date(2026, 1, 1), most=3)]
    ['2026-06-30', '2026-06-02', '2026-05-05']
    """
    span = (last - first).days - history
    count = max(1, min(most, math.floor(span / step) + 1)) if span >= 0 else 1
    return [date.fromordinal(last.toordinal() - step * i) for i in range(count)]
