"""Simulated metric series for tests, and a detector fitted on some of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl

from within_pipelines.prediction.anomaly import AnomalyDetector

FIRST = date(2026, 1, 1)
# What comes before it is fitted on where a test has old and new days.
SPLIT = FIRST + timedelta(days=120)


def daily(values: np.ndarray, *, metric: str = "spend", first: date = FIRST) -> pl.DataFrame:
    """A long table of series x days, one account each."""
    series, days = values.shape
    return pl.DataFrame(
        {
            "platform": "google_ads",
            "account_id": np.repeat([f"account-{i:03d}" for i in range(series)], days),
            "metric": metric,
            "timestamp": [first + timedelta(days=int(d)) for d in np.tile(np.arange(days), series)],
            "value": values.ravel(),
        }
    )


def hourly(values: np.ndarray) -> pl.DataFrame:
    """A long table of series x hours."""
    series, hours = values.shape
    start = datetime(2026, 1, 1, 0, 0, 1)  # noqa: DTZ001
    return pl.DataFrame(
        {
            "series_id": np.repeat([f"s{i:03d}" for i in range(series)], hours),
            "metric": "cpc",
            "timestamp": [start + timedelta(hours=int(h)) for h in np.tile(np.arange(hours), series)],
            "value": values.ravel(),
        }
    )


def noise(kind: str) -> Callable[[np.random.Generator, tuple[int, int]], np.ndarray]:
    """Log-scale noise with unit spread: normal, heavy-tailed, or normal with a weekly rhythm that differs by series."""

    def weekly(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        rhythm = rng.normal(size=(shape[0], 7)) * 3
        return rng.normal(size=shape) + rhythm[:, np.arange(shape[1]) % 7]

    return {
        "normal": lambda rng, shape: rng.normal(size=shape),
        "heavy": lambda rng, shape: rng.standard_t(3, size=shape),
        "weekly": weekly,
    }[kind]


def steady(seed: int, *, series: int = 3, days: int = 160, spread: float = 0.1) -> np.ndarray:
    """Series x days around 100 with a weekly rhythm."""
    rng = np.random.default_rng(seed)
    rhythm = 1 + 0.2 * np.sin(2 * np.pi * np.arange(days) / 7)
    return 100 * rhythm * np.exp(spread * rng.normal(size=(series, days)))


def old(frame: pl.DataFrame) -> pl.DataFrame:
    """The days before `SPLIT`."""
    return frame.filter(pl.col("timestamp") < SPLIT)


def new(frame: pl.DataFrame) -> pl.DataFrame:
    """`SPLIT` and the days after it."""
    return frame.filter(pl.col("timestamp") >= SPLIT)


def fitted(seed: int = 1, **arguments: object) -> tuple[AnomalyDetector, pl.DataFrame]:
    """A detector fitted on the old days of three steady series, and their new days."""
    frame = daily(steady(seed))
    return AnomalyDetector(**arguments).fit(old(frame)), new(frame)  # type: ignore[arg-type]
