"""How each way to smooth a severity ranks labelled hours: on the ad-exchange series, and on worlds with planted incidents.

VUS-PR (24 h; 4 days on daily series) of what each idea makes of the same forecasts. The four series are judged by a detector fitted on
the other exchange, those of a world by one fitted on its other half. Worlds: *auction*, simulated hours of spend, clicks and impressions;
*auction, drifting*, where the daily rhythm drifts and budgets step; *noise*, autoregressive, heavy-tailed logarithms; *keywords*, real
daily clicks and click-through rates of 60 random bundles of keywords with a drop or rise of one to five days put in three times a year."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from _common import arguments, show, write_json
from anomaly import VUS_WINDOW, likelihood, nearest_neighbours, read, trailing_mean

from within_pipelines.prediction.anomaly import AnomalyDetector
from within_pipelines.prediction.anomaly.bank import Blank, layers
from within_pipelines.prediction.anomaly.forecast import MEMBERS, Windows
from within_pipelines.prediction.anomaly.series import observations
from within_pipelines.prediction.anomaly.severity import geometric_mean, sizes, smoothed
from within_pipelines.prediction.anomaly.stream import advance, predicted, unlearned
from within_pipelines.prediction.anomaly.vus import vus_pr

HOURS, SERIES, BUNDLES = 1600, 60, 60
_ALL = list(range(len(MEMBERS["ensemble_tail"])))
_PATTERNS = [number for number, name in enumerate(MEMBERS["ensemble_tail"]) if name != "ridge"]
START = datetime(2026, 1, 1)  # noqa: DTZ001
Array = np.ndarray


@dataclass(frozen=True)
class Planted:
    """One series on its grid with the labelled points; `window` is the buffer of VUS-PR."""

    values: Array
    label: Array
    metric: str
    step: timedelta
    window: int

    def frame(self, name: str) -> pl.DataFrame:
        """As a table for the detector."""
        times = pl.datetime_range(START, START + self.step * (len(self.values) - 1), self.step, eager=True)
        table = pl.DataFrame({"timestamp": times, "series_id": name, "metric": self.metric, "value": self.values})
        return table.filter(pl.col("value").is_not_nan())


@dataclass(frozen=True)
class Judged:
    """What the detector says of one series: its forecasts (members, T), p-values, and the severity that it ships; NaN before it judges."""

    deviation: Array
    scale: Array
    surprise: Array
    shipped: Array
    combined: Array
    combined_scale: Array
    grid: Array
    start: int
    season: int
    smooth: Callable[[Array], Array]

    def of_members(self, by_hour: bool, members: list[int]) -> Array:
        """How far some members were out (members, T), with or without the width of the hour."""
        # Without hours every slot is a new one: nothing is known of it yet.
        season = self.season if by_hour else self.deviation.shape[1] + 1
        blank = unlearned(1, len(self.deviation), season)
        return sizes(self.deviation[None], self.scale[None], np.array([True]), blank, start=self.start)[0][0, members]


def judged(detector: AnomalyDetector, frame: pl.DataFrame, grid: Array) -> Judged:
    """Run a series that the detector does not know through it."""
    fitted = detector._require()
    blank = Blank(fitted.laws, len(MEMBERS[detector.kind]))
    (layer,) = layers(observations(frame, what="The series"), fitted.banks, blank, logarithm=True)
    y, rhythm = layer.working(), layer.rhythm
    forecasts = predicted(layer.state, y, kind=detector.kind, rhythm=rhythm, start=layer.start)
    columns, _ = advance(
        layer.state, forecasts, y, blank.pooled(layer.metrics), layer.logarithm, half=fitted.half, rhythm=rhythm, start=layer.start
    )
    early = np.arange(y.shape[1]) < layer.judged_from[0]

    def late(values: Array) -> Array:
        return np.where(early, np.nan, values)

    return Judged(
        deviation=late(y - forecasts.expected[0]),
        scale=forecasts.scale[0],
        surprise=late(columns.surprise.size[0]),
        shipped=late(columns.severity[0]),
        combined=late((y - columns.expected)[0]),
        combined_scale=columns.scale[0],
        grid=grid,
        start=layer.start,
        season=Windows.of(rhythm).season,
        smooth=lambda far: smoothed(far[None], np.zeros(1), rhythm)[0][0],
    )


def multiple(deviation: Array, scale: Array) -> Array:
    """A rise by its multiple, a fall by its logarithm."""
    return np.where(deviation > 0, np.expm1(np.minimum(deviation, 20.0)), -deviation) / scale


def geometric(far: Array) -> Array:
    """Of members (members, T)."""
    return geometric_mean(far[None])[0]


def fading_maximum(x: Array, hours: float = 24.0) -> Array:
    """The largest value so far, each faded by exp(-age / hours)."""
    result, held = np.full(len(x), np.nan), 0.0
    for t in np.nonzero(np.isfinite(x))[0]:
        held = max(held * np.exp(-1.0 / hours), float(x[t]))
        result[t] = held
    return result


def scan(z: Array) -> Array:
    """Largest |sum z| / sqrt(n) over stretches of 1, 2, 4, ... 32 points that end here: spikes and shifts of the level alike."""
    total = np.concatenate([[0.0], np.cumsum(np.nan_to_num(z))])
    ends = np.arange(1, len(z) + 1)
    parts = [np.abs(total[ends] - total[np.maximum(ends - n, 0)]) / np.sqrt(n) for n in (1, 2, 4, 8, 16, 32)]
    return np.where(np.isfinite(z), np.max(parts, axis=0), np.nan)


IDEAS: dict[str, Callable[[Judged], Array]] = {
    "shipped: geometric mean of three, by the hour": lambda one: one.shipped,
    "before: combined forecast, root mean square": lambda one: one.smooth(multiple(one.combined, one.combined_scale)),
    "the same with one width for all hours": lambda one: one.smooth(geometric(one.of_members(False, _PATTERNS))),
    "root mean square of three, by the hour": lambda one: one.smooth(np.sqrt(np.mean(one.of_members(True, _PATTERNS) ** 2, axis=0))),
    "smallest of three, by the hour": lambda one: one.smooth(one.of_members(True, _PATTERNS).min(axis=0)),
    "geometric mean of all four, by the hour": lambda one: one.smooth(geometric(one.of_members(True, _ALL))),
    "smallest of all four, by the hour": lambda one: one.smooth(one.of_members(True, _ALL).min(axis=0)),
    "combined, falls by their multiple as well": lambda one: one.smooth(np.expm1(np.abs(one.combined)) / one.combined_scale),
    "combined, rises by their logarithm": lambda one: one.smooth(one.combined / one.combined_scale),
    "mean surprise (-log10 p)": lambda one: one.smooth(np.sqrt(one.surprise)),
    "likelihood of the surprise against all before": lambda one: likelihood(one.surprise),
    "highest surprise, fading over 24 points": lambda one: fading_maximum(one.surprise),
    "largest |sum z| / sqrt(n) up to 32 points, fading": lambda one: fading_maximum(scan(one.combined / one.combined_scale)),
    "k nearest neighbours, mean of 24 points": lambda one: trailing_mean(nearest_neighbours(one.grid), 24),
    "k nearest neighbours, 24-point likelihood": lambda one: likelihood(nearest_neighbours(one.grid)),
}


def _places(rng: np.random.Generator, count: int, first: int, last: int, apart: int) -> Array:
    while True:
        places = np.sort(rng.integers(first, last, count))
        if count == 1 or np.diff(places).min() > apart:
            return places


def _autoregressive(rng: np.random.Generator, hours: int, memory: float, shocks: Array) -> Array:
    x = np.zeros(hours)
    for t in range(1, hours):
        x[t] = memory * x[t - 1] + np.sqrt(1 - memory**2) * shocks[t]
    return x


def auction(rng: np.random.Generator, *, drifting: bool) -> Planted:
    """Cost per click or per thousand impressions, hour by hour; price spikes, changed bids, ramps, collapses of traffic."""
    t = np.arange(HOURS)
    clicks_an_hour, rate = np.exp(rng.uniform(np.log(30), np.log(1000))), np.exp(rng.normal(np.log(0.01), 0.4))
    busy = np.exp(rng.uniform(0.3, 1.0) * np.sin(2 * np.pi * (t - rng.uniform(0, 24)) / 24) + rng.normal(0, 0.15, 7)[t // 24 % 7])
    late, loud, steps = np.zeros(HOURS), np.ones(HOURS), np.zeros(HOURS)
    if drifting:
        late, loud = np.cumsum(0.05 * rng.normal(size=HOURS)), np.exp(0.02 * np.cumsum(rng.normal(size=HOURS)))
        for place in rng.integers(100, HOURS, 2):
            steps[place:] += rng.normal(0, 0.35)
    daily = rng.uniform(0.1, 0.4) * loud * np.sin(2 * np.pi * (t - rng.uniform(0, 24) + late) / 24)
    noise = rng.uniform(0.05, 0.15) * _autoregressive(rng, HOURS, rng.uniform(0.3, 0.8), rng.standard_t(5, HOURS))
    price = np.exp(0.006 * np.cumsum(rng.normal(size=HOURS)) + daily + rng.normal(0, 0.05, 7)[t // 24 % 7] + noise + steps)
    label, traffic = np.zeros(HOURS, dtype=bool), np.ones(HOURS)
    for first in _places(rng, int(rng.integers(1, 4)), 320, HOURS - 80, 160):
        shape, times = int(rng.integers(4)), np.exp(rng.uniform(np.log(1.5), np.log(4))) ** rng.choice([-1, 1], p=[0.35, 0.65])
        low, high, power = ((1, 4, 1.5), (12, 73, 0.6), (24, 73, 1.0), (6, 37, 0.0))[shape]
        length = int(rng.integers(low, high))
        rows = np.arange(first, min(first + length, HOURS))
        price[rows] *= times ** (power * ((rows - first + 1) / length if shape == 2 else 1.0))
        traffic[rows] *= rng.uniform(0.02, 0.2) if shape == 3 else 1.0
        label[rows] = True
    mean = clicks_an_hour * busy * np.exp(0.004 * np.cumsum(rng.normal(size=HOURS))) * traffic
    clicks = rng.negative_binomial(20, 20 / (20 + mean))
    views = np.maximum(rng.poisson(np.maximum(clicks, 0.5) / rate * np.exp(0.05 * rng.normal(size=HOURS))), 1)
    spend = np.where(clicks > 0, price * rng.gamma(np.maximum(clicks, 1) * 2.0) / 2.0, 0.0)
    metric = str(rng.choice(["cpc", "cpm"]))
    values = np.where(clicks > 0, spend / np.maximum(clicks, 1), np.nan) if metric == "cpc" else 1000 * spend / views
    return Planted(values, label, metric, timedelta(hours=1), VUS_WINDOW)


def noise(rng: np.random.Generator) -> Planted:
    """Logarithms of one spread at all hours; spikes, shifts, ramps and bursts of noise in units of it."""
    t, spread = np.arange(HOURS), rng.uniform(0.08, 0.3)
    freedom = rng.uniform(3, 10)
    shocks = rng.standard_t(freedom, HOURS) / np.sqrt(freedom / (freedom - 2))
    x = _autoregressive(rng, HOURS, rng.uniform(0, 0.7), shocks)
    day = sum(rng.uniform(0, 0.4) / k * np.sin(2 * np.pi * k * t / 24 + rng.uniform(0, 2 * np.pi)) for k in (1, 2))
    walk = np.cumsum(rng.normal(0, rng.uniform(0, 0.015), HOURS))
    label, added, wild = np.zeros(HOURS, dtype=bool), np.zeros(HOURS), np.ones(HOURS)
    for first in _places(rng, int(rng.integers(1, 4)), 320, HOURS - 80, 160):
        shape, size = int(rng.integers(4)), rng.uniform(3, 6) * spread * rng.choice([-1, 1])
        low, high, power = ((1, 4, 1.5), (12, 73, 0.6), (24, 73, 1.0), (12, 49, 0.0))[shape]
        length = int(rng.integers(low, high))
        rows = np.arange(first, min(first + length, HOURS))
        added[rows] += power * size * ((rows - first + 1) / length if shape == 2 else 1.0)
        wild[rows] = 3.0 if shape == 3 else 1.0
        label[rows] = True
    values = np.exp(day + rng.normal(0, 0.07, 7)[t // 24 % 7] + walk + spread * x * wild + added)
    return Planted(values, label, "cpc", timedelta(hours=1), VUS_WINDOW)


def keywords(data: Path, rng: np.random.Generator) -> list[Planted]:
    """Real days of bundles of keywords, every second one a click-through rate."""
    daily = pl.read_csv(data / "adwords_daily.csv.gz")
    ids = daily["id"].unique().sort()
    bundle = pl.DataFrame({"id": ids, "bundle": rng.integers(0, BUNDLES, len(ids))})
    summed = daily.join(bundle, on="id").group_by("bundle", "date").agg(pl.col("clicks", "impressions").sum()).sort("bundle", "date")
    found = []
    for number, (_, one) in enumerate(summed.group_by("bundle", maintain_order=True)):
        clicks, views = one["clicks"].to_numpy().astype(float), one["impressions"].to_numpy().astype(float)
        values = clicks / np.maximum(views, 1.0) if number % 2 else clicks
        label = np.zeros(len(values), dtype=bool)
        for first in _places(rng, 3, 70, len(values) - 15, 30):
            rows = np.arange(first, first + int(rng.integers(1, 6)))
            values[rows] *= rng.uniform(0.3, 0.6) if rng.random() < 0.5 else rng.uniform(1.7, 3.0)
            label[rows] = True
        found.append(Planted(values, label, "ctr" if number % 2 else "clicks", timedelta(days=1), 4))
    return found


def _ranked(one: Judged, idea: Callable[[Judged], Array], label: Array, window: int, place: Array | None = None) -> float:
    severity = idea(one)
    severity = np.where(np.isfinite(severity), severity, np.nanmin(severity))
    return vus_pr(label, severity if place is None else severity[place], window=window)


def on_exchanges(data: Path) -> dict[str, Array]:
    """VUS-PR of every idea on the four series."""
    series = read(data / "nab")
    answers = []
    for one in series:
        detector = AnomalyDetector().fit(pl.concat([other.frame for other in series if other.exchange != one.exchange]))
        answers.append(judged(detector, one.frame, one.grid))
    return {
        name: np.array([_ranked(a, idea, one.label, VUS_WINDOW, one.place) for a, one in zip(answers, series, strict=True)])
        for name, idea in IDEAS.items()
    }


def on_planted(series: list[Planted]) -> dict[str, Array]:
    """VUS-PR of every idea on each series; each half is judged by a detector fitted on the other."""
    frames = [one.frame(f"s{i}") for i, one in enumerate(series)]
    halves = [np.arange(len(series)) // 2 % 2 == half for half in (0, 1)]
    fitted = [AnomalyDetector().fit(pl.concat([frames[i] for i in np.nonzero(half)[0]])) for half in halves]
    answers = [judged(fitted[1 - i // 2 % 2], frame, one.values) for i, (frame, one) in enumerate(zip(frames, series, strict=True))]
    lengths = [len(a.shipped) for a in answers]  # a series ends with its last value
    return {
        name: np.array([_ranked(a, idea, one.label[:n], one.window) for a, one, n in zip(answers, series, lengths, strict=True)])
        for name, idea in IDEAS.items()
    }


def main() -> None:
    """Print the table."""
    options = arguments(__doc__).parse_args()
    rng = [np.random.default_rng([options.seed, 3, part]) for part in range(4)]
    worlds = {
        "exchanges": on_exchanges(options.data),
        "auction": on_planted([auction(rng[0], drifting=False) for _ in range(SERIES)]),
        "auction, drifting": on_planted([auction(rng[1], drifting=True) for _ in range(SERIES)]),
        "noise": on_planted([noise(rng[2]) for _ in range(SERIES)]),
        "keywords": on_planted(keywords(options.data, rng[3])),
    }
    rows, metrics = [], {}
    before = next(name for name in IDEAS if name.startswith("before"))
    for name in IDEAS:
        cells = []
        for world, found in worlds.items():
            more = found[name] - found[before]
            metrics[f"{world}/{name}"] = float(found[name].mean())
            spread = f" {more.mean():+.3f} ({more.std(ddof=1) / np.sqrt(len(more)):.3f})" if name != before and world != "exchanges" else ""
            cells.append(f"{found[name].mean():.3f}{spread}")
        rows.append([name, *cells])
    show("Mean VUS-PR over series; in the worlds with the paired difference to the form before and its standard error",
         ["severity", *worlds], rows)  # fmt: skip
    write_json(options.json, metrics)


if __name__ == "__main__":
    main()
