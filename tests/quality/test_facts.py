"""Each expectation passes on sound facts and fails on the fault that it is for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import polars as pl
import pytest

from tests.lake.conftest import fact
from within_pipelines.lake import FACT_COLUMNS, INGEST_LOG_COLUMNS
from within_pipelines.quality import QualityReport, check_facts

TODAY = date(2026, 6, 1)


def sound() -> pl.DataFrame:
    rows = [
        fact(event_date=TODAY - timedelta(days=age), account_id=account, ad_id=ad, impressions=100 + (37 * age + 11 * ord(ad)) % 61)
        for age in range(1, 40)
        for account in ("1", "2")
        for ad in ("a", "b", "c")
    ]
    return pl.DataFrame(rows, schema=pl.DataFrame(FACT_COLUMNS.empty_table()).schema)


def log(lost: int = 0) -> pl.DataFrame:
    counts = {"rows_in": 10 + lost, "rows_accepted": 6, "rows_unchanged": 3, "rows_quarantined": 1}
    texts = {"file_sha256": "f", "file_name": "f.csv", "platform": "google_ads", "status": "ingested", "kind": "facts", "reason": ""}
    row = {**counts, **texts, "first_date": None, "last_date": None, "covered": [], "as_of": None}
    return pl.DataFrame([row], schema=pl.DataFrame(INGEST_LOG_COLUMNS.empty_table()).schema)


def failed(report: QualityReport) -> set[str]:
    return {result.name for result in report.results if not result.success}


def first_row(column: str, value: object) -> Callable[[pl.DataFrame], pl.DataFrame]:
    at_first = pl.int_range(pl.len()) == 0
    return lambda frame: frame.with_columns(pl.when(at_first).then(pl.lit(value)).otherwise(pl.col(column)).alias(column))


@pytest.mark.slow
def test_sound_facts_pass_everything_and_nothing_is_written(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    report = check_facts(sound(), log(), today=TODAY)
    assert failed(report) == set()
    assert report.critical_failures == report.warnings == ()
    assert report.to_frame().height == len(report.results) >= 18
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "critical", "spoil"),
    [
        ("facts_exist", True, lambda f: f.clear()),
        ("fact_key_is_unique", True, lambda f: pl.concat([f, f.head(1)])),
        ("currency_is_iso_4217", True, first_row("currency", "euro")),
        ("spend_micros_in_range", True, first_row("spend_micros", -1)),
        ("impressions_in_range", True, first_row("impressions", 2**62)),
        ("no_fact_from_the_future", True, first_row("event_date", TODAY + timedelta(days=1))),
        ("feeds_hold_together", False, lambda f: f.with_columns(impressions=pl.lit(100))),
        ("clicks_within_impressions", False, lambda f: f.with_columns(clicks=pl.lit(500))),
        ("feeds_are_fresh", False, lambda f: f.filter((pl.col("account_id") == "1") | (pl.col("event_date") < TODAY - timedelta(days=9)))),
        (
            "volume_is_usual",
            False,
            lambda f: f.filter((pl.col("event_date") < TODAY - timedelta(days=1)) | (pl.col("ad_id") == "a")),
        ),
    ],
)
def test_each_fault_is_found_with_its_severity(name: str, critical: bool, spoil: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    report = check_facts(spoil(sound()), log(), today=TODAY)
    assert name in failed(report)
    found = next(result for result in report.results if result.name == name)
    assert (found in report.critical_failures) is critical
    assert (found in report.warnings) is not critical


@pytest.mark.slow
def test_lost_rows_are_critical() -> None:
    report = check_facts(sound(), log(lost=2), today=TODAY)
    assert [result.name for result in report.critical_failures] == ["rows_add_up"]
