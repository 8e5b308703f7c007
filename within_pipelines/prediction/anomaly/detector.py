"""Find values that a metric's own past makes improbable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl

from within_pipelines.exceptions import NotFittedError, SampleError
from within_pipelines.prediction.anomaly.block import Block, Memory, SeriesKey, blocks, remember
from within_pipelines.prediction.anomaly.forecast import FORECASTERS
from within_pipelines.prediction.anomaly.series import MATURE, Bools, Floats, Ints, Observations, Rhythm, observations
from within_pipelines.prediction.anomaly.tail import Tails
from within_pipelines.prediction.champion import champion_folder

MODEL = "anomaly"
# False alarms per series and month at even odds; see `AnomalyDetector.expected_false_alarms_per_month`.
FALSE_ALARMS_AT_EVEN_ODDS = 0.01
# Where clustering of exceedances is measured: rare enough to be a tail, common enough to be counted.
_CLUSTER_P = 0.02
# Money that one day's deviation moved; a ratio's deviation is no amount.
_AMOUNTS = ("spend", "revenue", "cost", "impressions", "clicks", "conversions")
_MONEY = ("spend", "revenue", "cost")


@dataclass(frozen=True, slots=True)
class Fitted:
    """What `fit` learns: tails, the extremal index (alarms per exceedance, Leadbetter 1983), and the end of every series."""

    tails: Tails
    extremal_index: float
    memories: dict[SeriesKey, Memory]


class AnomalyDetector:
    """Seasonal residual -> robust z -> Pareto-tail p-value -> refractory period. Causal: a verdict never uses a later value.

    One configuration serves hourly data (season = a day) and daily data (season = a week). `sensitivity` in (0, 1) sets how many false
    alarms are accepted; see `expected_false_alarms_per_month`. `kind` is "seasonal_tail" or the baseline "trailing_z" (mean and standard
    deviation of the same weekday or hour, alarm limits calibrated the same way).

    >>> import polars as pl
    >>> from datetime import date, timedelta
    >>> rng = np.random.default_rng(3)
    >>> days = [date(2026, 1, 1) + timedelta(days=i) for i in range(150)]
    >>> spend = 100 * np.exp(0.1 * rng.standard_normal(150))
    >>> spend[140] = 20
    >>> frame = pl.DataFrame({"timestamp": days, "spend": spend})
    >>> found = AnomalyDetector(sensitivity=0.95).fit(frame[:120]).detect(frame[120:])
    >>> [(a["metric"], a["timestamp"].isoformat(), a["direction"]) for a in found]
    [('spend', '2026-05-21', 'down')]
    """

    def __init__(self, sensitivity: float = 0.95, *, kind: str = "seasonal_tail") -> None:
        if not 0 < sensitivity < 1:
            raise SampleError(f"sensitivity is {sensitivity}; give a number between 0 and 1, e.g. 0.95.")
        if kind not in FORECASTERS:
            raise SampleError(f"The kind {kind!r} is unknown; give one of {sorted(FORECASTERS)}.")
        self.sensitivity = sensitivity
        self.kind = kind
        self._fitted: Fitted | None = None

    @property
    def model_kind(self) -> str:
        """The kind under which this model is registered."""
        return self.kind

    @property
    def fitted(self) -> bool:
        """Whether `fit` or `load` has happened."""
        return self._fitted is not None

    @property
    def expected_false_alarms_per_month(self) -> float:
        """False alarms per series and 30 days on data like those of `fit`: 0.01 s / (1 - s) for sensitivity s.

        It rises with the sensitivity: 0.01 at 0.5, 0.09 at 0.9, 0.19 at 0.95 (one in five months), 0.99 at 0.99.

        >>> round(AnomalyDetector(sensitivity=0.95).expected_false_alarms_per_month, 3)
        0.19
        """
        return FALSE_ALARMS_AT_EVEN_ODDS * self.sensitivity / (1.0 - self.sensitivity)

    def p_limit(self, rhythm: Rhythm) -> float:
        """The p-value from which a point of a series of this rhythm is an alarm.

        A series that is not silent raises an alarm per point with probability p x extremal index, and is then silent for the refractory
        period; the budget of alarms per point, solved for p."""
        fitted = self._require()
        rate = min(self.expected_false_alarms_per_month / rhythm.points_per_month, 0.5 / rhythm.refractory)
        while_awake = rate / (1.0 - rate * (rhythm.refractory - 1))
        return min(0.5, while_awake / fitted.extremal_index)

    def fit(self, normal: Any) -> Self:
        """Learn from mostly normal history how far residuals stray, pooled over series, and remember the end of every series.

        `normal` is a long table (timestamp, metric, value; optional platform, account_id, campaign_id, series_id, maturity, currency) or a
        wide one (timestamp and one number column per metric), pandas or polars. Residuals are one step ahead, so they are out of sample.

        Raises `SchemaError`, and `SampleError` when no value is there at all."""
        observed = observations(normal, what="The normal data")
        if not np.isfinite(observed.value).any():
            raise SampleError(f"The normal data hold no value in {len(observed.value)} rows; give at least a few weeks of numbers.")
        residuals: dict[str, list[Floats]] = {}
        memories: dict[SeriesKey, Memory] = {}
        scored: list[tuple[Block, Floats]] = []
        for block in blocks(observed, {}, kind=self.kind):
            z, _, _ = block.standardised(self.kind)
            scored.append((block, z))
            for key, series in zip(block.keys, z, strict=True):
                residuals.setdefault(key[-1], []).append(series[np.isfinite(series)])
            memories |= remember(block, aware=observed.aware)
        tails = Tails.of({metric: np.concatenate(parts) for metric, parts in residuals.items()})
        self._fitted = Fitted(tails, _extremal_index(scored, tails), memories)
        return self

    def score_series(self, frame: Any) -> pl.DataFrame:
        """One row per row of `frame` in its order: the given id columns, `metric`, `timestamp`, `value`, `currency`, then

        `expected`, `low`, `high` (in metric units; beyond the limits lies an alarm), `z`, `p_value` (two-sided),
        `score` = -log10 p, `severity` (mean score of the last 36 hours, at least 3 points), `direction` ("up" or "down"), `alarm`,
        and `state`: "scored", "missing" (no value), "immature" (maturity below 0.9) or "warming_up" (fewer than four cycles of past).

        Series that `fit` knew continue from there; others warm up from their own rows."""
        return self._score(frame)[0]

    def detect(self, new: Any) -> list[dict[str, Any]]:
        """Alarms in `new`, in the order of time, as dicts of plain Python values.

        Keys: the id columns given, `metric`, `timestamp` (as given: date, datetime or text), `value`, `expected`, `low`, `high`, `score`
        (-log10 of `p_value`), `severity`, `direction`, `p_value`; for metrics that add up (spend, revenue, clicks, ...) `impact` =
        |value - expected| in metric units; `currency` where given and the impact is money. After an alarm a series stays silent for 36
        hours, at least 3 points."""
        scored, observed = self._score(new)
        alarms = scored.with_row_index("row").filter("alarm")
        order = np.argsort(observed.time[alarms["row"].to_numpy()], kind="stable")
        return [_finding(row, observed.ids) for row in alarms[order.tolist()].iter_rows(named=True)]

    def _score(self, frame: Any) -> tuple[pl.DataFrame, Observations]:
        fitted = self._require()
        observed = observations(frame, what="The new data")
        n = len(observed.value)
        columns = {name: np.full(n, np.nan) for name in ("expected", "low", "high", "z", "p_value", "severity")}
        alarm = np.zeros(n, dtype=bool)
        for block in blocks(observed, fitted.memories, kind=self.kind) if n else []:
            z, expected, scale = block.standardised(self.kind)
            limit = self.p_limit(block.rhythms[0])
            limits = {metric: fitted.tails.limits(metric, limit) for metric in {key[-1] for key in block.keys}}
            for i, key in enumerate(block.keys):
                rows, at = block.rows[i], block.columns[i]
                p = fitted.tails.p_value(key[-1], z[i])
                below, above = limits[key[-1]]
                back = block.transforms[i].back
                columns["expected"][rows] = back(expected[i, at])
                columns["low"][rows] = back(expected[i, at] + below * scale[i, at])
                columns["high"][rows] = back(expected[i, at] + above * scale[i, at])
                columns["z"][rows] = z[i, at]
                columns["p_value"][rows] = p[at]
                quiet = block.rhythms[i].refractory
                columns["severity"][rows] = _trailing_mean(-np.log10(p), quiet)[at]
                # Remembered days count too: an incident that was reported before `frame` begins is not reported again at once.
                alarm[rows] = silenced(p <= limit, np.arange(len(p)), quiet)[at]
        judged = np.isfinite(columns["z"])
        state = np.where(np.isnan(observed.value), "missing", np.where(observed.maturity < MATURE, "immature", "warming_up"))
        direction = [None if not ok else "up" if z >= 0 else "down" for ok, z in zip(judged, columns["z"], strict=True)]
        table = observed.keys.select(*observed.ids, "metric").with_columns(
            timestamp=observed.original,
            value=pl.Series(observed.value),
            currency=pl.Series(observed.currency, dtype=pl.String),
            **{name: pl.Series(values) for name, values in columns.items()},
            score=pl.Series(-np.log10(columns["p_value"])),
            direction=pl.Series(direction, dtype=pl.String),
            alarm=pl.Series(alarm),
            state=pl.Series(np.where(judged, "scored", state).tolist(), dtype=pl.String),
        )
        return table.with_columns(pl.col(pl.Float64).fill_nan(None)), observed

    def save(self, folder: str | Path) -> str:
        """Write the fitted detector to `folder`; returns `model_sha256`. Raises `NotFittedError` when there is nothing to write."""
        from within_pipelines.prediction.anomaly.storage import write_detector

        if self._fitted is None:
            raise NotFittedError("This anomaly detector is not fitted, so there is nothing to save; call fit() first.")
        return write_detector(Path(folder), self.kind, self.sensitivity, self._fitted)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote, after checking every hash. Raises `ArtifactError`."""
        from within_pipelines.prediction.anomaly.storage import read_detector

        kind, sensitivity, fitted = read_detector(Path(folder))
        detector = cls(sensitivity, kind=kind)
        detector._fitted = fitted
        return detector

    def _require(self) -> Fitted:
        if self._fitted is None:
            champion = self.load(champion_folder(MODEL))
            self.kind, self._fitted = champion.kind, champion._require()
        return self._fitted


def _extremal_index(scored: Sequence[tuple[Block, Floats]], tails: Tails) -> float:
    """Alarms per exceedance while not silent, in the data of `fit`: 1 when exceedances come alone, less when they come in runs."""
    points = exceedances = alarms = silent = 0
    for block, z in scored:
        for key, rhythm, series in zip(block.keys, block.rhythms, z, strict=True):
            rare = tails.p_value(key[-1], series) <= _CLUSTER_P
            raised = int(silenced(rare, np.arange(len(rare)), rhythm.refractory).sum())
            points += int(np.isfinite(series).sum())
            exceedances += int(rare.sum())
            alarms += raised
            silent += raised * (rhythm.refractory - 1)
    # One more of each keeps the ratio sensible where hardly any were seen.
    share_awake = (max(points - silent, 0) + 1) / (points + 1)
    return min(1.0, (alarms + 1) / ((exceedances + 1) * share_awake))


def silenced(exceeds: Bools, at: Ints, quiet: int) -> Bools:
    """The exceedances that come at least `quiet` points after the alarm before them."""
    result = np.zeros(len(exceeds), dtype=bool)
    last = None
    for i in np.nonzero(exceeds)[0]:
        if last is None or at[i] - last >= quiet:
            result[i], last = True, at[i]
    return result


def _trailing_mean(x: Floats, length: int) -> Floats:
    """Mean of the last `length` values including the present one, missing ones left out."""
    there = np.isfinite(x)
    totals = np.cumsum(np.where(there, x, 0.0))
    counts = np.cumsum(there)
    before = np.concatenate([np.zeros(min(length, len(x))), totals[:-length]])[: len(x)]
    earlier = np.concatenate([np.zeros(min(length, len(x))), counts[:-length]])[: len(x)]
    n = counts - earlier
    result: Floats = np.where(there, (totals - before) / np.maximum(n, 1), np.nan)
    return result


def _finding(row: dict[str, Any], ids: Sequence[str]) -> dict[str, Any]:
    names = (*ids, "metric", "timestamp", "value", "expected", "low", "high", "score", "severity", "direction", "p_value")
    finding = {name: row[name] for name in names}
    if row["metric"] in _AMOUNTS:
        finding["impact"] = abs(row["value"] - row["expected"])
    if row["currency"] is not None and row["metric"] in _MONEY:
        finding["currency"] = row["currency"]
    return finding
