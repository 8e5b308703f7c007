"""The shipped anomaly detector on real ad-exchange costs by NAB's rules, beside simple rivals on the same files; then its cost.

Without `--test-data` each exchange is scored with a detector fitted, and a threshold chosen, on the other exchanges of `--data/nab`.
With it both come from all of `--data/nab`, and the files of `--test-data/nab` are scored. One configuration serves all series."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
from _common import arguments, show, write_json

from within_pipelines.prediction.anomaly import AnomalyDetector
from within_pipelines.prediction.anomaly.nab import LOW_FALSE_POSITIVE, STANDARD, NabProfile, Sweep, nab_score, sweep
from within_pipelines.prediction.anomaly.vus import vus_pr

HOUR_US = 3_600_000_000
# NAB has no silence after an alarm; each of these detectors has the same one, 36 hours.
REFRACTORY = 36
# Thresholds are chosen among these shares of training points beyond them; a threshold is not known better than by half a decade.
SHARES = 10.0 ** np.arange(-3.4, -1.2, 0.025)
SMOOTH = 10
VUS_WINDOW = 24
ROUNDS = 2000
PUBLISHED = (
    "Published by NAB for realAdExchange with its own thresholds (standard / low false positive): numenta 76.9 / 67.7,\n"
    "ARTime 75.1 / 70.8, contextOSE 72.0 / 70.4, htmjava 71.2, knncad 71.0, randomCutForest 62.8, windowedGaussian 56.9;\n"
    "with thresholds from NAB's other groups: htmjava 71.2, knncad 71.0, numenta 70.6, ARTime 61.9. Those are six series, of\n"
    "which these are a part. VUS-PR of all six: numenta .227, k nearest neighbours with a 24 h mean .403, randomCutForest with\n"
    "a 24 h likelihood .437."
)
Scores = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Labelled:
    """One file: its rows, their places on an hourly grid, the worth of a detection at each row, the labelled rows."""

    name: str
    exchange: str
    frame: pl.DataFrame
    place: np.ndarray
    grid: np.ndarray
    sweep: Sweep
    label: np.ndarray

    def rows(self, on_grid: np.ndarray, missing: float) -> np.ndarray:
        """Values on the grid as rows of the file."""
        found = on_grid[self.place]
        return np.where(np.isfinite(found), found, missing)


def read(folder: Path) -> list[Labelled]:
    """Every `exchange-*` file of `folder` with its windows (an edge that is no row moves inwards to the next)."""
    windows = {Path(name).name: spans for name, spans in json.loads((folder / "windows.json").read_text()).items()}
    found = []
    for path in sorted(folder.glob("exchange-*_results.csv")):
        table = pl.read_csv(path).with_columns(pl.col("timestamp").str.to_datetime(time_unit="us"))
        times = table["timestamp"].to_physical().to_numpy()
        place = np.rint((times - times[0]) / HOUR_US).astype(np.int64)
        grid = np.full(int(place.max()) + 1, np.nan)
        grid[place] = table["value"].cast(pl.Float64).to_numpy()  # of two values in one hour the later counts
        spans = []
        for first, last in sorted(windows.get(path.name, [])):
            edges = [int(np.datetime64(datetime.fromisoformat(moment), "us").astype(np.int64)) for moment in (first, last)]
            inside = np.nonzero((times >= edges[0]) & (times <= edges[1]))[0]
            if len(inside):
                spans.append((int(inside[0]), int(inside[-1])))
        label = np.zeros(len(times), dtype=bool)
        for first_row, last_row in spans:
            label[first_row : last_row + 1] = True
        start = table["timestamp"][0]
        frame = pl.DataFrame(
            {
                "timestamp": [start + timedelta(hours=hour) for hour in range(len(grid))],
                "series_id": path.stem,
                "metric": "cpc" if "cpc" in path.name else "cpm",
                "value": grid,
            }
        ).filter(pl.col("value").is_not_nan())
        exchange = path.name.split("_")[0]
        found.append(Labelled(path.stem, exchange, frame, place, grid, sweep(len(times), spans), label))
    if not found:
        raise SystemExit(f"{folder} holds no exchange-*_results.csv")
    return found


# Detectors: training series, scored series -> (alarm score, severity) on each one's grid, higher is more anomalous, NaN for no opinion.
Detect = Callable[[Sequence[Labelled], Sequence[Labelled]], list[Scores]]


def shipped(kind: str) -> Detect:
    """`AnomalyDetector`: alarm score -log10 p, and its severity. A training series is scored by a detector fitted on the others."""

    def of(detector: AnomalyDetector, one: Labelled) -> Scores:
        answers = detector.score_series(one.frame, limits=False)
        at = np.nonzero(~np.isnan(one.grid))[0]
        score, severity = np.full(len(one.grid), np.nan), np.full(len(one.grid), np.nan)
        score[at] = answers["score"].cast(pl.Float64).fill_null(np.nan).to_numpy()
        severity[at] = answers["severity"].fill_null(np.nan).to_numpy()
        return score, severity

    def fitted(series: Sequence[Labelled]) -> AnomalyDetector:
        return AnomalyDetector(kind=kind).fit(pl.concat([one.frame for one in series]))

    def detect(train: Sequence[Labelled], scored: Sequence[Labelled]) -> list[Scores]:
        several = len({one.exchange for one in train}) > 1
        group = {one.name: one.exchange if several else one.name for one in train}
        kept = {held: fitted([one for one in train if group[one.name] != held] or train) for held in set(group.values())}
        whole = fitted(train)
        return [of(kept[group[one.name]] if one.name in group else whole, one) for one in scored]

    return detect


def alone(score_of: Callable[[np.ndarray], np.ndarray]) -> Detect:
    """A rival that looks at each series alone; its severity is the mean score of 24 hours."""

    def detect(_: Sequence[Labelled], scored: Sequence[Labelled]) -> list[Scores]:
        scores = [score_of(one.grid) for one in scored]
        return [(score, trailing_mean(score, 24)) for score in scores]

    return detect


def likely(score_of: Callable[[np.ndarray], np.ndarray]) -> Detect:
    """The same with the 24 h likelihood as score and severity."""

    def detect(_: Sequence[Labelled], scored: Sequence[Labelled]) -> list[Scores]:
        found = [likelihood(score_of(one.grid)) for one in scored]
        return [(one, one) for one in found]

    return detect


def likelihood(score: np.ndarray, short: int = 24) -> np.ndarray:
    """Mean of the last `short` scores in standard deviations of all scores before them (Lavin and Ahmad 2015, without their tail)."""
    result, at = np.full(len(score), np.nan), np.nonzero(np.isfinite(score))[0]
    for k in range(3 * short, len(at)):
        past = score[at[: k + 1 - short]]
        result[at[k]] = (score[at[k + 1 - short : k + 1]].mean() - past.mean()) / max(float(past.std()), 1e-9)
    return result


def trailing_mean(x: np.ndarray, length: int) -> np.ndarray:
    """Mean of the last `length` finite values."""
    there = np.isfinite(x)
    totals, counts = (np.concatenate([[0.0], np.cumsum(part)]) for part in (np.where(there, x, 0.0), there))
    ends = np.arange(1, len(x) + 1)
    starts = np.maximum(ends - length, 0)
    return (totals[ends] - totals[starts]) / np.maximum(counts[ends] - counts[starts], 1)


def trailing_z(x: np.ndarray) -> np.ndarray:
    """|z| against mean and standard deviation of the last week."""
    result = np.full(len(x), np.nan)
    for t in range(48, len(x)):
        past = x[max(0, t - 168) : t]
        past = past[np.isfinite(past)]
        result[t] = abs(x[t] - past.mean()) / max(float(past.std()), 1e-9)
    return result


def windowed_gaussian(x: np.ndarray) -> np.ndarray:
    """NAB's windowed Gaussian: -log10 of the two-sided normal tail by all values before (NAB's window of 6,400 is longer than a file)."""
    from scipy import stats

    result = np.full(len(x), np.nan)
    for t in range(48, len(x)):
        past = x[:t][np.isfinite(x[:t])]
        z = abs(x[t] - past.mean()) / max(float(past.std()), 1e-9)
        result[t] = -stats.norm.logsf(z) / np.log(10)
    return result


def nearest_neighbours(x: np.ndarray, width: int = 1, k: int = 10) -> np.ndarray:
    """Distance of the last `width` hours to the k-th nearest stretch of the past (as PyOD's KNN, but causal)."""
    filled = x.copy()
    for t in range(1, len(filled)):
        if np.isnan(filled[t]):
            filled[t] = filled[t - 1]
    windows = np.lib.stride_tricks.sliding_window_view(filled, width)
    result = np.full(len(x), np.nan)
    for t in range(48, len(x)):
        past = windows[: t - width + 1 - width]
        if len(past) > k and np.isfinite(x[t]):
            distance = np.sqrt(((past - windows[t - width + 1]) ** 2).sum(axis=1))
            result[t] = np.partition(distance, k)[k]
    return result


def nearest_neighbours_of_all(x: np.ndarray, k: int = 5) -> np.ndarray:
    """PyOD's KNN as it comes: distance to the 5th nearest value of the whole file, which includes the future."""
    known = x[np.isfinite(x)]
    nearest = np.sort(np.abs(x[:, None] - known[None, :]), axis=1)  # the first is the value itself
    return nearest[:, k]


def seasonal_naive(x: np.ndarray) -> np.ndarray:
    """|value - value a week before| over the median of such differences so far."""
    result = np.full(len(x), np.nan)
    difference = np.abs(x - np.concatenate([np.full(168, np.nan), x[:-168]]))
    for t in range(168 + 24, len(x)):
        past = difference[:t][np.isfinite(difference[:t])]
        result[t] = difference[t] / max(float(np.median(past)), 1e-9)
    return result


DETECTORS: dict[str, tuple[str, Detect]] = {
    "": ("AnomalyDetector (ensemble_tail)", shipped("ensemble_tail")),
    "baseline": ("AnomalyDetector (trailing_z)", shipped("trailing_z")),
    "trailing_z": ("trailing z, 7 days", alone(trailing_z)),
    "windowed_gaussian": ("windowed Gaussian, as in NAB", alone(windowed_gaussian)),
    "knn": ("k nearest neighbours (as PyOD, causal), 24 h mean", alone(nearest_neighbours)),
    "knn_likelihood": ("the same, 24 h likelihood", likely(nearest_neighbours)),
    "knn_future": ("k nearest neighbours that see the future, 24 h mean", alone(nearest_neighbours_of_all)),
    "seasonal_naive": ("seasonal naive residual", alone(seasonal_naive)),
    "null": ("null detector", alone(lambda x: np.zeros(len(x)))),
}


def alarms(one: Labelled, score: np.ndarray, threshold: float) -> np.ndarray:
    """Rows at which an alarm is raised: at least `threshold`, and 36 hours after the alarm before. Probation raises none."""
    raised = np.zeros(len(score), dtype=bool)
    probation = one.place[np.nonzero(one.sweep.window != -2)[0][0]]
    last = -REFRACTORY
    for t in np.nonzero(score >= threshold)[0]:
        if t >= probation and t - last >= REFRACTORY:
            raised[t], last = True, int(t)
    # Of two rows in one hour the later one is what was judged.
    later = np.concatenate([one.place[1:] != one.place[:-1], [True]])
    return raised[one.place] & later


def choose(train: Sequence[Labelled], scores: Sequence[Scores], profile: NabProfile, smooth: int) -> float:
    """The threshold whose neighbourhood of half a decade of alarm shares scores best on the training series."""
    judged = [score[np.isfinite(score) & (np.arange(len(score)) >= 0.15 * len(score))] for score, _ in scores]
    pool = np.sort(np.concatenate(judged))
    if not len(pool) or pool[0] == pool[-1]:
        return np.inf
    thresholds = np.quantile(pool, 1 - SHARES)
    curve = []
    for threshold in thresholds:
        raw = [one.sweep.raw(alarms(one, score, threshold), profile) for one, (score, _) in zip(train, scores, strict=True)]
        curve.append(nab_score(raw, [one.sweep for one in train], profile))
    padded = np.pad(np.array(curve), smooth, mode="edge")
    level = np.convolve(padded, np.ones(2 * smooth + 1) / (2 * smooth + 1), mode="valid")
    return float(thresholds[int(np.argmax(level))])


@dataclass
class Result:
    """Raw scores per profile, VUS-PR, alarms and windows found, an entry per scored series."""

    series: list[Labelled]
    raw: dict[str, list[float]]
    vus: list[float]
    alarms: list[int]

    def mean_vus(self, rows: np.ndarray) -> float:
        """Mean VUS-PR of some series."""
        return float(np.nanmean(np.array(self.vus)[rows]))

    def standard(self, rows: np.ndarray, profile: str) -> float:
        """Normalised score of some series; NaN where none of them has a labelled window."""
        weights = PROFILES[profile]
        if not any(self.series[i].sweep.n_windows for i in rows):
            return float("nan")
        return nab_score([self.raw[profile][i] for i in rows], [self.series[i].sweep for i in rows], weights)


PROFILES = {"nab_standard": STANDARD, "nab_low_fp": LOW_FALSE_POSITIVE}


def run(detect: Detect, folds: Sequence[tuple[list[Labelled], list[Labelled]]], smooth: int = SMOOTH) -> Result:
    """Fit, choose thresholds and score, fold by fold."""
    result = Result([], {name: [] for name in PROFILES}, [], [])
    for train, test in folds:
        both = detect(train, [*train, *test])
        own, scored = both[: len(train)], both[len(train) :]
        thresholds = {name: choose(train, own, profile, smooth) for name, profile in PROFILES.items()}
        for one, (score, severity) in zip(test, scored, strict=True):
            result.series.append(one)
            for name, profile in PROFILES.items():
                result.raw[name].append(one.sweep.raw(alarms(one, score, thresholds[name]), profile))
            result.alarms.append(int(alarms(one, score, thresholds["nab_standard"]).sum()))
            known = severity[np.isfinite(severity)]
            ranked = one.rows(severity, float(known.min()) if len(known) else 0.0)
            result.vus.append(vus_pr(one.label, ranked, window=VUS_WINDOW) if 0 < one.label.sum() < len(ranked) else float("nan"))
    return result


def interval(value_of: Callable[[np.ndarray], float], n: int, rng: np.random.Generator) -> tuple[float, float]:
    """90 % bootstrap interval over series."""
    values = [value_of(rng.integers(0, n, n)) for _ in range(ROUNDS)]
    low, high = np.nanpercentile(values, [5, 95])
    return float(low), float(high)


def accuracy(data: Path, test_data: Path | None, seed: int) -> dict[str, float]:
    """NAB scores and VUS-PR of every detector."""
    series = read(data / "nab")
    if test_data is None:
        folds = [
            ([one for one in series if one.exchange != held], [one for one in series if one.exchange == held])
            for held in sorted({one.exchange for one in series})
        ]
        how = "thresholds leave one exchange out"
    else:
        folds = [(series, read(test_data / "nab"))]
        how = f"thresholds from {len(series)} other series"
    metrics: dict[str, float] = {}
    table, details = [], []
    for prefix, (name, detect) in DETECTORS.items():
        result = run(detect, folds)
        rows = np.arange(len(result.series))
        measures: dict[str, Callable[[np.ndarray], float]] = {
            **{profile: partial(result.standard, profile=profile) for profile in PROFILES},
            "vus_pr": result.mean_vus,
        }
        cells = []
        for measure, value_of in measures.items():
            key = f"{prefix}_{measure}" if prefix else measure
            low, high = interval(value_of, len(rows), np.random.default_rng([seed, 1]))
            metrics |= {key: value_of(rows), f"{key}_low": low, f"{key}_high": high}
            digits = 3 if measure == "vus_pr" else 1
            cells.append(f"{metrics[key]:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]")
        table.append([name, *cells, str(sum(result.alarms))])
        if not prefix:
            for i, one in enumerate(result.series):
                own = [f"{result.standard(np.array([i]), profile):.1f}" for profile in PROFILES]
                details.append([one.name, str(one.sweep.n_windows), str(result.alarms[i]), *own, f"{result.vus[i]:.3f}"])
    windows = sum(one.sweep.n_windows for one in result.series)
    metrics |= {"series": float(len(result.series)), "windows": float(windows)}
    show(f"NAB realAdExchange, {len(result.series)} series, {windows} windows; {how}; 36 h silence for all",
         ["detector", "standard", "low false positive", "VUS-PR (24 h)", "alarms"], table)  # fmt: skip
    print(
        f"Intervals: 90 %, bootstrap over series. With so few they are at best +-8 points wide; one window is {100 / windows:.0f} points."
    )
    other = {span: run(DETECTORS[""][1], folds, smooth) for span, smooth in (("a quarter of a decade", 5), ("a decade", 20))}
    every = np.arange(len(result.series))
    said = [f"{' / '.join(f'{found.standard(every, profile):.1f}' for profile in PROFILES)} over {span}" for span, found in other.items()]
    print(f"So few windows leave the threshold uncertain too: smoothed otherwise than over half a decade, {'; '.join(said)}.")
    print(PUBLISHED)
    show("AnomalyDetector by series", ["series", "windows", "alarms", "standard", "low false positive", "VUS-PR"], details)
    return metrics


def _noise(series: int, points: int, step: timedelta, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    season = 24 if step < timedelta(days=1) else 7
    values = np.exp(0.3 * np.sin(2 * np.pi * np.arange(points) / season) + 0.15 * rng.standard_normal((series, points)))
    times = pl.datetime_range(datetime(2026, 1, 1), datetime(2026, 1, 1) + step * (points - 1), step, eager=True)  # noqa: DTZ001
    return pl.DataFrame(
        {
            "series_id": np.repeat([f"s{i:05d}" for i in range(series)], points),
            "metric": "cpc",
            "timestamp": pl.concat([times] * series),
            "value": values.ravel(),
        }
    )


def cost(seed: int) -> dict[str, float]:
    """CPU from a table to findings: hourly series, then daily ones from 10 to 10,000, and one day at a time."""
    hourly = _noise(60, 24 * 60, timedelta(hours=1), seed)
    detector = AnomalyDetector().fit(hourly.filter(pl.col("series_id") < "s00010"))
    started = time.process_time()
    detector.detect(hourly)
    hourly_rate = hourly.height / (time.process_time() - started)
    metrics = {"points_per_cpu_second": hourly_rate}
    rows = [["hourly, 60 series x 60 days, detect", f"{hourly_rate:,.0f}", ""]]
    per_series = {}
    train = _noise(10, 120, timedelta(days=1), seed)
    for count in (10, 100, 1_000, 10_000):
        daily = _noise(count, 60, timedelta(days=1), seed + 1)
        repeats = max(1, 300 // count)
        detector = AnomalyDetector().fit(train)
        started = time.process_time()
        for _ in range(repeats):
            detector.detect(daily)
        used = (time.process_time() - started) / repeats
        per_series[count] = 1000 * used / count
        metrics[f"cpu_ms_per_series_{count}"] = per_series[count]
        rows.append([f"daily, {count:,} series x 60 days, detect", f"{daily.height / used:,.0f}", f"{per_series[count]:.2f}"])
    exponent = np.polyfit(np.log(list(per_series)), np.log([v * k for k, v in per_series.items()]), 1)[0]
    metrics["cost_growth_exponent"] = float(exponent)
    metrics["cost_ratio_10000_to_100"] = per_series[10_000] / per_series[100]
    many = _noise(2_000, 64, timedelta(days=1), seed + 2)
    first = pl.lit(date(2026, 3, 1))
    detector = AnomalyDetector().fit(many.filter(pl.col("timestamp") < first))
    days = sorted(many.filter(pl.col("timestamp") >= first)["timestamp"].unique())
    started = time.process_time()
    for day in days:
        detector.update(many.filter(pl.col("timestamp") == day))
    rate = 2_000 * len(days) / (time.process_time() - started)
    metrics["update_points_per_cpu_second"] = rate
    rows.append([f"daily, 2,000 series, update day by day ({len(days)} days)", f"{rate:,.0f}", ""])
    growth = ", ".join(f"{b / a:.2f}" for a, b in pairwise(per_series.values()))
    show("CPU from table to findings", ["what", "points per CPU second", "CPU ms per series"], rows)
    print(f"Cost per series, each step of ten over the one before: {growth}; growth exponent {exponent:.3f} (1 is proportional).")
    return metrics


def _laws(rng: np.random.Generator, series: int, days: int) -> dict[str, np.ndarray]:
    """Normal days of several kinds, log scale, spread 1."""
    shocks = rng.normal(size=(series, days))
    memory = shocks.copy()
    for day in range(1, days):
        memory[:, day] = 0.5 * memory[:, day - 1] + shocks[:, day]
    rhythm = 3 * rng.normal(size=(series, 7))
    wander = np.cumsum(0.15 * rng.normal(size=(series, days)), axis=1)
    return {
        "independent": shocks,
        "autoregressive": memory,
        "heavy_tails": rng.standard_t(3, size=(series, days)),
        "weekly": shocks + rhythm[:, np.arange(days) % 7],
        "wandering_level": shocks + wander,
        "mixed_spread": shocks * rng.lognormal(0, 0.7, size=(series, 1)),
    }


def false_alarms(seed: int) -> dict[str, float]:
    """Stated against realised false alarms on days without incidents, fitted on the days before; mean of three simulations."""
    series, train, test, rounds, sensitivities = 150, 200, 100, 3, (0.9, 0.95, 0.99)
    found: dict[tuple[str, float], list[float]] = {}
    cut = pl.lit(datetime(2026, 1, 1) + timedelta(days=train))  # noqa: DTZ001
    for number in range(rounds):
        for law, noise in _laws(np.random.default_rng([seed, 2, number]), series, train + test).items():
            frame = _noise(series, train + test, timedelta(days=1), seed).with_columns(value=pl.Series(np.exp(0.15 * noise).ravel()))
            detector = AnomalyDetector().fit(frame.filter(pl.col("timestamp") < cut))
            for sensitivity in sensitivities:
                detector.sensitivity = sensitivity
                alarms = len(detector.detect(frame.filter(pl.col("timestamp") >= cut)))
                realised = alarms / (series * test / 30)
                found.setdefault((law, sensitivity), []).append(realised / detector.expected_false_alarms_per_month)
    laws = list(dict.fromkeys(law for law, _ in found))

    def cell(values: list[float]) -> str:
        return f"{np.mean(values):.2f} [{min(values):.2f}, {max(values):.2f}]"

    rows = [[law, *(cell(found[law, s]) for s in sensitivities)] for law in laws]
    title = f"False alarms, realised over stated (range of {rounds} simulations of {series} daily series x {test} days)"
    stated = [f"{s:g}: {AnomalyDetector(s).expected_false_alarms_per_month:.2f} a month" for s in sensitivities]
    show(title, ["noise", *stated], rows)
    return {f"false_alarm_ratio_{law}_{s:g}": float(np.mean(values)) for (law, s), values in found.items()}


def main() -> None:
    """Run everything."""
    options = arguments(__doc__).parse_args()
    metrics = accuracy(options.data, options.test_data, options.seed)
    metrics |= false_alarms(options.seed)
    metrics |= cost(options.seed)
    write_json(options.json, metrics)


if __name__ == "__main__":
    main()
