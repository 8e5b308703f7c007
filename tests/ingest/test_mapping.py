"""Declared mappings, on small files and on real ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import polars as pl
import pytest

from tests.ingest.conftest import NOW, ReadText, check_law
from within_pipelines.exceptions import MappingError
from within_pipelines.ingest import Account, AccountsFile, Mapping, ReadResult, load_mapping, read_export

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def mapping_of(**fields: object) -> Mapping:
    base = {"platform": "shop", "account": {"constant": "a"}, "campaign": "camp", "date": "day", "metrics": {"clicks": "clicks"}}
    return Mapping.model_validate({**base, **fields})


@pytest.fixture
def real(public_data: Path) -> Callable[[str, str], ReadResult]:
    def reader(mapping: str, file: str) -> ReadResult:
        result = read_export(public_data / file, mapping=load_mapping(EXAMPLES / mapping), ingested_at=NOW)
        check_law(result)
        assert result.status == "ingested"
        return result

    return reader


def test_adwords_daily(public_data: Path, real: Callable[[str, str], ReadResult]) -> None:
    result = real("adwords_daily.yaml", "adwords_daily.csv.gz")
    facts, raw = pl.DataFrame(result.facts), pd.read_csv(public_data / "adwords_daily.csv.gz")
    bad = raw[raw.clicks > raw.impressions]
    assert result.rows_in == len(raw)
    assert set(result.quarantine["reason"].to_pylist()) == {"clicks_exceed_impressions"}
    assert result.rows_quarantined == len(bad)
    assert facts["impressions"].sum() + bad.impressions.sum() == raw.impressions.sum()
    assert facts["clicks"].sum() + bad.clicks.sum() == raw.clicks.sum()
    assert str(facts["event_date"].min()) == raw.date.min()
    assert facts["currency"].unique().to_list() == ["XXX"]


def test_online_advertising(public_data: Path, real: Callable[[str, str], ReadResult]) -> None:
    result = real("online_advertising.yaml", "online_advertising.csv")
    facts, raw = pl.DataFrame(result.facts), pd.read_csv(public_data / "online_advertising.csv")
    assert (result.rows_in, result.rows_quarantined) == (len(raw), 0)
    assert facts["impressions"].sum() == raw.displays.sum()
    assert facts["clicks"].sum() == raw.clicks.sum()
    assert facts["spend_micros"].sum() == pytest.approx(raw.cost.sum() * 1e6, abs=len(raw))
    assert facts["revenue_micros"].sum() == pytest.approx(raw.revenue.sum() * 1e6, abs=len(raw))
    assert facts["conversions"].sum() == raw.post_click_conversions.sum()
    assert facts["event_date"].n_unique() == raw.groupby(["month", "day"]).ngroups


def test_facebook_conversions(public_data: Path, real: Callable[[str, str], ReadResult]) -> None:
    result = real("facebook_conversions.yaml", "facebook_conversions.csv")
    facts, raw = pl.DataFrame(result.facts), pd.read_csv(public_data / "facebook_conversions.csv")
    assert (result.rows_in, result.rows_quarantined) == (len(raw), 0)
    assert facts["impressions"].sum() == raw.Impressions.sum()
    assert facts["spend_micros"].sum() == pytest.approx(raw.Spent.sum() * 1e6, abs=len(raw))
    assert facts["conversions"].sum() == raw.Approved_Conversion.sum()
    assert facts["grain"].unique().to_list() == ["ad|age,gender,interest"]
    women = facts.filter(pl.col("breakdown").str.contains("gender=female"))["clicks"].sum()
    assert women == raw[raw.gender == "F"].Clicks.sum()


def test_upworthy_packages(public_data: Path, real: Callable[[str, str], ReadResult]) -> None:
    result = real("upworthy_packages.yaml", "upworthy_packages.parquet")
    facts, raw = pl.DataFrame(result.facts), pd.read_parquet(public_data / "upworthy_packages.parquet")
    creatives = pl.DataFrame(result.creatives)
    # 52 packages carry week 00 of 2015, which ISO does not have; their week is not guessed.
    bad = raw[raw.test_week % 100 == 0]
    assert (result.rows_in, result.rows_quarantined, len(bad)) == (len(raw), 52, 52)
    assert set(result.quarantine["reason"].to_pylist()) == {"bad_date"}
    assert facts["impressions"].sum() + bad.impressions.sum() == raw.impressions.sum()
    assert facts["clicks"].sum() + bad.clicks.sum() == raw.clicks.sum()
    raw = raw.drop(bad.index)
    assert set(facts["event_date"].dt.weekday().to_list()) == {1}
    assert creatives.height == len(raw)
    assert creatives.filter(pl.col("ad_id") == "1")["headline"][0] == raw.headline[0].strip()
    assert creatives["ad_group_id"].n_unique() == raw.groupby(["clickability_test_id", "eyecatcher_id"], dropna=False).ngroups


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.yaml")))
def test_every_example_is_valid_and_listed(name: str) -> None:
    mapping = load_mapping(EXAMPLES / name)
    assert mapping.files.startswith(name.removesuffix(".yaml"))
    assert f"`{name}`" in (EXAMPLES / "README.md").read_text()


def test_a_mapping_reads_any_delimiter_decimal_comma_and_micros(read: ReadText) -> None:
    mapping = mapping_of(
        delimiter="|",
        decimal=",",
        date={"column": "day", "format": "%d.%m.%y"},
        currency="cur",
        metrics={"clicks": "clicks", "spend": "cost", "revenue": {"column": "rev", "unit": "micros"}},
        breakdowns={"size": "size"},
        values={"size": {"L": "large"}},
        attribution={"constant": "last click"},
    )
    found = read(
        "title\nday|camp|clicks|cost|rev|cur|size\n05.03.26|A|1.000|1,5|250|eur|L\n05.03.26|A|7|2|1|EUR|x=y|\n", "x.csv", mapping=mapping
    )
    fact = found.facts.row(0, named=True)
    assert (fact["clicks"], fact["spend_micros"], fact["revenue_micros"], fact["currency"]) == (1000, 1_500_000, 250, "EUR")
    assert found.facts["breakdown"].to_list() == ["size=large", "size=x:y"]
    assert (fact["grain"], fact["attribution"], fact["campaign_id"]) == ("campaign|size", "last click", "A")


def test_a_year_may_stand_in_a_column_and_a_day_may_be_a_range(read: ReadText) -> None:
    parts = mapping_of(date={"month": "m", "day": "d", "year": "y"})
    assert read("m,d,y,camp,clicks\n4,5,2026,A,1\n", "x.csv", mapping=parts).facts["event_date"].cast(str).to_list() == ["2026-04-05"]
    ranged = mapping_of(date={"start": "from", "end": "to"})
    assert read("from,to,camp,clicks\n2026-04-05,2026-04-06,A,1\n", "x.csv", mapping=ranged).reasons == ["range_row"]


def test_the_accounts_file_says_what_a_mapping_leaves_open(read: ReadText) -> None:
    accounts = AccountsFile(accounts={"a": Account(currency="CHF", timezone="Europe/Zurich")})
    mapping = mapping_of(metrics={"spend": "s"})
    found = read("day,camp,s\n2026-04-05,A,1\n", "x.csv", mapping=mapping, accounts=accounts)
    assert found.facts.select("currency", "timezone").rows() == [("CHF", "Europe/Zurich")]
    assert read("day,camp,s\n2026-04-05,A,1\n", "x.csv", mapping=mapping).reasons == ["missing_currency"]


def test_a_file_that_lacks_a_mapped_column_is_refused(read: ReadText) -> None:
    found = read("day,clicks\n2026-01-01,1\n2026-01-02,1\n", "x.csv", mapping=mapping_of())
    assert found.reasons == ["missing_column", "missing_column"]
    assert "'camp'" in found.result.reason
    assert read("a,b\n1,2\n", "x.csv", mapping=mapping_of()).reasons == ["missing_column"]
    assert read("day,camp,camp,clicks\n2026-01-01,A,B,1\n", "x.csv", mapping=mapping_of()).reasons == ["duplicate_column"]


def test_a_mapping_without_metrics_reads_creatives(read: ReadText) -> None:
    mapping = Mapping.model_validate({"platform": "shop", "account": "acc", "ad": "id", "creative": {"headline": "h"}})
    found = read("acc,id,h\n1,2,Hello\n1,2,Other\n1,3,\n", "x.csv", mapping=mapping)
    assert found.reasons == ["conflicting_rows", "conflicting_rows"]
    assert found.creatives["ad_id"].to_list() == ["3"]


def test_a_damaged_parquet_file_is_refused(read: ReadText) -> None:
    assert read(b"PAR1" + b"\0" * 50, "x.parquet", mapping=mapping_of()).reasons == ["not_text"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "no valid YAML"),
        ("- a", "holds a list"),
        ("platform: Shop", "platform"),
        ("platform: shop\nmetrics: {clicks: c}", "metrics need a date"),
        ("platform: shop", "give metrics"),
        ("platform: shop\ndate: d\nmetrics: {clicks: c}\nzone: UTC", "zone"),
        ("platform: shop\ndate: d\nmetrics: {clicks: c}\ntimezone: Mars/Base", "no IANA time zone"),
        ("platform: shop\ndate: {month: m}\nmetrics: {clicks: c}", "month needs day and year"),
        ("platform: shop\ndate: {start: m}\nmetrics: {clicks: c}", "go together"),
        ("platform: shop\ndate: {column: c, iso_week: w}\nmetrics: {clicks: c}", "exactly one"),
        ("platform: shop\ndate: d\nad: {columns: [a], constant: b}\nmetrics: {clicks: c}", "exactly one"),
        ("platform: shop\ndate: d\ncurrency: {constant: Euro}\nmetrics: {clicks: c}", "three-letter"),
        ("platform: shop\ndate: d\nvalues: {age: {a: b}}\nmetrics: {clicks: c}", "not declared"),
        ("platform: shop\ndate: d\nmetrics: {clicks: {column: c, unit: cents}}", "unit"),
        ("!!python/object/apply:os.system ['true']", "no valid YAML"),
    ],
)
def test_a_broken_mapping_says_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(text)
    with pytest.raises(MappingError, match=message):
        load_mapping(path)
