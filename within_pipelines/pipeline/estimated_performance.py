"""How good a champion is while its labels are late: estimated beside realised, in its own units and in money."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from within_pipelines.exceptions import SampleError
from within_pipelines.monitoring.findings import MonitorFinding
from within_pipelines.monitoring.state import DriftState
from within_pipelines.pipeline.monitor_case import MonitorCase, permutations_for
from within_pipelines.pipeline.monitored_rows import JUDGED, JUDGED_DAYS, KEYS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import polars as pl

    from within_pipelines.monitoring import DirectLoss, Divergence


def mature_rows(frame: pl.DataFrame, *, recent: bool, column: str = "realised") -> pl.DataFrame:
    """Rows whose label has come; of the window the newest four weeks of them."""
    import polars as pl

    if not frame.width:
        return frame
    known = frame.filter(pl.col(column).is_not_null())
    if not recent or known.is_empty():
        return known
    newest: date = known["day"].max()  # type: ignore[assignment]
    return known.filter(pl.col("day") > newest - timedelta(days=JUDGED_DAYS))


@dataclass(frozen=True, slots=True)
class Overdue:
    """Labels that should have come and have not: how many on which platforms, and for how many days the oldest is missed. Late labels are
    the ordinary state of new answers; these are answers that nobody can judge because their account's numbers stopped coming."""

    platforms: Mapping[str, int]
    days: int

    @property
    def count(self) -> int:
        """Over all platforms."""
        return sum(self.platforms.values())

    @property
    def told(self) -> str:
        """A sentence, empty when none is overdue."""
        if not self.count:
            return ""
        where = ", ".join(f"{platform} {count}" for platform, count in self.platforms.items())
        return f" {self.count} labels are overdue, by up to {self.days} days ({where}); only the others are judged here."


def overdue_labels(judged: pl.DataFrame, day: date) -> Overdue:
    """The rows of a window that still wait for a label on `day` although it was due before."""
    import polars as pl

    if "due" not in judged.columns:
        return Overdue({}, 0)
    missed = judged.filter(pl.col("realised").is_null() & (pl.col("due") < day))
    if missed.is_empty():
        return Overdue({}, 0)
    longest = missed.select((pl.lit(day) - pl.col("due")).dt.total_days().max()).item()
    counts = missed.group_by("platform").len().sort("platform")
    return Overdue({str(platform): int(count) for platform, count in counts.iter_rows()}, int(longest))


def feature_names(old: pl.DataFrame, new: pl.DataFrame) -> list[str]:
    """The features that judged rows of both windows carry."""
    return [name for name in old.columns if name not in (*KEYS, *JUDGED) and name in new.columns]


def feature_matrix(frame: pl.DataFrame, names: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Features as numbers, NaN where missing."""
    import polars as pl

    found: np.ndarray[Any, np.dtype[np.float64]] = frame.select(pl.col(list(names)).cast(pl.Float64).fill_null(float("nan"))).to_numpy()
    return found


def misjudged_money(case: MonitorCase, change: float) -> dict[str, float]:
    """A week's spend by currency times the rise of the share that is judged wrongly by one who acts on the probability.

    For a Brier score that share is E|y - p| = 2 p (1 - p) where probabilities are calibrated: twice the score."""
    share = min(1.0, 2 * max(0.0, change))
    return {currency: round(spend * share, 2) for currency, spend in case.spend.items() if spend * share > 0}


@dataclass(frozen=True, slots=True)
class _Forecast:
    """The forecast's error by direct loss estimation: the window's rows with their estimate, and whether the estimate holds."""

    rows: pl.DataFrame
    before: float
    expected: float
    realised_before: float
    realised: float | None
    holds: Divergence | None


def _forecast(case: MonitorCase, level: float) -> _Forecast | str:
    """Direct loss estimation of the forecast's absolute error, or why there is none."""
    import polars as pl

    from within_pipelines.monitoring import direct_loss, divergence

    old, judged = case.reference.data.judged, case.window.judged
    if "forecast_error" not in old.columns or "forecast_error" not in judged.columns:
        return f"{case.model} v{case.version.version} keeps no forecast of a number."
    old = old.filter(pl.col("forecast_error").is_not_null())
    judged = judged.filter(pl.col("forecast").is_not_null())
    if not old.height or not judged.height:
        return f"{case.model} v{case.version.version} gives no expected number, only a probability."
    names = feature_names(old, judged)
    errors = old["forecast_error"].to_numpy()
    try:
        found: DirectLoss = direct_loss(
            feature_matrix(old, names), old["forecast"].to_numpy(), errors, feature_matrix(judged, names), judged["forecast"].to_numpy(),
            rng=case.rng, clusters=old["cluster"].to_numpy(),
        )  # fmt: skip
    except SampleError as error:
        return str(error)
    rows = judged.with_columns(error_estimated=pl.Series(found.current), error_realised=pl.col("forecast_error"))
    new = mature_rows(rows, recent=True, column="error_realised")
    holds, realised = None, None
    if new.height:
        realised = float(new["error_realised"].mean())  # type: ignore[arg-type]
        holds = divergence(
            errors, found.reference, new["error_realised"].to_numpy(), new["error_estimated"].to_numpy(), rng=case.rng,
            reference_clusters=old["cluster"].to_numpy(), clusters=new["cluster"].to_numpy(), alpha=level,
            n_permutations=permutations_for(level),
        )  # fmt: skip
    return _Forecast(rows, float(found.reference.mean()), float(found.current.mean()), float(errors.mean()), realised, holds)


def _forecast_money(case: MonitorCase, found: _Forecast) -> dict[str, float]:
    """A week's spend by currency times the rise of the share by which a plan made from the forecast falls short: 1 - exp(-error)."""
    now = found.expected if found.realised is None else found.realised
    share = max(0.0, math.exp(-found.realised_before) - math.exp(-now))
    return {currency: round(spend * share, 2) for currency, spend in case.spend.items() if spend * share > 0}


def estimated_performance(case: MonitorCase, level: float) -> MonitorFinding:
    """Loss expected of answers without labels beside the loss of those that have them, and whether the one still says the other.

    Probabilities are estimated from themselves (CBPE); where the model also forecasts a number, its error by a regression of the error
    (direct loss estimation). The two questions share the level."""
    from within_pipelines.monitoring import divergence, performance_table

    old, judged = case.reference.data.judged, case.window.judged
    if not case.reference.data.loss or not old.height:
        return case.silent("estimated_performance", f"Nobody labels the answers of {case.model}, so its loss cannot be estimated.")
    if not judged.height:
        return case.silent("estimated_performance", f"There are no answers for days after {case.reference.judged_until} yet.")
    forecast = _forecast(case, level / 2)
    share = level if isinstance(forecast, str) else level / 2
    told = judged
    if not isinstance(forecast, str):
        # Rows without a forecast keep their place in the table, so join by position of what was kept.
        told = _beside(judged, forecast.rows)
    table = performance_table(told, rng=case.rng, weekly_spend=case.spend)
    before, expected = float(old["estimated"].mean()), float(judged["estimated"].mean())  # type: ignore[arg-type]
    overdue = overdue_labels(judged, case.day)
    change, p_values, states, checked = expected - before, [], [DriftState.INSUFFICIENT], "No label is mature."
    if not overdue.count:
        checked = "No label is mature yet."
    new = mature_rows(judged, recent=True)
    known = mature_rows(old, recent=False)
    money: dict[str, float] = {}
    if new.height and known.height:
        found = divergence(
            known["realised"].to_numpy(), known["estimated"].to_numpy(), new["realised"].to_numpy(), new["estimated"].to_numpy(),
            rng=case.rng, reference_clusters=known["cluster"].to_numpy(), clusters=new["cluster"].to_numpy(), alpha=share,
            n_permutations=permutations_for(share),
        )  # fmt: skip
        p_values, states = [found.p_value], [found.state]
        checked = (
            f"On mature days the realised loss differs from the estimate by {found.change:+.4f} [{found.low:+.4f}, {found.high:+.4f}]."
        )
        if found.state is DriftState.DRIFTED:
            money = misjudged_money(case, change)
    direct: dict[str, Any]
    if isinstance(forecast, str):
        direct = {"direct_loss": forecast}
    else:
        checked += f" The forecast's error is expected to be {forecast.expected:.3f} (log ratio) against {forecast.before:.3f} when judged"
        direct = {"direct_loss": {"expected": forecast.expected, "before": forecast.before, "unit": "absolute error of the log ratio"}}
        if forecast.holds is None:
            checked += "; none of them is known yet."
        else:
            holds = forecast.holds
            checked += f"; realised less estimated changed by {holds.change:+.3f} [{holds.low:+.3f}, {holds.high:+.3f}]."
            p_values.append(holds.p_value)
            states.append(holds.state)
            direct["direct_loss"] |= {
                "realised": forecast.realised, "realised_before": forecast.realised_before, "change": holds.change, "low": holds.low,
                "high": holds.high, "p_value": holds.p_value, "state": holds.state, "threshold": holds.threshold,
            }  # fmt: skip
            if holds.state is DriftState.DRIFTED:
                dearer = _forecast_money(case, forecast)
                money = {currency: max(money.get(currency, 0.0), dearer.get(currency, 0.0)) for currency in {*money, *dearer}}
    # The probabilities decide what is calm; the forecast can only add an alarm.
    state = DriftState.DRIFTED if DriftState.DRIFTED in states else states[0]
    pending = judged.height - int(judged["realised"].is_not_null().sum())
    mean_before = float(known["realised"].mean()) if known.height else None  # type: ignore[arg-type]
    return MonitorFinding(
        "estimated_performance", case.model, case.day, state, expected,
        min(1.0, len(p_values) * min(p_values)) if p_values else None, change, None if mean_before is None else 0.1 * mean_before,
        {
            "reference": old.height, "current": judged.height, "mature": judged.height - pending, "pending": pending,
            "overdue": overdue.count,
        },
        (), change, money,
        f"Expected {case.reference.data.loss} loss {expected:.4f} against {before:.4f} when judged. {checked}{overdue.told}",
        {
            "method": "calibrated probabilities (CBPE)" + ("" if isinstance(forecast, str) else " and a regression of the error (DLE)"),
            "loss": case.reference.data.loss, "table": table.tail(60).to_dicts(), "overdue": overdue.platforms, **direct,
        },
    )  # fmt: skip


def _beside(judged: pl.DataFrame, forecast: pl.DataFrame) -> pl.DataFrame:
    """Every judged row, with the estimate of its forecast's error where it has a forecast."""
    import polars as pl

    lacking = judged.filter(pl.col("forecast").is_null())
    told: pl.DataFrame = pl.concat([forecast, lacking], how="diagonal")
    return told
