"""On the labelled cost series of two real ad exchanges (Numenta Anomaly Benchmark) the detector runs and finds more than chance would."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import polars as pl
from scipy import stats

from within_pipelines.prediction.anomaly import AnomalyDetector

PROBATION = 0.15


def read(path: Path) -> pl.DataFrame:
    """One exchange's series; one hour comes twice."""
    table = pl.read_csv(path).with_columns(pl.col("timestamp").str.to_datetime(), series_id=pl.lit(path.stem))
    return table.unique("timestamp", keep="last", maintain_order=True)


def test_alarms_fall_into_labelled_windows_more_often_than_by_chance(public_data: Path) -> None:
    windows = json.loads((public_data / "nab" / "windows.json").read_text())
    series = {name: read(public_data / "nab" / Path(name).name) for name in windows}
    inside = alarms = found = 0
    covered = judged = 0
    for name, labelled in windows.items():
        detector = AnomalyDetector(0.99).fit(pl.concat([table for other, table in series.items() if other != name]))
        table = series[name]
        scored = detector.score_series(table, limits=False)[int(PROBATION * table.height) :]
        spans = [tuple(datetime.fromisoformat(moment) for moment in window) for window in labelled]
        within = pl.any_horizontal(*(pl.col("timestamp").is_between(*span) for span in spans))
        hits = scored.filter(pl.col("alarm") & within)
        inside, alarms = inside + hits.height, alarms + scored["alarm"].sum()
        covered, judged = covered + scored.filter(within).height, judged + scored.height
        found += sum(hits.filter(pl.col("timestamp").is_between(*span)).height > 0 for span in spans)
    by_chance = stats.binom(alarms, covered / judged).sf(inside - 1)
    assert by_chance < 0.01
    assert found >= 3  # of 7
