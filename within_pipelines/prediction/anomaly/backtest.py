"""Judge a detector by incidents that are put into days it has not seen, and by its alarms on those days as they were."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from within_pipelines.exceptions import SampleError
from within_pipelines.prediction.anomaly.alarms import silenced
from within_pipelines.prediction.anomaly.detector import AnomalyDetector
from within_pipelines.prediction.anomaly.incidents import SHAPES, Incident, draw_incidents, inject
from within_pipelines.prediction.anomaly.series import ID_COLUMNS, Floats, rhythm
from within_pipelines.prediction.anomaly.storage import MODEL
from within_pipelines.prediction.evaluation import Evaluation
from within_pipelines.stats import Estimate, cluster_bootstrap, cluster_mean, paired_difference

MAIN_METRIC = "incident_recall_at_budget"
# An alarm up to this many points after an incident reports its end, not something that never happened.
_AFTERMATH = 7
_ROUNDS = 4
# Probabilities at which `tail_reliability` compares what is said with what is seen.
NOMINAL = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)


@dataclass(frozen=True, slots=True)
class _Quiet:
    """A detector on the test days as they were: p-values, own alarms, and the p-value at which it would keep the budget."""

    p: Floats
    alarm: npt.NDArray[np.bool_]
    limit: float


@dataclass(frozen=True, slots=True)
class _Outcome:
    """One incident: found at the detector's own limit, found at the limit that keeps the budget, points until the alarm (NaN: none)."""

    found: bool
    found_at_budget: bool
    delay: float


@dataclass(frozen=True, slots=True)
class _Trial:
    """All rounds of one detector, an entry per incident and sums per series."""

    outcomes: list[_Outcome]
    false: Floats  # alarms outside incidents, per series over all rounds


def evaluate_anomaly(
    predictor: AnomalyDetector, baseline: AnomalyDetector, test: pl.DataFrame, *, rng: np.random.Generator, rounds: int = _ROUNDS
) -> Evaluation:
    """Incident backtest on `test`, the newest part of the metric series, which neither detector was fitted on.

    In each of `rounds` rounds every series gets one incident: a drop to 30-60 %, a spike to 2-3 times, or zeros, for 2-4 days, at a
    random time. Metrics (intervals resample whole accounts):

    - `incident_recall_at_budget` (main): share of incidents that reach, in the right direction, the p-value at which the detector's
      realised alarms on the untouched days equal the budget; so both detectors are compared at the same number of false alarms.
    - `recall`, `precision`, `f1`, `delay_days` at the detector's own limit; precision at one incident per series and test period, with
      alarms up to 7 points after an incident left out. What really happened in the test days counts as false, so it is a lower bound.
    - `false_alarms_per_series_month` on the untouched days, and `false_alarm_ratio`, the same over the stated budget (1 is
      nominal; 90 % interval).

    Raises `SampleError` when no value of `test` can be judged."""
    table = test.sort(*[name for name in ("metric", *ID_COLUMNS, "timestamp") if name in test.columns])
    quiet = {side: _score(detector, table) for side, detector in (("candidate", predictor), ("baseline", baseline))}
    both = quiet["candidate"].with_columns(
        state=pl.when(quiet["baseline"]["state"] == "scored").then("state").otherwise(quiet["baseline"]["state"])
    )
    series = _series_rows(table)
    judged = [rows[(both["state"] == "scored").to_numpy()[rows]] for rows in series]
    rhythms = [rhythm(_times(table)[rows], None) for rows in series]
    months = np.array([len(rows) / r.points_per_month for rows, r in zip(judged, rhythms, strict=True)])
    if months.sum() <= 0:
        raise SampleError(f"None of {table.height} test values can be judged; give detectors fitted on the days before, or a longer test.")
    silence = [r.refractory for r in rhythms]
    clusters = _clusters(table, series)
    budget = predictor.expected_false_alarms_per_month
    calm = {side: _calm(scored, judged, silence, budget * months.sum()) for side, scored in quiet.items()}

    drawn: list[Incident] = []
    trials = {side: _Trial([], np.zeros(len(series))) for side in quiet}
    for _ in range(rounds):
        incidents = draw_incidents(both, series, rng=rng)
        changed = inject(table, incidents)
        drawn += incidents
        for side, detector in (("candidate", predictor), ("baseline", baseline)):
            _play(_score(detector, changed), incidents, series, calm[side].limit, trials[side])
    if not drawn:
        raise SampleError("No incident fits into the test days; give a test period with at least a week of judged values per series.")

    of_incident = [clusters[incident.series] for incident in drawn]
    metrics, rival = (
        _metrics(trials[side], calm[side], of_incident, clusters, judged, months, budget, rng) for side in ("candidate", "baseline")
    )
    at_budget = {side: [float(outcome.found_at_budget) for outcome in trial.outcomes] for side, trial in trials.items()}
    days = [_day(value) for value in (table["timestamp"].min(), table["timestamp"].max())]
    return Evaluation(
        model=MODEL,
        model_kind=predictor.model_kind,
        main_metric=MAIN_METRIC,
        higher_is_better=True,
        metrics=metrics,
        baseline=baseline.model_kind,
        baseline_metrics=rival,
        difference=paired_difference(at_budget["candidate"], at_budget["baseline"], of_incident, rng=rng),
        n={
            "rows": int(sum(len(rows) for rows in judged)),
            "series": len(series),
            "units": len(set(clusters)),
            "incidents": len(drawn),
            "series_months": round(float(months.sum())),
        },
        first_day=days[0],
        last_day=days[1],
        tables={
            "recall_by_shape": _by_shape(drawn, trials),
            "alarms_by_metric": _by_metric(table, series, judged, months, calm, budget),
            "tail_reliability": tail_reliability(quiet["candidate"]["p_value"].to_numpy(), judged, clusters, rng=rng),
            "importance": _importance(predictor, table),
        },
    )


def tail_reliability(
    p: Floats, series: list[npt.NDArray[np.int64]], clusters: list[str], *, rng: np.random.Generator, nominal: tuple[float, ...] = NOMINAL
) -> pl.DataFrame:
    """How often a p-value at or below each `nominal` probability came, beside that probability: they are equal for a calibrated detector.

    `p` are the p-values of all rows, `series` the judged rows of each series, `clusters` their accounts, over which the 95 % interval
    `low`..`high` of the share `measured` resamples. What really happened in these days counts with the rest, so the far tail may be
    heavier than stated.

    >>> rows = [np.arange(100), np.arange(100, 200)]
    >>> even = np.tile(np.arange(1, 101) / 100, 2)
    >>> tail_reliability(even, rows, ["a", "b"], rng=np.random.default_rng(1), nominal=(0.1,))["measured"].to_list()
    [0.1]
    """
    values = np.concatenate([p[rows] for rows in series])
    labels = np.repeat(clusters, [len(rows) for rows in series])
    told = []
    for limit in nominal:
        found = cluster_mean((values <= limit).astype(np.float64), labels, rng=rng)
        told.append({"nominal": limit, "measured": found.value, "low": found.low, "high": found.high, "points": len(values)})
    return pl.DataFrame(told)


def _importance(detector: AnomalyDetector, table: pl.DataFrame) -> pl.DataFrame:
    """What each forecaster adds to the surprise of the points that surprise most (one in twenty), in units of -log10 p; they add up."""
    told = detector.explain(table).filter(pl.col("surprise").is_not_null())
    told = told.filter(pl.col("surprise") >= pl.col("surprise").quantile(0.95))
    members = [name.removesuffix("_surprise") for name in told.columns if name.endswith("_surprise")]
    added = {member: told[f"{member}_surprise"].mean() for member in members}
    rows = [{"feature": member, "importance": float(value) / len(members)} for member, value in added.items() if isinstance(value, float)]
    return pl.DataFrame(rows, schema={"feature": pl.String, "importance": pl.Float64}).sort(
        "importance", "feature", descending=[True, False]
    )


def _score(detector: AnomalyDetector, table: pl.DataFrame) -> pl.DataFrame:
    return detector.score_series(table, limits=False)


def _times(table: pl.DataFrame) -> npt.NDArray[np.int64]:
    return table["timestamp"].cast(pl.Datetime("us")).to_physical().to_numpy().astype(np.int64)


def _day(value: Any) -> date:
    day: date = value.date() if isinstance(value, datetime) else value
    return day


def _series_rows(table: pl.DataFrame) -> list[npt.NDArray[np.int64]]:
    """Rows of each series in time order; the table is sorted by series and time."""
    keys = [name for name in ("metric", *ID_COLUMNS) if name in table.columns]
    grouped = table.with_row_index("row").group_by(keys, maintain_order=True).agg("row")
    return [np.array(rows, dtype=np.int64) for rows in grouped["row"].to_list()]


def _clusters(table: pl.DataFrame, series: list[npt.NDArray[np.int64]]) -> list[str]:
    """The account of each series, because one event moves all its metrics; the series itself where there are no two accounts."""
    ids = [name for name in ("platform", "account_id", "series_id") if name in table.columns]
    accounts = table.select(pl.concat_str([pl.col(name).cast(pl.String).fill_null("") for name in ids], separator="/")) if ids else None
    names = [str(accounts.item(int(rows[0]), 0)) for rows in series] if accounts is not None else [""] * len(series)
    return names if len(set(names)) > 1 else [str(i) for i in range(len(series))]


def _calm(scored: pl.DataFrame, judged: list[npt.NDArray[np.int64]], silence: list[int], allowed: float) -> _Quiet:
    """Alarms as they were, and by bisection the p-value at which `allowed` alarms would have been raised."""
    p = scored["p_value"].fill_null(1.0).to_numpy()

    def alarms(limit: float) -> int:
        return sum(int(silenced(p[rows] <= limit, np.arange(len(rows)), quiet).sum()) for rows, quiet in zip(judged, silence, strict=True))

    low, high = -12.0, float(np.log10(0.5))
    for _ in range(30):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if alarms(10**middle) <= allowed else (low, middle)
    return _Quiet(p, scored["alarm"].to_numpy(), 10**low)


def _play(scored: pl.DataFrame, incidents: list[Incident], series: list[npt.NDArray[np.int64]], limit: float, trial: _Trial) -> None:
    """Add one round's outcomes to `trial`."""
    alarm, p = scored["alarm"].to_numpy(), scored["p_value"].fill_null(1.0).to_numpy()
    direction = scored["direction"].to_list()
    concerned = np.zeros(len(alarm), dtype=bool)
    for incident in incidents:
        rows = np.array(incident.rows)
        right = np.array([direction[row] == incident.direction for row in incident.rows])
        raised = np.nonzero(alarm[rows] & right)[0]
        delay = float(raised[0]) if len(raised) else float("nan")
        trial.outcomes.append(_Outcome(bool(len(raised)), bool(np.any((p[rows] <= limit) & right)), delay))
        own = series[incident.series]
        concerned[own[(own >= rows[0]) & (own <= rows[-1] + _AFTERMATH)]] = True
    trial.false[:] += [float((alarm & ~concerned)[rows].sum()) for rows in series]


def _metrics(
    trial: _Trial,
    calm: _Quiet,
    of_incident: list[str],
    clusters: list[str],
    judged: list[npt.NDArray[np.int64]],
    months: Floats,
    budget: float,
    rng: np.random.Generator,
) -> dict[str, Estimate]:
    found = np.array([outcome.found for outcome in trial.outcomes], dtype=np.float64)
    delays = np.array([outcome.delay for outcome in trial.outcomes])
    names = sorted(set(clusters))
    hits, tries, false = (
        np.array([values[[label == name for label in labels]].sum() for name in names], dtype=np.float64)
        for values, labels in ((found, of_incident), (np.ones(len(found)), of_incident), (trial.false, clusters))
    )
    alarms = np.array([calm.alarm[rows].sum() for rows in judged], dtype=np.float64)
    rate = np.divide(alarms, months, out=np.zeros(len(months)), where=months > 0)
    metrics = {
        MAIN_METRIC: cluster_mean([float(o.found_at_budget) for o in trial.outcomes], of_incident, rng=rng),
        "recall": cluster_mean(found, of_incident, rng=rng),
        "false_alarms_per_series_month": cluster_mean(rate, clusters, weights=months, rng=rng),
        # The gate asks one side only (does it cry wolf?), so 90 % between the ends leaves 5 % beyond the upper one.
        "false_alarm_ratio": cluster_mean(rate / budget, clusters, weights=months, rng=rng, level=0.9),
    }
    if hits.sum() > 0:
        precision = _ratio(hits, hits + false)
        f1 = _ratio(2 * hits, hits + false + tries)
        metrics["precision"] = cluster_bootstrap(precision, names, rng=rng)
        metrics["f1"] = cluster_bootstrap(f1, names, rng=rng)
    timely = np.isfinite(delays)
    if len({label for label, ok in zip(of_incident, timely, strict=True) if ok}) > 1:
        labels = [label for label, ok in zip(of_incident, timely, strict=True) if ok]
        metrics["delay_days"] = cluster_mean(delays[timely], labels, rng=rng)
    return metrics


def _ratio(above: Floats, below: Floats) -> Callable[[npt.NDArray[np.int64]], float]:
    def of(rows: npt.NDArray[np.int64]) -> float:
        total = float(below[rows].sum())
        return float(above[rows].sum()) / total if total > 0 else float("nan")

    return of


def _by_shape(drawn: list[Incident], trials: dict[str, _Trial]) -> pl.DataFrame:
    rows = []
    for shape in SHAPES:
        chosen = [i for i, incident in enumerate(drawn) if incident.shape == shape]
        shares = {
            side: float(np.mean([trial.outcomes[i].found_at_budget for i in chosen])) if chosen else None for side, trial in trials.items()
        }
        rows.append({"shape": shape, "incidents": len(chosen), "recall": shares["candidate"], "baseline_recall": shares["baseline"]})
    return pl.DataFrame(rows, schema={"shape": pl.String, "incidents": pl.Int64, "recall": pl.Float64, "baseline_recall": pl.Float64})


def _by_metric(
    table: pl.DataFrame,
    series: list[npt.NDArray[np.int64]],
    judged: list[npt.NDArray[np.int64]],
    months: Floats,
    calm: dict[str, _Quiet],
    budget: float,
) -> pl.DataFrame:
    """Alarms on untouched days per metric beside what the budget allows."""
    metric = table["metric"].to_list()
    parts = pl.DataFrame(
        {
            "metric": [metric[int(rows[0])] for rows in series],
            "series_months": months,
            "alarms": [int(calm["candidate"].alarm[rows].sum()) for rows in judged],
            "baseline_alarms": [int(calm["baseline"].alarm[rows].sum()) for rows in judged],
        }
    )
    return parts.group_by("metric").sum().sort("metric").with_columns(expected=pl.col("series_months") * budget)
