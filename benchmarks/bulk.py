"""A million rows through each predictor: processor seconds, and the highest memory with the model loaded, after a tenth, after all.

Each predictor answers in a process of its own, which loads a model that was fitted before. Ad score: headlines alone, 0.6 % of them
distinct (`contrasts`). Account health: feature rows, 50,000 at a time (`score_batches`). Anomalies: daily points of 200 days a series,
which the detector has never seen, 100 series at a time (`detect`), and then all in one table."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import date, timedelta
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import polars as pl
from _common import arguments, own_cpu, show, write_json
from ad_score import bulk, encoded, packages, peak_mb

from within_pipelines.features import ACCOUNT_FEATURES
from within_pipelines.prediction import AccountHealthPredictor, AnomalyDetector

FIRST = date(2026, 1, 5)
DAYS = 200
SERIES_AT_ONCE = 100
ROWS_AT_ONCE = 50_000


def feature_rows(rows: int, *, seed: int) -> pl.DataFrame:
    """Account feature rows, 40 origins an account, whose drops follow three of the features."""
    rng = np.random.default_rng(seed)
    columns = {name: 0.3 * rng.standard_normal(rows) for name in ACCOUNT_FEATURES.columns}
    columns["history_share"] = np.ones(rows)
    log_ratio = 0.5 * (columns["log_efficiency_7"] + columns["slope_cvr_28"] - 0.7 * columns["log_cpc_7"]) + 0.2 * rng.standard_normal(rows)
    account, origin = np.divmod(np.arange(rows), 40)
    return pl.DataFrame(
        {"platform": ["meta_ads"] * rows, "account_id": [f"A{a:06d}" for a in account], "campaign_id": [""] * rows}
    ).with_columns(
        pl.Series("origin", [FIRST + timedelta(days=3 * int(o)) for o in origin]),
        *(pl.Series(name, values) for name, values in columns.items()),
        spend_28=pl.Series(rng.uniform(500, 5000, rows)),
        clicks_28=pl.Series(rng.uniform(200, 4000, rows)),
        conversions_28=pl.Series(rng.uniform(20, 300, rows)),
        baseline_efficiency=pl.lit(0.05),
        recent_efficiency=pl.Series(0.05 * np.exp(columns["log_efficiency_7"])),
        target=pl.lit("conversions_per_cost"),
        currency=pl.lit("EUR"),
        log_ratio=pl.Series(log_ratio - 0.05),
        degraded=pl.Series(log_ratio - 0.05 < np.log(0.8)),
    )


def metric_rows(series: int, *, seed: int, first: int = 0) -> pl.DataFrame:
    """Daily spend of `series` accounts with a weekly rhythm and a wild day now and then."""
    rng = np.random.default_rng(seed)
    weekly = 1 + 0.2 * np.sin(2 * np.pi * np.arange(DAYS) / 7)
    values = 100 * weekly * np.exp(0.1 * rng.standard_normal((series, DAYS)))
    values[rng.random(values.shape) < 0.001] *= 5
    days = pl.Series([FIRST + timedelta(days=day) for day in range(DAYS)])
    return pl.DataFrame(
        {
            "account_id": np.repeat([f"A{first + i:06d}" for i in range(series)], DAYS),
            "metric": "spend",
            "timestamp": pl.concat([days] * series),
            "value": values.ravel(),
        }
    )


def health_answered(folder: Path, rows: int) -> dict[str, float]:
    """Account health, in the process that only answers."""
    predictor = AccountHealthPredictor.load(folder)
    batch = feature_rows(min(ROWS_AT_ONCE, rows), seed=5)

    def batches(of: int) -> Iterator[pl.DataFrame]:
        for start in range(0, of, batch.height):
            yield batch.head(of - start)

    found = {"rows": float(rows), "peak_mb_loaded": peak_mb()}
    answered = sum(table.height for table in predictor.score_batches(batches(rows // 10)))
    found["peak_mb_tenth"] = peak_mb()
    before = own_cpu()
    answered += sum(table["score"].count() for table in predictor.score_batches(batches(rows)))
    if answered != rows // 10 + rows:
        raise RuntimeError(f"{answered - rows // 10:,} of {rows:,} rows were answered with a score.")
    return found | {"cpu_seconds": own_cpu() - before, "peak_mb": peak_mb()}


def anomaly_answered(folder: Path, rows: int) -> dict[str, float]:
    """The anomaly detector, in the process that only answers."""
    detector = AnomalyDetector.load(folder)
    series = max(1, rows // DAYS)

    def judged(of: int) -> int:
        starts = range(0, of, SERIES_AT_ONCE)
        return sum(len(detector.detect(metric_rows(min(SERIES_AT_ONCE, of - start), seed=start + 1, first=start))) for start in starts)

    found = {"rows": float(series * DAYS), "series": float(series), "peak_mb_loaded": peak_mb()}
    judged(max(1, series // 10))
    found["peak_mb_tenth"] = peak_mb()
    before = own_cpu()
    found["findings"] = float(judged(series))
    made = -own_cpu()
    for start in range(0, series, SERIES_AT_ONCE):
        metric_rows(min(SERIES_AT_ONCE, series - start), seed=start + 1, first=start)
    made += own_cpu()
    found |= {"cpu_seconds": own_cpu() - before - 2 * made, "peak_mb": peak_mb()}
    whole = metric_rows(series, seed=1)
    found |= {"table_mb": whole.estimated_size("mb"), "peak_mb_table_made": peak_mb()}
    before = own_cpu()
    detector.detect(whole)
    return found | {"one_table_cpu_seconds": own_cpu() - before, "one_table_peak_mb": peak_mb()}


def alone(work, folder: Path, rows: int) -> dict[str, float]:
    """`work` in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        found: dict[str, float] = pool.submit(work, folder, rows).result()
        return found


def main() -> None:
    """Measure, print, write."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--encoder", default="best", help="of the ad score: best, a name, a folder, or none")
    parser.add_argument(
        "--only", nargs="+", choices=("ad_score", "account_health", "anomaly"), default=("ad_score", "account_health", "anomaly")
    )
    options = parser.parse_args()
    metrics: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in ("ad_score", "account_health", "anomaly"):
            if name not in options.only:
                continue
            folder = Path(scratch) / name
            if name == "ad_score":
                ads = packages(options.data)
                encoder, _, _ = encoded(options.encoder, ads)
                found = {
                    key.removeprefix("bulk_"): value for key, value in bulk(ads, encoder, rows=options.rows, seed=options.seed).items()
                }
            elif name == "account_health":
                AccountHealthPredictor().fit(feature_rows(960, seed=options.seed), seed=options.seed).save(folder)
                found = alone(health_answered, folder, options.rows)
            else:
                AnomalyDetector(0.99).fit(metric_rows(40, seed=options.seed)).save(folder)
                found = alone(anomaly_answered, folder, options.rows)
            found["rows_per_cpu_second"] = found["rows"] / found["cpu_seconds"]
            show(
                f"{name}: {found['rows']:,.0f} rows",
                ["what", "measured"],
                [[key, f"{value:,.3g}" if value < 1 else f"{value:,.1f}"] for key, value in found.items()],
            )
            metrics |= {f"{name}_{key}": value for key, value in found.items()}
    write_json(options.json, metrics)


if __name__ == "__main__":
    main()
