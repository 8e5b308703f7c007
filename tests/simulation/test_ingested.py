"""The package's own readers take the agency's files for what they are."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from tests.simulation.reading import END, SMALL, Agency, read_rows
from within_pipelines.ingest import ingest, landing_files, load_accounts, read_export
from within_pipelines.lake import Lake, maturity_curve
from within_pipelines.simulation.account import GERMAN_ACCOUNT, found_account
from within_pipelines.simulation.client import Client
from within_pipelines.simulation.words import Copywriter

pytestmark = pytest.mark.slow

NOW = datetime(END.year, END.month, END.day, 12, tzinfo=UTC) + timedelta(days=1)


@pytest.fixture(scope="module")
def lake(agency: Agency, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """The agency, ingested."""
    lake = Lake(tmp_path_factory.mktemp("lake"))
    report = ingest(lake, landing_files(agency.landing), landing=agency.landing, ingested_at=NOW)
    assert report.refused == 0
    assert report.rows_in == report.rows_accepted + report.rows_unchanged + report.rows_quarantined
    return lake


def test_only_the_planted_rows_and_totals_are_set_aside(agency: Agency, lake: Lake) -> None:
    quarantine = lake.quarantine()
    bad = quarantine.filter(pl.col("reason") != "total_row")
    found = Counter(zip(bad["file_name"], bad["row_number"], bad["reason"], strict=True))
    assert found == Counter((ugly.file, ugly.line, ugly.reason) for ugly in agency.truth.ugly_rows)


@pytest.mark.parametrize("index", [0, 1, 2, GERMAN_ACCOUNT, 4, 5])
def test_every_number_of_a_file_arrives_as_it_was_written(agency: Agency, index: int) -> None:
    accounts = load_accounts(agency.landing / "accounts.yaml")
    for path in (*agency.files(index, "*_backfill.csv"), agency.files(index, "*[0-9]_asof_*.csv")[-1]):
        facts = pl.from_arrow(read_export(path, landing=agency.landing, accounts=accounts, ingested_at=NOW).facts)
        assert isinstance(facts, pl.DataFrame)
        rows = read_rows(path, german=index == GERMAN_ACCOUNT)
        assert facts["account_id"].unique().to_list() == [agency.truth.accounts[index].account_id]
        assert facts["currency"].unique().to_list() == [agency.truth.accounts[index].currency]
        assert facts["timezone"].unique().to_list() == [agency.truth.accounts[index].timezone]
        read = facts.select("ad_id", pl.col("event_date").cast(pl.String), "impressions", "clicks", "spend_micros", "conversions")
        want = [(r.ad, r.day, r.impressions, r.clicks, round(r.cost * 1e6), r.conversions) for r in rows]
        assert sorted(read.rows()) == sorted(want)


def test_the_lake_knows_the_agencys_latest_figures_once(agency: Agency, lake: Lake) -> None:
    facts = lake.facts(grain="ad")
    assert sorted(lake.grains()) == ["ad", "ad|age,gender"]
    writer = Copywriter(SMALL.seed)
    for index in range(SMALL.accounts):
        account = found_account(SMALL.seed, index)
        client = Client(SMALL, index, SMALL.days - 1, writer)
        known = client.ledger.known(0, SMALL.days - 1, SMALL.days - 1)
        mine = facts.filter(pl.col("account_id") == account.account_id)
        assert mine.height == len(known.day)
        assert mine["impressions"].sum() == known.impressions.sum()
        assert mine["clicks"].sum() == known.clicks.sum()
        assert mine["spend_micros"].sum() == known.spend.sum() * 10 ** (6 - account.market.decimals)
        assert mine["conversions"].sum() == pytest.approx(known.conversions.sum(), abs=0.005 * len(known.day))
    parts = lake.facts(grain="ad|age,gender").group_by("ad_id", "event_date").agg(pl.col("impressions").sum().alias("parts"))
    joined = parts.join(facts, on=["ad_id", "event_date"], how="left")
    assert joined.filter(pl.col("parts") != pl.col("impressions")).is_empty()


def test_every_advertised_ad_has_its_text(lake: Lake) -> None:
    texts = lake.creatives().filter(pl.col("headline").is_not_null() & pl.col("audience_segment").is_not_null())
    advertised = lake.facts(grain="ad").select("platform", "account_id", "ad_id").unique()
    assert advertised.join(texts, on=["platform", "account_id", "ad_id"], how="anti").is_empty()


def test_maturity_estimated_from_the_exports_is_the_planted_lag(agency: Agency, lake: Lake) -> None:
    curve = maturity_curve(lake.history(grain="ad"))
    for lag in agency.truth.conversion_lag:
        account = next(a for a in agency.truth.accounts if a.platform == lag.platform)
        for age in (1, 3, 7):
            # The lake counts days from the event day: the export of the next morning is one day old.
            share = curve.share(lag.platform, account.account_id, "conversions", age)
            assert share == pytest.approx(lag.known_share(age - 1) / lag.known_share(13), abs=0.08)


def test_the_second_copy_of_a_file_changes_nothing(agency: Agency, lake: Lake) -> None:
    (copy,) = agency.truth.duplicate_files
    log = lake.ingest_log()
    assert log.filter(pl.col("file_name").is_in([copy, copy.replace("copy_of_", "")])).height == 1
