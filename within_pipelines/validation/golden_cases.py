"""The hard cases that ship with the repository, made from the frozen samples.

`python -m within_pipelines.validation.golden_cases data/golden` writes every version of them; equal code gives equal bytes. They ask for
what holds for every sound model whatever it was trained on: order of rows means nothing, a text that is odd still gets a score, an account
whose efficiency has halved is in more danger than a steady one, a fall to a tenth is not a usual day, and usual days rarely look odd."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import polars as pl

from within_pipelines.validation.golden_sample import load_golden
from within_pipelines.validation.golden_set import GoldenCase, GoldenSet, Kind, Part, SliceExpectation, changed_set, write_golden_set

MADE_AT = "2026-06-01T12:00:00+00:00"
SLICES_AT = datetime.fromisoformat("2026-07-01T12:00:00+00:00")
MAKER = "within-pipelines"
# Days on which nothing was planted, before the first that has something.
USUAL_DAYS = (58, 61, 64)


def _ads(folder: Path) -> list[GoldenCase]:
    rows = load_golden(folder, "ad_score").rows
    cases = []
    for number, group in enumerate(rows["group_id"].unique(maintain_order=True)[:4]):
        ads = rows.filter(pl.col("group_id") == group)
        cases.append(
            GoldenCase(
                f"ad-order-{number + 1}",
                "ad_score",
                Part.HARD,
                "row order",
                Kind.INVARIANCE,
                (ads, ads.reverse()),
                ((0, 0), (1, ads.height - 1)),
                tolerance=1e-6,
                note="The order of rival ads in a request means nothing.",
            )
        )
    odd = {
        "emoji": pl.col("headline").str.contains("😴"), "other script": pl.col("headline").str.contains("保"),
        "empty": pl.col("headline") == "", "missing": pl.col("headline").is_null(), "markup": pl.col("headline").str.contains("<b>"),
    }  # fmt: skip
    for name, found in odd.items():
        at = int(rows.with_row_index().filter(found)["index"][0])
        group = rows["group_id"][at]
        ads = rows.filter(pl.col("group_id") == group)
        place = ads["ad_id"].to_list().index(rows["ad_id"][at])
        cases.append(
            GoldenCase(
                f"ad-odd-{name.replace(' ', '-')}",
                "ad_score",
                Part.HARD,
                "odd text",
                Kind.INTERVAL,
                (ads,),
                ((0, place),),
                low=0.0,
                high=100.0,
                note=f"A headline with {name} gets a score like any other.",
            )
        )
    return cases


def _accounts(folder: Path) -> list[GoldenCase]:
    facts = load_golden(folder, "account_health").rows

    def of(account: str) -> pl.DataFrame:
        return facts.filter(pl.col("account_id") == account)

    cases = [
        GoldenCase(
            "account-declining",
            "account_health",
            Part.HARD,
            "efficiency",
            Kind.ORDER,
            (of("golden-declining"), of("golden-steady")),
            ((0, 0), (1, 0)),
            note="Efficiency fell by half two weeks ago; the other account is steady.",
        ),
        GoldenCase(
            "account-order",
            "account_health",
            Part.HARD,
            "row order",
            Kind.INVARIANCE,
            (of("golden-steady"), of("golden-steady").reverse()),
            ((0, 0), (1, 0)),
            tolerance=1e-9,
            note="The order of an account's days in a file means nothing.",
        ),
    ]
    for account in ("golden-gaps", "golden-no-sales"):
        cases.append(
            GoldenCase(
                f"account-{account.removeprefix('golden-')}",
                "account_health",
                Part.HARD,
                "thin data",
                Kind.INTERVAL,
                (of(account),),
                ((0, 0),),
                low=-1.0,
                high=1.0,
                note="Days or sales are missing: a probability, or -1 for too little data.",
            )
        )
    return cases


def _series(folder: Path) -> list[GoldenCase]:
    series = load_golden(folder, "anomaly").rows
    cases = []
    for account, metric, day, low, high, note in (
        ("golden-a", "spend", 70, 0.0, 0.05, "Spend falls to a tenth."),
        ("golden-a", "clicks", 70, 0.0, 0.05, "Clicks fall to a tenth."),
        ("golden-b", "spend", 80, 0.0, 0.05, "Spend triples."),
        ("golden-b", "clicks", 65, 0.01, 1.0, "A usual day."),
        ("golden-a", "ctr", 60, 0.01, 1.0, "A usual day."),
    ):
        rows = _up_to(series, account, metric, day)
        slice_name = "incident shapes" if high < 1 else "quiet days"
        cases.append(
            GoldenCase(
                f"series-{account.removeprefix('golden-')}-{metric}-{day}",
                "anomaly",
                Part.HARD,
                slice_name,
                Kind.INTERVAL,
                (rows,),
                ((0, -1),),
                low=low,
                high=high,
                note=note,
            )
        )
    return cases


def _up_to(series: pl.DataFrame, account: str, metric: str, day: int) -> pl.DataFrame:
    until = pl.lit(series["timestamp"].min()).cast(pl.Date) + pl.duration(days=day)
    return series.filter((pl.col("account_id") == account) & (pl.col("metric") == metric) & (pl.col("timestamp").cast(pl.Date) <= until))


def _usual_days(folder: Path) -> list[GoldenCase]:
    series = load_golden(folder, "anomaly").rows
    return [
        GoldenCase(
            f"usual-{account.removeprefix('golden-')}-{metric}-{day}", "anomaly", Part.HARD, "usual days", Kind.INTERVAL,
            (_up_to(series, account, metric, day),), ((0, -1),), low=0.05, high=1.0,
            note="A day on which nothing happened.",
        )
        for account, metric in series.select("account_id", "metric").unique(maintain_order=True).rows()
        for day in USUAL_DAYS
    ]  # fmt: skip


def first_set(folder: Path) -> GoldenSet:
    """Version 1 of the golden set, from the frozen samples in `folder`: every case is wanted met."""
    cases = (*_ads(folder), *_accounts(folder), *_series(folder))
    return GoldenSet(1, "", "The cases that ship with the repository.", MAKER, MADE_AT, cases)


def shipped_set(folder: Path) -> GoldenSet:
    """Version 2, which ships: many usual days of which a sound model misses a few, and expectations of slices."""
    expect = (
        # A calibrated model meets each of the 24 with probability .95; of such, fewer than 1 in 100 meet less than 80 %.
        SliceExpectation(
            "anomaly", Part.HARD, "usual days", least_share=0.8, most_lost=3, low=0.25, high=0.9,
            note="One usual day in 20 has a p-value below .05 all the same; their mean is near .5.",
        ),
        SliceExpectation(
            "ad_score", Part.HARD, "odd text", low=10.0, high=90.0,
            note="Odd texts are neither all worthless nor all excellent.",
        ),
    )  # fmt: skip
    reason = "Usual days, most of which must look usual, and what is expected of slices as a whole."
    return changed_set(first_set(folder), add=_usual_days(folder), expect=expect, reason=reason, who=MAKER, now=SLICES_AT)


def main(arguments: Sequence[str]) -> None:
    """Write the versions of the shipped set to the one folder given, which holds the frozen samples, and point to the newest."""
    if len(arguments) != 1:
        raise SystemExit("usage: python -m within_pipelines.validation.golden_cases FOLDER")
    folder = Path(arguments[0])
    for version in (first_set(folder), shipped_set(folder)):
        write_golden_set(folder, version)


if __name__ == "__main__":
    main(sys.argv[1:])
