"""Find values that a metric's own past makes improbable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl

from within_pipelines.exceptions import NotFittedError, SampleError
from within_pipelines.prediction.anomaly.bank import Bank, Blank, Layer, SeriesKey, layers, stacked
from within_pipelines.prediction.anomaly.calendar import Calendar
from within_pipelines.prediction.anomaly.cause import PARTS, Cause, Level, decompose
from within_pipelines.prediction.anomaly.feed_memory import FeedMemory, Stopped
from within_pipelines.prediction.anomaly.feeds import FeedProblem, feed_problems
from within_pipelines.prediction.anomaly.forecast import LOGARITHMIC, MEMBERS, Forecasts, Windows
from within_pipelines.prediction.anomaly.series import KEY, MATURE, Bools, Floats, Ints, Observations, Rhythm, microseconds_of, observations
from within_pipelines.prediction.anomaly.stream import NEVER, Columns, State, advance, predicted
from within_pipelines.prediction.anomaly.surprise import half_weight, pooled_tables
from within_pipelines.prediction.anomaly.tail import Calibration, Tails
from within_pipelines.prediction.champion import champion_folder

MODEL = "anomaly"
# False alarms per series and month at even odds; see `AnomalyDetector.expected_false_alarms_per_month`.
FALSE_ALARMS_AT_EVEN_ODDS = 0.01
# Where clustering of exceedances is measured: rare enough to be a tail, common enough to be counted.
_CLUSTER_P = 0.02
# Half a series tells its share of large residuals from so many points on.
_HALF_POINTS = 25
_FOLDS = 5
# Money that one day's deviation moved; a ratio's deviation is no amount.
_AMOUNTS = ("spend", "revenue", "cost", "impressions", "clicks", "conversions")
_MONEY = ("spend", "revenue", "cost")
_TOTALS = ("spend", "impressions", "clicks", "conversions", "revenue")
# Share of a late total that must be known before it may count as a cause.
_KNOWN = 0.5
_NUMBERS = ("expected", "low", "high", "z", "p_value", "severity")


@dataclass(slots=True)
class Fitted:
    """What `fit` learns: each member's tails over all series, how surprises become p-values, the extremal index (alarms per exceedance,
    Leadbetter 1983), after how many residuals a series' own tail weighs as much as those of all (`half`; None: it never does), and the
    state of every series by sampling step, which `update` moves on."""

    laws: tuple[Tails, ...]
    half: float | None
    calibration: Calibration
    extremal_index: float
    banks: dict[int, Bank]
    feeds: FeedMemory


@dataclass(frozen=True, slots=True)
class Judgement:
    """What `AnomalyDetector.judge` says: stopped feeds, alarms, and what a calendar explains (each with its `reason`)."""

    feeds: tuple[dict[str, Any], ...]
    findings: tuple[dict[str, Any], ...]
    suppressed: tuple[dict[str, Any], ...]

    @property
    def suppressed_by_reason(self) -> dict[str, int]:
        """How many alarms each reason kept back."""
        return dict(sorted(Counter(str(finding["reason"]) for finding in self.suppressed).items()))


class AnomalyDetector:
    """Ensemble of forecasters -> tail p-values -> refractory period. Causal: a verdict never uses a later value.

    Four forecasters (`forecast`) look at each point from its own past only; how far it strays from each is turned into a p-value by that
    series' own tail and by the tails of all series (`surprise`); the mean of their logarithms is calibrated to one p-value. One
    configuration serves hourly data (seasons: day and week) and daily data (season: week). `sensitivity` in (0, 1) sets how many false
    alarms are accepted; see `expected_false_alarms_per_month`. `kind` is "ensemble_tail" or the baseline "trailing_z" (mean and standard
    deviation of the same weekday or hour, alarm limits calibrated the same way).

    `detect` and `score_series` judge and leave the detector as it is; `update` judges and remembers. Updating with one point at a time
    gives bit for bit what updating with all of them gives, stopped feeds included, also when the detector is saved and loaded in between.

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

    def __init__(self, sensitivity: float = 0.95, *, kind: str = "ensemble_tail") -> None:
        if not 0 < sensitivity < 1:
            raise SampleError(f"sensitivity is {sensitivity}; give a number between 0 and 1, e.g. 0.95.")
        if kind not in MEMBERS:
            raise SampleError(f"The kind {kind!r} is unknown; give one of {sorted(MEMBERS)}.")
        self.sensitivity = sensitivity
        self.kind = kind
        self._fitted: Fitted | None = None

    def __repr__(self) -> str:
        """Sensitivity, kind and what the sensitivity costs.

        >>> AnomalyDetector(0.9)
        <AnomalyDetector ensemble_tail, sensitivity 0.9: 0.09 false alarms per series and 30 days expected>
        """
        cost = f"{self.expected_false_alarms_per_month:.3g} false alarms per series and 30 days expected"
        return f"<AnomalyDetector {self.kind}, sensitivity {self.sensitivity:g}: {cost}>"

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
        return self._p_limit(rhythm, self._require().extremal_index)

    def _p_limit(self, rhythm: Rhythm, extremal_index: float) -> float:
        rate = min(self.expected_false_alarms_per_month / rhythm.points_per_month, 0.5 / rhythm.refractory)
        while_awake = rate / (1.0 - rate * (rhythm.refractory - 1))
        return min(0.5, while_awake / extremal_index)

    def fit(self, normal: Any) -> Self:
        """Learn from mostly normal history how far residuals stray, pooled over series, and remember where every series stands.

        `normal` is a long table (timestamp, metric, value; optional platform, account_id, campaign_id, series_id, maturity, currency) or a
        wide one (timestamp and one number column per metric), pandas or polars. Residuals are one step ahead, so they are out of sample.

        Raises `SchemaError`, and `SampleError` when no value is there at all."""
        observed = observations(normal, what="The normal data")
        if not np.isfinite(observed.value).any():
            raise SampleError(f"The normal data hold no value in {len(observed.value)} rows; give at least a few weeks of numbers.")
        members = len(MEMBERS[self.kind])
        first = []
        for layer in layers(observed, {}, Blank((), members), logarithm=self.kind in LOGARITHMIC):
            y = layer.working()
            forecasts = predicted(layer.state, y, kind=self.kind, rhythm=layer.rhythm, start=layer.start)
            first.append(_Forecast(layer, y, forecasts, (y[:, None] - forecasts.expected) / forecasts.scale))
        laws = _laws(first, members)
        half = half_weight(_shares(first, laws)) if members > 1 else None

        # Surprises are calibrated by laws that have not seen the series: its own wild days would make its wild days look usual.
        fold_of = _folds([key for part in first for key in part.layer.keys])
        n_folds = max(fold_of.values()) + 1
        others = [_laws(first, members, without={key for key, its in fold_of.items() if its == fold}) for fold in range(n_folds)]
        second: list[tuple[Layer, Floats, State]] = []
        for part in first:
            layer = part.layer
            pooled = np.concatenate([pooled_tables(others[fold_of[key]], [key[-1]]) for key in layer.keys])
            judged, state = advance(
                State.empty(Windows.of(layer.rhythm), pooled),
                part.forecasts,
                part.y,
                pooled,
                layer.logarithm,
                half=half,
                rhythm=layer.rhythm,
                start=layer.start,
            )
            memory = state.memory.believing(pooled_tables(laws, layer.metrics), half)
            second.append((layer, _from(judged.surprise.size, layer.judged_from), replace(state, memory=memory)))
        calibration = Calibration.of(np.concatenate([_ripe(row) for _, size, _ in second for row in size]))
        index = _extremal_index([(layer, size) for layer, size, _ in second], calibration)

        placed = []
        for layer, size, state in second:
            limit = calibration.limit(self._p_limit(layer.rhythm, index))
            _, last = _silenced(size >= limit, layer.start, state.last_alarm, layer.rhythm.refractory)
            placed.append((layer, replace(state, last_alarm=last)))
        feeds = FeedMemory.of([])
        feeds.advance(_places(feeds, [layer for layer, _ in placed], len(observed.value)), observed.time, observed.value, tell=False)
        self._fitted = Fitted(laws, half, calibration, index, stacked(placed), feeds)
        return self

    def score_series(self, frame: Any, *, limits: bool = True) -> pl.DataFrame:
        """One row per row of `frame` in its order: the given id columns, `metric`, `timestamp`, `value`, `currency`, then

        `expected`, `low`, `high` (in metric units; beyond the limits lies an alarm; null where no value would be one, and everywhere with
        `limits=False`, which is faster), `z`, `p_value` (two-sided), `score` = -log10 p, `severity` (root of the mean square,
        over about the last 24 hours, at least 3 points, of how far values lay from what the forecasts of a pattern expected, in units of
        what is usual at that hour or weekday: 1 is an ordinary day), `direction` ("up" or "down"), `alarm`,
        and `state`: "scored", "missing" (no value), "immature" (maturity below 0.9) or "warming_up" (fewer than four cycles of past).

        Series that `fit` knew continue from there; others warm up from their own rows."""
        return self._score(frame, limits="all" if limits else "none")[0]

    def explain(self, frame: Any) -> pl.DataFrame:
        """Why each row of `frame` is as surprising as it is: ids, `metric`, `timestamp`, `value`, then

        for each forecaster `<member>_expected` (metric units) and `<member>_surprise` (-log10 of its p-value on the side of `direction`),
        and `surprise`, their mean, from which `p_value` is calibrated. Null where the row is not judged. Why a metric moved, by totals and
        campaigns, is the `cause` of `detect`."""
        fitted = self._require()
        observed = observations(frame, what="The new data")
        members = MEMBERS[self.kind]
        n = len(observed.value)
        columns = {f"{member}_{what}": np.full(n, np.nan) for member in members for what in ("expected", "surprise")}
        total = np.full(n, np.nan)
        blank = Blank(fitted.laws, len(members))
        for layer in layers(observed, fitted.banks, blank, logarithm=self.kind in LOGARITHMIC) if n else ():
            y, pooled = layer.working(), blank.pooled(layer.metrics)
            forecasts = predicted(layer.state, y, kind=self.kind, rhythm=layer.rhythm, start=layer.start)
            judged, _ = advance(
                layer.state,
                forecasts,
                y,
                pooled,
                layer.logarithm,
                half=fitted.half,
                rhythm=layer.rhythm,
                start=layer.start,
                by_member=True,
            )
            found = judged.surprise
            size = _from(found.size, layer.judged_from)
            place = (layer.series, layer.columns)
            total[layer.rows] = size[place]
            for m, member in enumerate(members):
                below, above = found.by_member[:, :, m] if found.by_member is not None else (size, size)
                side = np.where(found.above >= found.below, above, below)
                expected = layer.back(forecasts.expected[:, m])
                for what, values in (("expected", expected), ("surprise", side)):
                    columns[f"{member}_{what}"][layer.rows] = np.where(np.isfinite(size), values, np.nan)[place]
        table = observed.keys.select(*observed.ids, "metric").with_columns(
            timestamp=observed.original,
            value=pl.Series(observed.value),
            **{name: pl.Series(values) for name, values in columns.items()},
            surprise=pl.Series(total),
        )
        return table.with_columns(pl.col(pl.Float64).fill_nan(None))

    def detect(self, new: Any, *, calendar: Calendar | None = None, now: Any = None) -> list[dict[str, Any]]:
        """What is wrong in `new`, as dicts of plain Python values: stopped feeds first, then alarms in the order of time.

        Every dict has the id columns given, `metric`, `timestamp` (as given: date, datetime or text), `value` and `kind`. An "anomaly" has
        `expected`, `low`, `high`, `score` (-log10 of `p_value`), `severity`, `direction`, `p_value`; for metrics that add up (spend,
        revenue, clicks, ...) `impact` = |value - expected| in metric units; `currency` where given and the impact is money; `cause` where
        the table has the metric's totals (see `cause.decompose`): its change in logarithms by total and by campaign. "missing" and
        "stalled" (see `feeds`) have `points`, the points since the last trustworthy value, which is theirs; repeated values of a stalled
        feed raise no alarm. After an alarm a series stays silent for 36 hours, at least 3 points.

        A feed is missing when its account goes on without it; with `now` (a date, datetime or ISO text, as the table's times are) also
        when the clock does, so that an account which is silent altogether is told too. What `calendar` explains is left out; `judge`
        lists it."""
        judged = self.judge(new, calendar=calendar, now=now)
        return [*judged.feeds, *judged.findings]

    def judge(self, new: Any, *, calendar: Calendar | None = None, now: Any = None) -> Judgement:
        """`detect`, with what the calendar explains beside it and counted by reason."""
        scored, observed, excused, _ = self._score(new, limits="alarms", calendar=calendar)
        problems, repeats = feed_problems(observed, now=microseconds_of(now, observed))
        feeds = tuple(_feed_finding(problem, scored, observed) for problem in problems)
        findings = _findings(scored.with_columns(alarm=pl.col("alarm") & ~pl.Series(repeats)), observed)
        explained = _findings(scored.with_columns(alarm=pl.Series([reason is not None for reason in excused], dtype=pl.Boolean)), observed)
        reasons = _in_time(observed, np.array([reason is not None for reason in excused], dtype=bool))
        return Judgement(feeds, findings, tuple(f | {"reason": excused[row]} for f, row in zip(explained, reasons, strict=True)))

    def update(self, new: Any, *, calendar: Calendar | None = None, now: Any = None) -> list[dict[str, Any]]:
        """What is wrong in `new`, as dicts like those of `detect`, and remember `new`: the next call goes on from here.

        In the order of time, of one moment first the feeds found stopped at it, then the alarms. A feed is told once, as soon as it is
        known (`points` were missing or repeated by then), and again only after it came back. It is missing when a later moment of its
        account is complete without it, which the arrival of a still later one says, or `now`: all that there is until `now` has come,
        also of accounts that are silent altogether. It is stalled by the fourth equal value, counted from `fit` on; from then on its
        repeats raise no alarm (`detect`, which sees the whole table, leaves out the second and third as well). What had stopped in the
        data of `fit` is no news.

        Rows that reach back replace what was remembered of those days. A series that comes for the first time warms up. An update with
        one point after another, saved and loaded in between or not, gives bit for bit what one update with all of them gives; where the
        points of one moment come in several updates, each update is in order."""
        scored, observed, _, moved = self._score(new, limits="alarms", remember=True, calendar=calendar, now=now)
        feeds = self._require().feeds
        until = microseconds_of(now, observed)
        stopped, repeated = feeds.advance(_places(feeds, moved, len(observed.value)), observed.time, observed.value, now=until)
        alarms = scored["alarm"].to_numpy() & ~repeated
        told = [(one.known, 0, _stopped_finding(one, feeds.keys[one.series], observed)) for one in stopped]
        found = _findings(scored.with_columns(alarm=pl.Series(alarms, dtype=pl.Boolean)), observed)
        told += [(int(observed.time[row]), 1, finding) for row, finding in zip(_in_time(observed, alarms), found, strict=True)]
        return [finding for _, _, finding in sorted(told, key=lambda one: one[:2])]

    def _score(
        self, frame: Any, *, limits: str, remember: bool = False, calendar: Calendar | None = None, now: Any = None
    ) -> tuple[pl.DataFrame, Observations, list[str | None], list[Layer]]:
        """The table of `score_series`, what was observed, per row the reason that explains what would have been an alarm, and what is
        remembered."""
        fitted = self._require()
        observed = observations(frame, what="The new data")
        microseconds_of(now, observed)  # refused before anything is remembered
        n = len(observed.value)
        reasons = calendar.reasons(observed.keys.to_dicts(), observed.wall_clock) if calendar is not None and n else [None] * n
        excused = np.array([reason is not None for reason in reasons], dtype=bool)
        numbers = {name: np.full(n, np.nan) for name in _NUMBERS}
        alarm, up, explained = (np.zeros(n, dtype=bool) for _ in range(3))
        blank = Blank(fitted.laws, len(MEMBERS[self.kind]))
        moved: list[tuple[Layer, State]] = []
        for layer in layers(observed, fitted.banks, blank, logarithm=self.kind in LOGARITHMIC) if n else ():
            judged, state, raised, p = self._judge(layer, fitted, blank, limits, excused)
            place, rows = (layer.series, layer.columns), layer.rows
            back = layer.back
            for name, values in (
                ("expected", _from(back(judged.expected), layer.judged_from)),
                ("low", back(judged.surprise.low)),
                ("high", back(judged.surprise.high)),
                ("z", (layer.working() - judged.expected) / judged.scale),
                ("p_value", p),
                ("severity", _from(judged.severity, layer.judged_from)),
            ):
                numbers[name][rows] = values[place]
            alarm[rows], up[rows] = raised[0][place], (judged.surprise.above >= judged.surprise.below)[place]
            explained[rows] = raised[1][place]
            if remember:
                moved.append((layer, state))
        for layer, state in moved:
            state = layer.waiting(state)
            bank = fitted.banks.get(layer.step)
            fitted.banks[layer.step] = bank.written(layer, state) if bank is not None else stacked([(layer, state)])[layer.step]
        because = [reason if which else None for reason, which in zip(reasons, explained, strict=True)]
        return _table(observed, numbers, alarm, up), observed, because, [layer for layer, _ in moved]

    def _judge(
        self, layer: Layer, fitted: Fitted, blank: Blank, limits: str, excused: Bools
    ) -> tuple[Columns, State, tuple[Bools, Bools], Floats]:
        """Columns, the state behind them, alarms (to be raised, explained by the calendar) and p-values of one layer."""
        y = layer.working()
        quiet = layer.rhythm.refractory
        limit = fitted.calibration.limit(self._p_limit(layer.rhythm, fitted.extremal_index))
        forecasts = predicted(layer.state, y, kind=self.kind, rhythm=layer.rhythm, start=layer.start)
        judged, state = advance(
            layer.state,
            forecasts,
            y,
            blank.pooled(layer.metrics),
            layer.logarithm,
            half=fitted.half,
            rhythm=layer.rhythm,
            start=layer.start,
            limit=None if limits == "none" else limit,
            everywhere=limits == "all",
        )
        size = _from(judged.surprise.size, layer.judged_from)
        planned = np.zeros(size.shape, dtype=bool)
        planned[layer.series, layer.columns] = excused[layer.rows]
        exceeds = size >= limit
        # What was planned does not silence what follows it.
        raised, last = _silenced(exceeds & ~planned, layer.start, layer.state.last_alarm, quiet)
        explained, _ = _silenced(exceeds & planned, layer.start, np.full(len(size), NEVER), quiet)
        return judged, replace(state, last_alarm=last), (raised, explained), fitted.calibration(size)

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


@dataclass(frozen=True, slots=True)
class _Forecast:
    """A layer with its values in working units, its forecasts and the standardised residuals (S, members, T)."""

    layer: Layer
    y: Floats
    forecasts: Forecasts
    z: Floats


def _ripe(series: Floats) -> Floats:
    """The second half of a series' judged points: early forecasts rest on few cycles, stray further, and are not what is to come."""
    there: Floats = series[np.isfinite(series)]
    ripe: Floats = there[len(there) // 2 :]
    return ripe


def _folds(keys: Sequence[SeriesKey]) -> dict[SeriesKey, int]:
    """A fold for each series, all metrics of an account in one; with a single account the metrics are told apart."""
    units = sorted({key[:-1] for key in keys})
    if len(units) == 1:
        return {key: number % _FOLDS for number, key in enumerate(sorted(keys))}
    numbers = {unit: number % _FOLDS for number, unit in enumerate(units)}
    return {key: numbers[key[:-1]] for key in keys}


def _laws(parts: Sequence[_Forecast], members: int, *, without: Collection[SeriesKey] = ()) -> tuple[Tails, ...]:
    """Each member's tails over all series but those that are left out; over all when nothing else is left."""
    kept = [(part.z[row], key) for part in parts for row, key in enumerate(part.layer.keys)]
    kept = [(z, key) for z, key in kept if key not in without] or kept
    laws = []
    for member in range(members):
        residuals: dict[str, list[Floats]] = {}
        for z, key in kept:
            residuals.setdefault(key[-1], []).append(_ripe(z[member]))
        laws.append(Tails.of({metric: np.concatenate(rows) for metric, rows in residuals.items()}))
    return tuple(laws)


def _shares(parts: Sequence[_Forecast], laws: Sequence[Tails]) -> Floats:
    """Share of each series' residuals, over all members, beyond the pooled 10 % limits in either half of its days; see `half_weight`."""
    found = []
    metrics = {metric for part in parts for metric in part.layer.metrics}
    limits = {metric: [law.limits(metric, 0.1) for law in laws] for metric in metrics}
    for part in parts:
        for metric, series in zip(part.layer.metrics, part.z, strict=True):
            judged = series[:, np.isfinite(series).all(axis=0)]
            beyond = np.mean([(row < low) | (row > high) for row, (low, high) in zip(judged, limits[metric], strict=True)], axis=0)
            middle = len(beyond) // 2
            if middle >= _HALF_POINTS:
                found.append((beyond[:middle].mean(), beyond[middle:].mean()))
    return np.array(found).reshape(-1, 2)


def _from(values: Floats, first: Ints) -> Floats:
    """NaN before each series' first column that may be judged."""
    return np.where(np.arange(values.shape[1]) >= first[:, None], values, np.nan)


def _silenced(exceeds: Bools, start: int, last: Ints, quiet: int) -> tuple[Bools, Ints]:
    """Per series (rows), the exceedances at least `quiet` points after the alarm before them, and the position of the last alarm."""
    raised, last = np.zeros_like(exceeds), last.copy()
    for row in np.nonzero(exceeds.any(axis=1))[0]:
        before = int(last[row])
        for column in np.nonzero(exceeds[row])[0]:
            if before == NEVER or start + column - before >= quiet:
                raised[row, column], before = True, start + int(column)
        last[row] = before
    return raised, last


def _extremal_index(judged: Sequence[tuple[Layer, Floats]], calibration: Calibration) -> float:
    """Alarms per exceedance while not silent, in the data of `fit`: 1 when exceedances come alone, less when they come in runs."""
    points = exceedances = alarms = silent = 0
    for layer, size in judged:
        rare = size >= calibration.limit(_CLUSTER_P)
        quiet = layer.rhythm.refractory
        raised = int(_silenced(rare, layer.start, np.full(len(rare), NEVER), quiet)[0].sum())
        points += int(np.isfinite(size).sum())
        exceedances += int(rare.sum())
        alarms += raised
        silent += raised * (quiet - 1)
    # One more of each keeps the ratio sensible where hardly any were seen.
    share_awake = (max(points - silent, 0) + 1) / (points + 1)
    return min(1.0, (alarms + 1) / ((exceedances + 1) * share_awake))


def silenced(exceeds: Bools, at: Ints, quiet: int) -> Bools:
    """The exceedances of one series that come at least `quiet` points after the alarm before them."""
    result = np.zeros(len(exceeds), dtype=bool)
    last = None
    for i in np.nonzero(exceeds)[0]:
        if last is None or at[i] - last >= quiet:
            result[i], last = True, at[i]
    return result


def _table(observed: Observations, numbers: dict[str, Floats], alarm: Bools, up: Bools) -> pl.DataFrame:
    judged = np.isfinite(numbers["p_value"])
    for name in ("low", "high"):
        numbers[name][np.isinf(numbers[name])] = np.nan
    for name in _NUMBERS[1:]:  # what was expected stands also where nothing came
        numbers[name][~judged] = np.nan
    state = np.where(np.isnan(observed.value), "missing", np.where(observed.maturity < MATURE, "immature", "warming_up"))
    direction = np.where(judged, np.where(up, "up", "down"), None)  # type: ignore[call-overload]
    table = observed.keys.select(*observed.ids, "metric").with_columns(
        timestamp=observed.original,
        value=pl.Series(observed.value),
        currency=pl.Series(observed.currency, dtype=pl.String),
        **{name: pl.Series(numbers[name]) for name in _NUMBERS},
        score=pl.Series(-np.log10(numbers["p_value"])),
        direction=pl.Series(direction.tolist(), dtype=pl.String),
        alarm=pl.Series(alarm),
        state=pl.Series(np.where(judged, "scored", state).tolist(), dtype=pl.String),
    )
    return table.with_columns(pl.col(pl.Float64).fill_nan(None))


def _in_time(observed: Observations, which: Bools) -> Ints:
    """Rows of `which` in the order of time."""
    rows = np.nonzero(which)[0]
    ordered: Ints = rows[np.argsort(observed.time[rows], kind="stable")]
    return ordered


def _findings(scored: pl.DataFrame, observed: Observations) -> tuple[dict[str, Any], ...]:
    """The alarms of a scored table with their causes, in the order of time."""
    rows = _in_time(observed, scored["alarm"].to_numpy())
    if not len(rows):
        return ()
    around = _surroundings(scored, observed, rows)
    return tuple(
        _finding(row, observed.ids, around.get((*(row[name] for name in _place(observed)), row["timestamp"]), []))
        for row in scored[rows.tolist()].iter_rows(named=True)
    )


def _place(observed: Observations) -> list[str]:
    """The id columns that name an account rather than a part of it."""
    return [name for name in observed.ids if name != "campaign_id"]


def _surroundings(scored: pl.DataFrame, observed: Observations, rows: Ints) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    """All totals at the account and time of each alarm."""
    place = [*_place(observed), "timestamp"]
    known = scored.with_columns(maturity=pl.Series(observed.maturity)).filter(pl.col("metric").is_in(_TOTALS))
    near = known.join(scored[rows.tolist()].select(place).unique(), on=place, how="semi", nulls_equal=True)
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in near.iter_rows(named=True):
        found.setdefault(tuple(row[name] for name in place), []).append(row)
    return found


def _finding(row: dict[str, Any], ids: Sequence[str], around: Sequence[dict[str, Any]]) -> dict[str, Any]:
    names = (*ids, "metric", "timestamp", "value", "expected", "low", "high", "score", "severity", "direction", "p_value")
    finding = {"kind": "anomaly", **{name: row[name] for name in names}}
    if row["metric"] in _AMOUNTS:
        finding["impact"] = abs(row["value"] - row["expected"])
    if row["currency"] is not None and row["metric"] in _MONEY:
        finding["currency"] = row["currency"]
    cause = _cause(row, around)
    if cause is not None:
        finding["cause"] = asdict(cause)
    return finding


def _cause(row: dict[str, Any], around: Sequence[dict[str, Any]]) -> Cause | None:
    """The cause of an alarm from the totals of the same unit, and of its campaigns where the unit is an account."""
    own = row.get("campaign_id") or ""
    totals: dict[str, Level] = {}
    segments: dict[str, dict[str, Level]] = {}
    for other in around:
        # A late total is brought to its final size; of one that is hardly known nothing can be said.
        if other["value"] is None or other["expected"] is None or other["maturity"] < _KNOWN:
            continue
        level = Level(other["value"] / min(other["maturity"], 1.0), other["expected"])
        name = other.get("campaign_id") or ""
        if name == own:
            totals[other["metric"]] = level
        elif not own:
            segments.setdefault(name, {})[other["metric"]] = level
    if row["metric"] not in PARTS or (len(PARTS[row["metric"]]) == 1 and not segments):
        return None
    return decompose(row["metric"], totals, segments)


def _places(feeds: FeedMemory, moved: Sequence[Layer], rows: int) -> Ints:
    """The row of the memory of each observation."""
    place = np.zeros(rows, dtype=np.int64)
    for layer in moved:
        place[layer.rows] = feeds.places(layer.keys, layer.step)[layer.series]
    return place


def _stopped_finding(one: Stopped, key: SeriesKey, observed: Observations) -> dict[str, Any]:
    ids = {name: part for name, part in zip(KEY, key, strict=True) if name in observed.ids or name == "metric"}
    return {"kind": one.kind, **ids, "timestamp": observed.as_given(one.time), "value": one.value, "points": one.points}


def _feed_finding(problem: FeedProblem, scored: pl.DataFrame, observed: Observations) -> dict[str, Any]:
    row = scored.row(problem.row, named=True)
    return {"kind": problem.kind, **{name: row[name] for name in (*observed.ids, "metric", "timestamp", "value")}, "points": problem.points}
