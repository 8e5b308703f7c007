"""Reading a 1M-row Google Ads export against polars and pandas reading the same file, and the as-of read of the facts by size."""

from __future__ import annotations

import statistics
import tempfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
from _common import arguments, child, middle, show, write_json

OURS = """
from datetime import datetime, UTC
from pathlib import Path
from within_pipelines.ingest import read_export
before = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
read = read_export(Path(sys.argv[1]), ingested_at=datetime(2026, 7, 1, 12, tzinfo=UTC))
result['cpu'] = sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) - before
result['rows'] = read.facts.num_rows
"""
QUALITY = (
    OURS
    + """
import polars as pl
from within_pipelines.lake import INGEST_LOG_COLUMNS
from within_pipelines.quality import check_facts
import great_expectations
before = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
check_facts(pl.DataFrame(read.facts), pl.DataFrame(INGEST_LOG_COLUMNS.empty_table()), today=datetime(2026, 7, 1).date())
result['cpu'] += sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) - before
"""
)
RIVAL = """
import {library}
before = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
frame = {library}.read_csv(sys.argv[1], {skip}=2)
result['cpu'] = sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) - before
result['rows'] = len(frame)
"""
AS_OF = """
from datetime import datetime, UTC
from within_pipelines.lake import Lake
lake = Lake(sys.argv[1])
lake.watermark()
before = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
facts = lake.facts(as_of=datetime(2026, 6, 30, tzinfo=UTC))
result['cpu'] = sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) - before
result['rows'] = facts.height
"""


def write_export(path: Path, rows: int, seed: int) -> None:
    """A clean Google Ads export of `rows` ad days."""
    rng = np.random.default_rng(seed)
    impressions = rng.integers(0, 20_000, rows)
    clicks = rng.binomial(impressions, 0.03)
    cost = rng.integers(0, 500_000, rows) / 100
    conversions = np.round(clicks * 0.04, 2)
    days = [str(date(2026, 6, 30) - timedelta(days=int(age))) for age in range(365)]
    header = "Day,Customer ID,Campaign ID,Ad group ID,Ad ID,Currency code,Impr.,Clicks,Cost,Conversions,Conv. value\n"
    with path.open("w") as handle:
        handle.write('Ad performance report\n"July 1, 2025 - June 30, 2026"\n' + header)
        for start in range(0, rows, 100_000):
            handle.write(
                "".join(
                    f"{days[i % 365]},123-456-7890,{i // 365 // 20},{i // 365 // 5},{i // 365},USD,{impressions[i]},{clicks[i]},"
                    f"{cost[i]:.2f},{conversions[i]:.2f},{conversions[i] * 50:.2f}\n"
                    for i in range(start, min(start + 100_000, rows))
                )
            )


def main() -> None:
    """Measure, print, write."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    contestants = {
        "read_export": OURS,
        "read_export + Great Expectations": QUALITY,
        "polars.read_csv": RIVAL.format(library="polars", skip="skip_rows"),
        "pandas.read_csv": RIVAL.format(library="pandas", skip="skiprows"),
    }
    metrics: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "google_ads.csv"
        write_export(path, options.rows, options.seed)
        found = {name: [child(code, str(path)) for _ in range(options.repeats)] for name, code in contestants.items()}
        base = statistics.median(x["cpu"] for x in found["polars.read_csv"])
        rows = []
        for name, results in found.items():
            cpu = [x["cpu"] for x in results]
            wanted = {"read_export": "<= 6", "read_export + Great Expectations": "<= 10"}.get(name, "")
            rows.append(
                [
                    name,
                    middle(cpu),
                    f"{statistics.median(cpu) / base:.1f}",
                    wanted,
                    f"{results[0]['peak_gb']:.2f}",
                    f"{results[0]['rows']:,.0f}",
                ]
            )
            key = name.replace(" + ", "_").replace(" ", "_").replace(".", "_").lower()
            metrics[f"{key}_cpu"], metrics[f"{key}_ratio"] = statistics.median(cpu), statistics.median(cpu) / base
        show(f"Reading {options.rows:,} rows: CPU seconds, median [range]", ["what", "CPU s", "x polars", "wanted", "GB", "rows"], rows)

        from within_pipelines.ingest import ingest
        from within_pipelines.lake import Lake

        sizes, seconds, rows = [], [], []
        for size in (125_000, 250_000, 500_000, 1_000_000):
            export, root = Path(scratch) / f"{size}.csv", Path(scratch) / f"lake-{size}"
            write_export(export, size, options.seed)
            ingest(Lake(root), [export], landing=Path(scratch), ingested_at=datetime(2026, 7, 1, 12, tzinfo=UTC))
            cpu = [child(AS_OF, str(root))["cpu"] for _ in range(options.repeats)]
            sizes.append(size)
            seconds.append(statistics.median(cpu))
            rows.append([f"{size:,}", middle(cpu)])
        exponent = float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])
        show(f"As-of read of all facts: growth exponent {exponent:.2f} (1 is linear)", ["rows", "CPU s"], rows)
        metrics["as_of_exponent"] = exponent
    write_json(options.json, metrics)


if __name__ == "__main__":
    main()
