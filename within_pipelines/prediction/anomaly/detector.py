"""Find values that a metric's own past makes improbable."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl

from within_pipelines.exceptions import NotFittedError, SampleError, SchemaError, SettingsError
from within_pipelines.prediction.anomaly.alarms import p_limit, raise_alarms
from within_pipelines.prediction.anomaly.bank import Blank, Layer, layers, stacked
from within_pipelines.prediction.anomaly.calendar import Calendar
from within_pipelines.prediction.anomaly.feeds import feed_problems
from within_pipelines.prediction.anomaly.findings import (
    NUMBERS,
    Judgement,
    alarm_findings,
    feed_finding,
    in_time,
    scored_table,
    stopped_finding,
)
from within_pipelines.prediction.anomaly.forecast import LOGARITHMIC, MEMBERS
from within_pipelines.prediction.anomaly.learning import Fitted, learn
from within_pipelines.prediction.anomaly.series import Bools, Floats, Observations, Rhythm, microseconds_of, observations
from within_pipelines.prediction.anomaly.storage import MODEL, read_detector, write_detector
from within_pipelines.prediction.anomaly.stream import NEVER, Columns, State, advance, predicted
from within_pipelines.prediction.arguments import is_number
from within_pipelines.prediction.champion import champion_folder

# False alarms per series and month at even odds; see `AnomalyDetector.expected_false_alarms_per_month`.
FALSE_ALARMS_AT_EVEN_ODDS = 0.01


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
        if not (is_number(sensitivity) and 0 < sensitivity < 1):
            raise SettingsError(f"sensitivity is {sensitivity!r}; give a number between 0 and 1, e.g. 0.95.")
        if not (isinstance(kind, str) and kind in MEMBERS):
            raise SettingsError(f"The kind {kind!r} is unknown; give one of {sorted(MEMBERS)}.")
        self.sensitivity = float(sensitivity)
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
        per_month, index = self.expected_false_alarms_per_month, self._require().extremal_index
        return p_limit(rhythm, per_month=per_month, extremal_index=index)

    def fit(self, normal: Any) -> Self:
        """Learn from mostly normal history how far residuals stray, pooled over series, and remember where every series stands.

        `normal` is a long table (timestamp, metric, value; optional platform, account_id, campaign_id, series_id, maturity, currency) or a
        wide one (timestamp and one number column per metric), pandas or polars. Residuals are one step ahead, so they are out of sample.

        Raises `SchemaError`, and `SampleError` when no value is there at all."""
        observed = observations(normal, what="The normal data")
        if not np.isfinite(observed.value).any():
            raise SampleError(f"The normal data hold no value in {len(observed.value)} rows; give at least a few weeks of numbers.")
        self._fitted = learn(observed, kind=self.kind, per_month=self.expected_false_alarms_per_month)
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
            size = layer.judgeable(found.size)
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

        A feed is missing when its account goes on without it for 36 hours, at least 3 points; with `now` (a date, datetime or ISO text, as
        the table's times are) also when the clock does, so that an account which is silent altogether is told too. A series that `fit` or
        `update` knows and of which `new` has no value, or not even a column or row, is one of them: its `timestamp` and `value` are the
        last that are known. What had stopped in the data of `fit`, or was told as missing by `update`, is not told again. What `calendar`
        explains is left out; `judge` lists it.

        An empty list is no word about rows that could not be judged, as all are after a `fit` on a few rows, until a series has four
        cycles of past (four weeks of days, four days of hours): `judge(new).states` counts the rows by state.

        Raises `SchemaError` and `SampleError` for a table that cannot be read as series, and `SchemaError` for a `calendar` that is no
        `Calendar` and a `now` that is no moment."""
        judged = self.judge(new, calendar=calendar, now=now)
        return [*judged.feeds, *judged.findings]

    def judge(self, new: Any, *, calendar: Calendar | None = None, now: Any = None) -> Judgement:
        """`detect`, with what the calendar explains beside it and counted by reason, and the rows counted by state (`states`): how many
        were "scored", and how many could not be judged because they are "warming_up", "immature" or "missing"."""
        scored, observed, excused, _ = self._score(new, limits="alarms", calendar=calendar)
        memory, until = self._require().feeds, microseconds_of(now, observed)
        problems, repeats = feed_problems(observed, now=until, known=memory)
        unheard = memory.unheard(observed, now=until)
        feeds = (
            *(feed_finding(problem, scored, observed) for problem in problems),
            *(stopped_finding(one, memory.keys[one.series], observed) for one in unheard),
        )
        findings = alarm_findings(scored.with_columns(alarm=pl.col("alarm") & ~pl.Series(repeats)), observed)
        planned = np.array([reason is not None for reason in excused], dtype=bool)
        explained = alarm_findings(scored.with_columns(alarm=pl.Series(planned, dtype=pl.Boolean)), observed)
        reasons = in_time(observed, planned)
        suppressed = tuple(f | {"reason": excused[row]} for f, row in zip(explained, reasons, strict=True))
        counts = scored["state"].value_counts().sort("state")
        return Judgement(feeds, findings, suppressed, {str(state): int(count) for state, count in counts.iter_rows()})

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
        stopped, repeated = feeds.advance(feeds.places_of(moved, len(observed.value)), observed.time, observed.value, now=until)
        alarms = scored["alarm"].to_numpy() & ~repeated
        told = [(one.known, 0, stopped_finding(one, feeds.keys[one.series], observed)) for one in stopped]
        found = alarm_findings(scored.with_columns(alarm=pl.Series(alarms, dtype=pl.Boolean)), observed)
        told += [(int(observed.time[row]), 1, finding) for row, finding in zip(in_time(observed, alarms), found, strict=True)]
        return [finding for _, _, finding in sorted(told, key=lambda one: one[:2])]

    def _score(
        self, frame: Any, *, limits: str, remember: bool = False, calendar: Calendar | None = None, now: Any = None
    ) -> tuple[pl.DataFrame, Observations, list[str | None], list[Layer]]:
        """The table of `score_series`, what was observed, per row the reason that explains what would have been an alarm, and what is
        remembered."""
        if not (calendar is None or isinstance(calendar, Calendar)):
            raise SchemaError(f"calendar={calendar!r} is no calendar; give Calendar.of({{'planned': [...]}}) or Calendar.load(path).")
        fitted = self._require()
        observed = observations(frame, what="The new data")
        microseconds_of(now, observed)  # refused before anything is remembered
        n = len(observed.value)
        reasons = calendar.reasons(observed.keys.to_dicts(), observed.wall_clock) if calendar is not None and n else [None] * n
        excused = np.array([reason is not None for reason in reasons], dtype=bool)
        numbers = {name: np.full(n, np.nan) for name in NUMBERS}
        alarm, up, explained = (np.zeros(n, dtype=bool) for _ in range(3))
        blank = Blank(fitted.laws, len(MEMBERS[self.kind]))
        moved: list[tuple[Layer, State]] = []
        for layer in layers(observed, fitted.banks, blank, logarithm=self.kind in LOGARITHMIC) if n else ():
            judged, state, raised, p = self._judge(layer, fitted, blank, limits, excused)
            place, rows = (layer.series, layer.columns), layer.rows
            back = layer.back
            for name, values in (
                ("expected", layer.judgeable(back(judged.expected))),
                ("low", back(judged.surprise.low)),
                ("high", back(judged.surprise.high)),
                ("z", (layer.working() - judged.expected) / judged.scale),
                ("p_value", p),
                ("severity", layer.judgeable(judged.severity)),
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
        return scored_table(observed, numbers, alarm, up), observed, because, [layer for layer, _ in moved]

    def _judge(
        self, layer: Layer, fitted: Fitted, blank: Blank, limits: str, excused: Bools
    ) -> tuple[Columns, State, tuple[Bools, Bools], Floats]:
        """Columns, the state behind them, alarms (to be raised, explained by the calendar) and p-values of one layer."""
        y = layer.working()
        quiet = layer.rhythm.refractory
        limit = fitted.calibration.limit(self.p_limit(layer.rhythm))
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
        size = layer.judgeable(judged.surprise.size)
        planned = np.zeros(size.shape, dtype=bool)
        planned[layer.series, layer.columns] = excused[layer.rows]
        exceeds = size >= limit
        # What was planned does not silence what follows it.
        raised, last = raise_alarms(exceeds & ~planned, layer.start, layer.state.last_alarm, quiet)
        explained, _ = raise_alarms(exceeds & planned, layer.start, np.full(len(size), NEVER), quiet)
        return judged, replace(state, last_alarm=last), (raised, explained), fitted.calibration(size)

    def save(self, folder: str | Path) -> str:
        """Write the fitted detector to `folder`; returns `model_sha256`. Raises `NotFittedError` when there is nothing to write."""
        if self._fitted is None:
            raise NotFittedError("This anomaly detector is not fitted, so there is nothing to save; call fit() first.")
        return write_detector(Path(folder), self.kind, self.sensitivity, self._fitted)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote, after checking every hash. Raises `ArtifactError`."""
        kind, sensitivity, fitted = read_detector(Path(folder))
        detector = cls(sensitivity, kind=kind)
        detector._fitted = fitted
        return detector

    def _require(self) -> Fitted:
        if self._fitted is None:
            champion = self.load(champion_folder(MODEL))
            self.kind, self._fitted = champion.kind, champion._require()
        return self._fitted
