"""Account features by size against pandas and polars.

Ours computes all columns of `ACCOUNT_FEATURES` point in time from versioned facts, for weekly origins. The rivals compute a part of that:
7- and 28-day trailing sums of five measures per campaign and day, from final values only. Partitioning by account counts for all."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

import numpy as np
from _common import arguments, child, middle, show, write_json

SETUP = """
import polars as pl
"""
OURS = (
    SETUP
    + """
from datetime import date, timedelta
from within_pipelines.features import account_features, run_by_account
last = date(2026, 6, 30)
origins = [last - timedelta(weeks=w) for w in range(24)][::-1]
def batches():
    scan = pl.scan_parquet(sys.argv[1])
    accounts = scan.select("account_id").unique().collect()["account_id"].sort().to_list()
    for start in range(0, len(accounts), 50):
        part = scan.filter(pl.col("account_id").is_in(accounts[start:start + 50])).collect()
        yield from (frame for _, frame in sorted(part.partition_by("account_id", as_dict=True).items()))
entity = ("platform", "account_id", "campaign_id")
result["rows"] = run_by_account(batches(), lambda h: account_features(h, origins=origins, entity=entity)).height
"""
)
POLARS = (
    SETUP
    + """
facts = pl.read_parquet(sys.argv[1])
m = ["impressions", "clicks", "spend_micros", "conversions", "revenue_micros"]
daily = facts.group_by("account_id", "campaign_id", "event_date").agg(pl.col(m).sum()).sort("account_id", "campaign_id", "event_date")
sums = [
    pl.col(c).cast(pl.Float64).rolling_sum_by("event_date", window_size=f"{w}d").over("account_id", "campaign_id").alias(f"{c}_{w}")
    for c in m for w in (7, 28)
]
result["rows"] = daily.with_columns(sums).height
"""
)
PANDAS = """
import pandas as pd
facts = pd.read_parquet(sys.argv[1])
m = ["impressions", "clicks", "spend_micros", "conversions", "revenue_micros"]
facts["event_date"] = pd.to_datetime(facts["event_date"])
daily = facts.groupby(["account_id", "campaign_id", "event_date"])[m].sum().reset_index().set_index("event_date")
parts = [daily.groupby(["account_id", "campaign_id"])[m].rolling(f"{w}D").sum() for w in (7, 28)]
result["rows"] = len(parts[0])
"""
MAKE = """
import numpy as np, polars as pl
from datetime import date
from within_pipelines.lake import FACT_COLUMNS
rows, seed = int(sys.argv[2]), int(sys.argv[3])
rng = np.random.default_rng(seed)
days, ads = 365, 12
accounts = max(1, rows // (days * ads))
n = accounts * ads * days
account, ad, day = np.unravel_index(np.arange(n), (accounts, ads, days))
impressions = rng.integers(100, 5000, n)
clicks = rng.binomial(impressions, 0.03)
end = pl.lit(date(2026, 6, 30))
frame = pl.DataFrame({"account": account, "ad": ad, "day": day, "impressions": impressions, "clicks": clicks}).with_columns(
    platform=pl.lit("google_ads"), account_id=pl.col("account").cast(pl.String).str.zfill(6),
    campaign_id=(pl.col("ad") // 4).cast(pl.String), ad_group_id=(pl.col("ad") // 2).cast(pl.String), ad_id=pl.col("ad").cast(pl.String),
    breakdown=pl.lit(""), attribution=pl.lit(""), grain=pl.lit("ad"), event_date=end - pl.duration(days=pl.col("day")),
    currency=pl.lit("USD"), timezone=pl.lit("UTC"), reach=pl.lit(None, pl.Int64), spend_micros=pl.col("clicks") * 500_000,
    conversions=pl.col("clicks") * 0.04, revenue_micros=pl.col("clicks") * 2_000_000, as_of_source=pl.lit("assumed_lag"),
    file_sha256=pl.lit("f"),
).with_columns(as_of=pl.col("event_date").cast(pl.Datetime("us", "UTC")) + pl.duration(hours=34), commit_seq=pl.lit(1, pl.Int64))
frame = frame.with_columns(ingested_at=pl.col("as_of")).drop("account", "ad", "day").sort("account_id", "ad_id", "event_date")
frame.write_parquet(sys.argv[1])
result["made"] = n
"""


def main() -> None:
    """Measure, print, write."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--large", action="store_true", help="also 20M rows")
    options = parser.parse_args()
    sizes = [1_000_000, 5_000_000, *([20_000_000] if options.large else [])]
    rows, metrics = [], {}
    ours: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        for size in sizes:
            path = str(Path(scratch) / "facts.parquet")
            child(MAKE, path, str(size), str(options.seed))
            for name, code in (("account_features", OURS), ("polars, 10 trailing sums", POLARS), ("pandas, 10 trailing sums", PANDAS)):
                found = [child(code, path) for _ in range(options.repeats if size == sizes[0] else 1)]
                cpu = [x["cpu"] for x in found]
                rows.append([f"{size:,}", name, middle(cpu), f"{found[0]['peak_gb']:.2f}", f"{found[0]['rows']:,.0f}"])
                key = f"{name.split(',')[0].split(' ')[0]}_{size // 1_000_000}m"
                metrics[f"{key}_cpu"], metrics[f"{key}_peak_gb"] = statistics.median(cpu), found[0]["peak_gb"]
                if name == "account_features":
                    ours.append(statistics.median(cpu))
    metrics["exponent"] = float(np.polyfit(np.log(sizes), np.log(ours), 1)[0])
    show(f"Account features; ours grows with exponent {metrics['exponent']:.2f}", ["fact rows", "what", "CPU s", "GB", "rows out"], rows)
    write_json(options.json, metrics)


if __name__ == "__main__":
    main()
