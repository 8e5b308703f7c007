"""Bad input: a clear result, and nothing lost."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from datetime import date

import polars as pl
import pytest

from tests.ingest.conftest import ReadText

HEADER = "Day,Customer ID,Currency code,Campaign ID,Ad group ID,Ad ID,Impr.,Clicks,Cost,Conversions\n"


def row(
    day: str = "2026-05-01", ad: object = 31, impressions: object = 100, clicks: object = 5, cost: object = "1.5", conversions: object = 1
) -> str:
    return f"{day},123-456-7890,EUR,11,21,{ad},{impressions},{clicks},{cost},{conversions}\n"


GOOD = row()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty_file"),
        (b"\n\n  \n", "empty_file"),
        (bytes(range(256)) * 20, "not_text"),
        (b"PK\x03\x04" + bytes(range(7, 7 + 64)), "not_text"),
        (b"%PDF-1.7 ...", "not_text"),
        (b"\x1f\x8b broken gzip", "damaged_archive"),
        (b"\xff\xfe" + b"a" * 33, "unknown_header"),
        (b"\xff\xfe\x00\xd8", "wrong_encoding"),
        (b"PAR1 no parquet", "unknown_header"),
        (b"a,b,c\n1,2,3\n", "unknown_header"),
        (b"just one line of prose", "unknown_header"),
    ],
)
def test_a_file_that_is_no_export_is_refused_as_one_row(read: ReadText, content: bytes, reason: str) -> None:
    found = read(content)
    assert found.result.status == "refused"
    assert found.reasons == [reason]
    assert found.quarantine["row_number"].to_list() == [0]
    assert found.result.reason.startswith(reason)


def test_a_header_without_rows_is_an_empty_export(read: ReadText) -> None:
    found = read(HEADER)
    assert (found.result.status, found.result.rows_in) == ("ingested", 0)
    assert found.result.reason.startswith("header_only")


def test_a_truncated_last_line_costs_only_itself(read: ReadText) -> None:
    found = read(HEADER + GOOD + row(ad=32)[:-20])
    assert found.reasons == ["truncated_row"]
    assert found.facts.height == 1
    quarantined = found.quarantine.row(0, named=True)
    assert quarantined["row_number"] == 3
    assert quarantined["raw"] == row(ad=32)[:-20]


def test_a_line_cut_inside_a_quote_costs_only_itself(read: ReadText) -> None:
    found = read(HEADER + row(impressions='"1,000"') + row(ad=32) + '2026-05-01,1,EUR,11,21,33,"1,0')
    assert found.reasons == ["malformed_row"]
    assert found.facts["impressions"].to_list() == [1000, 100]


def test_a_short_line_among_empty_last_fields_is_found_behind_quotes(read: ReadText) -> None:
    found = read(HEADER + row(impressions='"1,000"', conversions="") + "2026-05-02,1,EUR,11,21,31,5\n")
    assert found.reasons == ["truncated_row"]
    assert found.facts["conversions"].to_list() == [None]


def test_too_many_fields_are_no_row_and_trailing_separators_are(read: ReadText) -> None:
    found = read(HEADER + GOOD.strip() + ",7\n" + row(ad=32).strip() + ",,\n")
    assert found.reasons == ["too_many_fields"]
    assert found.facts["ad_id"].to_list() == ["32"]


def test_blank_lines_are_no_rows_and_lines_of_separators_are(read: ReadText) -> None:
    found = read(HEADER + GOOD + "\n   \n" + ",,,,,,,,,\n" + row(ad=32) + "\n\n")
    assert found.reasons == ["blank_row"]
    assert found.result.rows_in == 3


def test_the_header_again_is_no_fact(read: ReadText) -> None:
    assert read(HEADER + GOOD + HEADER + row(ad=32)).reasons == ["header_row"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_every_usual_encoding_is_read(read: ReadText, encoding: str) -> None:
    text = "Tag,Kundennummer,Währungscode,Kampagne,Klicks,Impr.\n2026-05-01,1,EUR,Frühjahr,5,10\n"
    assert read(text.encode(encoding)).facts["campaign_id"].to_list() == ["name:Frühjahr"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_line_end_is_read(read: ReadText, end: str) -> None:
    found = read((HEADER + GOOD + row(ad=32)).replace("\n", end))
    assert found.facts["ad_id"].to_list() == ["31", "32"]


def test_gzip_is_unpacked(read: ReadText) -> None:
    assert read(gzip.compress((HEADER + GOOD).encode()), "google_ads/1/a.csv.gz").facts.height == 1


def test_a_column_that_stands_twice_is_refused_when_it_is_needed(read: ReadText) -> None:
    found = read(HEADER.strip() + ",Cost\n" + GOOD.strip() + ",2\n")
    assert found.reasons == ["duplicate_column"]
    assert "'Cost'" in found.quarantine["detail"][0]
    assert read(HEADER.strip() + ",Note,Note\n" + GOOD.strip() + ",a,b\n").reasons == []


@pytest.mark.parametrize(
    ("header", "line", "reason", "advice"),
    [
        ("Customer ID,Currency code,Campaign ID,Impr.,Cost", "1,EUR,2,3,4", "missing_column", '"Day"'),
        ("Day,Customer ID,Campaign,Campaign ID,Impr.,Cost", "2026-05-01,1,B,2,3,4", "missing_currency", "Currency code"),
        ("Day,Currency code,Campaign,Campaign ID,Impr.,Cost", "2026-05-01,EUR,B,2,3,4", "missing_account", "Customer ID"),
        ("Campaign ID,Campaign,Customer ID", "1,B,2", "missing_column", "metric"),
    ],
)
def test_a_missing_column_is_named_with_where_to_add_it(read: ReadText, header: str, line: str, reason: str, advice: str) -> None:
    found = read(f"{header}\n{line}\n{line}9\n", "export.csv")
    assert found.result.status == "refused"
    assert found.reasons == [reason, reason]
    assert advice in found.result.reason


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (row(cost=-3), "negative_spend"),
        (row(impressions=-3), "negative_impressions"),
        (row(clicks=101), "clicks_exceed_impressions"),
        (row(conversions="NaN"), "not_finite"),
        (row(conversions="inf"), "not_finite"),
        (row(cost="-Infinity"), "not_finite"),
        (row(cost="nan"), "not_finite"),
        (row(impressions=2**63), "out_of_range"),
        (row(impressions=2**62), "out_of_range"),
        (row(cost="9" * 30), "out_of_range"),
        (row(conversions="1e300"), "out_of_range"),
        (row(impressions="1.5"), "bad_number"),
        (row(impressions="many"), "bad_number"),
        (row(cost="12 EUR?"), "bad_number"),
        (row(impressions="< 10"), "censored_value"),
        (row(conversions="< 10%"), "censored_value"),
        (row(day="2026-02-30"), "bad_date"),
        (row(day="soon"), "bad_date"),
        (row(day="0026-05-01"), "bad_date"),
        (row(day=""), "bad_date"),
        (row(day="2031-01-01"), "future_date"),
        (row(ad=""), "missing_id"),
        (row(ad="6.00E+11"), "damaged_id"),
    ],
)
def test_a_bad_row_is_set_aside_with_its_reason_and_text(read: ReadText, bad: str, reason: str) -> None:
    found = read(HEADER + row(ad=30) + bad + row(ad=32))
    assert found.reasons == [reason]
    assert found.quarantine["row_number"].to_list() == [3]
    assert found.quarantine["raw"].to_list() == [bad.strip()]
    assert found.facts["ad_id"].to_list() == ["30", "32"]


def test_an_account_id_that_a_spreadsheet_rounded_is_damaged(read: ReadText) -> None:
    assert read((HEADER + GOOD).replace("123-456-7890", "1.23E+09")).reasons == ["damaged_id"]
    both = read(HEADER + GOOD + row(ad=32).replace("123-456-7890", "1.23E+09") + row(ad=33).replace("123-456-7890", ""))
    assert both.reasons == ["damaged_id"]
    assert both.facts["ad_id"].to_list() == ["31", "33"]  # an empty account cell takes the folder's account


def test_the_detail_shows_the_cell(read: ReadText) -> None:
    assert read(HEADER + row(cost=-3)).quarantine["detail"][0] == "Cost is '-3': wanted zero or more"
    assert len(read(HEADER + row(cost="x" * 900)).quarantine["detail"][0]) < 150


def test_days_in_three_forms_are_read_and_an_open_order_is_not_guessed(read: ReadText) -> None:
    found = read(HEADER + row("2026-05-01") + row("02.05.2026") + row('"May 3, 2026"') + row("4/5/2026"))
    assert found.facts["event_date"].to_list() == [date(2026, 5, 1), date(2026, 5, 2), date(2026, 5, 3)]
    assert found.reasons == ["ambiguous_date"]


def test_clicks_may_exceed_impressions_where_the_platform_counts_so(read: ReadText) -> None:
    meta = "Day,Account ID,Ad set ID,Ad ID,Impressions,{clicks},Amount spent (EUR)\n2026-05-01,4,1,2,10,12,1\n"
    assert read(meta.format(clicks="Clicks (all)"), "a.csv").reasons == []
    assert read(meta.format(clicks="Link clicks"), "b.csv").reasons == ["clicks_exceed_impressions"]
    google = "Day,Customer ID,Currency code,Ad ID,Ad type,Impr.,Clicks,Cost\n2026-05-01,4,EUR,1,{kind},10,12,1\n"
    assert read(google.format(kind="In-stream video ad")).reasons == []
    assert read(google.format(kind="Text ad")).reasons == ["clicks_exceed_impressions"]


def test_a_currency_column_against_the_header_refuses_the_file(read: ReadText) -> None:
    found = read("Day,Account ID,Ad set ID,Currency,Impressions,Amount spent (USD)\n2026-05-01,4,1,EUR,10,1\n", "a.csv")
    assert (found.result.status, found.reasons) == ("refused", ["currency_conflict"])
    same = read("Day,Account ID,Ad set ID,Currency,Impressions,Amount spent (USD)\n2026-05-01,4,1,USD,10,1\n", "b.csv")
    assert same.facts["currency"].to_list() == ["USD"]


def test_equal_rows_count_once_and_conflicting_rows_not_at_all(read: ReadText) -> None:
    found = read(HEADER + GOOD + row(ad=32) + GOOD + row(ad=33) + row(ad=33, clicks=6))
    assert found.reasons == ["duplicate_row", "conflicting_rows", "conflicting_rows"]
    assert found.quarantine["row_number"].to_list() == [4, 5, 6]
    assert found.facts["ad_id"].to_list() == ["31", "32"]


def test_a_bad_row_does_not_make_its_good_twin_a_duplicate(read: ReadText) -> None:
    assert read(HEADER + GOOD + row(cost=-1)).reasons == ["negative_spend"]


def test_a_folder_of_another_platform_refuses_the_file(read: ReadText) -> None:
    assert read(HEADER + GOOD, "meta_ads/4/a.csv").reasons == ["platform_conflict"]


def test_the_folder_settles_an_ambiguous_header(read: ReadText) -> None:
    text = "Day,Account ID,Campaign ID,Ad ID,Impressions,Clicks,Cost,Currency\n2026-05-01,1,2,3,10,1,1,EUR\n"
    assert read(text, "export.csv").reasons == ["ambiguous_platform"]
    assert read(text, "tiktok_ads/1/export.csv").facts["platform"].to_list() == ["tiktok_ads"]


@pytest.mark.parametrize("sidecar", ["no json", "{}", '{"exported_at": 3}', '{"exported_at": "2026-05-03T05:00:00"}', "[]"])
def test_a_bad_sidecar_refuses_the_file(read: ReadText, tmp_path: object, sidecar: str) -> None:
    target = tmp_path / "google_ads/1/a.csv.meta.json"  # type: ignore[operator]
    target.parent.mkdir(parents=True)
    target.write_text(sidecar)
    assert read(HEADER + GOOD, "google_ads/1/a.csv").reasons == ["bad_sidecar"]


def test_a_sidecar_gives_the_export_time(read: ReadText, tmp_path: object) -> None:
    target = tmp_path / "google_ads/1/a.csv.meta.json"  # type: ignore[operator]
    target.parent.mkdir(parents=True)
    target.write_text('{"exported_at": "2026-05-03T07:30:00+02:00"}')
    found = read(HEADER + GOOD, "google_ads/1/a.csv")
    assert found.facts["as_of_source"].to_list() == ["sidecar"]
    assert found.facts["as_of"][0].isoformat() == "2026-05-03T05:30:00+00:00"


@pytest.mark.parametrize(("stamp", "reason"), [("20990101T000000", "future_export"), ("20261399T000000", "bad_export_time")])
def test_an_impossible_export_time_refuses_the_file(read: ReadText, stamp: str, reason: str) -> None:
    assert read(HEADER + GOOD, f"google_ads/1/a_asof_{stamp}Z.csv").reasons == [reason]


def test_a_file_name_with_a_newline_is_kept_printable(read: ReadText) -> None:
    found = read(HEADER + row(cost=-1), "google_ads/1/a\nb.csv")
    assert found.quarantine["file_name"].to_list() == ["google_ads/1/a\\nb.csv"]


def test_a_field_with_line_breaks_does_not_shift_the_line_numbers(read: ReadText) -> None:
    header = "Day,Customer ID,Currency code,Campaign,Ad ID,Impr.,Cost\n"
    found = read(f'{header}2026-05-01,1,EUR,"a\n\nb",1,10,1\n2026-05-01,1,EUR,x,2,10,-1\n')
    assert found.facts["campaign_id"].to_list() == ["name:a\n\nb"]
    assert found.quarantine["row_number"].to_list() == [5]


@pytest.fixture
def parquet() -> Callable[[pl.DataFrame], bytes]:
    def write(frame: pl.DataFrame) -> bytes:
        buffer = io.BytesIO()
        frame.write_parquet(buffer)
        return buffer.getvalue()

    return write


def test_a_parquet_file_without_mapping_is_refused(read: ReadText, parquet: Callable[[pl.DataFrame], bytes]) -> None:
    assert read(parquet(pl.DataFrame({"a": [1]}))).reasons == ["unknown_header"]
