"""The files look like the platforms' own, and their figures behave like real ones."""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from tests.simulation.reading import SMALL, Agency, Row, read_rows, text_of
from within_pipelines.simulation import load_truth, write_agency
from within_pipelines.simulation.account import GERMAN_ACCOUNT, WIDE_ACCOUNT

JAPANESE_ACCOUNT = 4


def lines_of(path: Path) -> list[str]:
    return text_of(path).splitlines()


def daily(agency: Agency, index: int) -> list[Path]:
    account = agency.truth.accounts[index]
    return agency.files(index, f"{account.platform}_{account.account_id}_asof_*.csv")


def test_google_has_a_preamble_dashes_and_totals(agency: Agency) -> None:
    lines = lines_of(daily(agency, 0)[-1])
    assert lines[0] == "Ad performance report"
    assert lines[1].startswith('"June 17, 2026 - June 30')
    assert lines[2].startswith("Day,Customer ID,Currency code,Campaign,Campaign ID")
    assert lines[3].split(",")[1].count("-") == 2
    assert [line.split(",")[0] for line in lines[-2:]] == ["Total: Account", "Total: Ads"]
    assert any(" --" in line for line in lines[3:-2]) or "0.00, --" not in "".join(lines)
    text = "\n".join(lines_of(agency.files(0, "*_backfill.csv")[0]))
    for ugliness in ('"1,', "%", " --", "> 90%"):
        assert ugliness in text


def test_googles_totals_are_the_sums_of_its_rows(agency: Agency) -> None:
    path = daily(agency, 0)[-1]
    total = next(csv.reader([lines_of(path)[-1]]))
    rows = read_rows(path)
    assert int(total[8].replace(",", "")) == sum(row.impressions for row in rows)
    assert float(total[12].replace(",", "")) == pytest.approx(sum(row.cost for row in rows), abs=1e-6)


def test_meta_has_a_byte_order_mark_money_in_the_header_and_a_nameless_total(agency: Agency) -> None:
    path = daily(agency, 1)[-1]
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    header, total, *rows = csv.reader(lines_of(path))
    assert "Amount spent (EUR)" in header
    record = dict(zip(header, total, strict=True))
    assert record["Day"] == record["Campaign name"] == record["Ad ID"] == ""
    assert int(record["Impressions"]) == sum(row.impressions for row in read_rows(path))
    kinds = {row[header.index("Result indicator")] for row in rows}
    assert len(kinds) == 2  # "Results" mixes purchases with visits
    assert all(len(row) == len(header) for row in rows)


def test_tiktok_varies_the_case_of_its_header_and_ends_with_a_total(agency: Agency) -> None:
    headers = [lines_of(daily(agency, index)[-1])[0] for index in (2, 6)]
    assert headers[0] != headers[1]
    assert headers[0].lower() == headers[1].lower()
    assert lines_of(daily(agency, 2)[-1])[-1].startswith("Total of ")
    assert int(read_rows(daily(agency, 2)[-1])[0].ad) > 2**53


def test_the_german_account_writes_decimal_commas(agency: Agency) -> None:
    text = "\n".join(lines_of(agency.files(GERMAN_ACCOUNT, "*_backfill.csv")[0]))
    assert '%"' in text
    rows = read_rows(agency.files(GERMAN_ACCOUNT, "*_backfill.csv")[0], german=True)
    assert all(row.cost_text.count(",") == 1 for row in rows)
    assert 100 < sum(row.impressions for row in rows) / len(rows) < 20_000


def test_one_file_is_tab_separated_utf_16(agency: Agency) -> None:
    wide = [path for path in agency.landing.rglob("*.csv") if path.read_bytes().startswith(b"\xff\xfe")]
    assert wide == agency.files(WIDE_ACCOUNT, "*_backfill.csv")
    assert len(read_rows(wide[0])) > 500


def test_yen_have_no_decimals_and_every_other_currency_has_two(agency: Agency) -> None:
    for index, account in enumerate(agency.truth.accounts):
        rows = read_rows(daily(agency, index)[-1], german=index == GERMAN_ACCOUNT)
        places = {len(row.cost_text.replace(",", ".").rpartition(".")[2]) for row in rows}
        if account.currency == "JPY":
            assert index == JAPANESE_ACCOUNT
            assert all(row.cost_text.isdigit() for row in rows)
        else:
            assert places == {2}
    assert len({account.currency for account in agency.truth.accounts}) >= 5
    assert len({account.timezone for account in agency.truth.accounts}) >= 7


def test_the_bad_rows_are_exactly_where_the_truth_says(agency: Agency) -> None:
    planted = {(ugly.file, ugly.line): ugly.reason for ugly in agency.truth.ugly_rows}
    assert sorted(planted.values()) == ["bad_date", "clicks_exceed_impressions", "negative_spend"]
    found = {}
    for index in range(8):
        for path in agency.files(index, "*.csv"):
            if "creatives" in path.name:
                continue
            for row in read_rows(path, german=index == GERMAN_ACCOUNT):
                reason = reason_against(row)
                if reason:
                    lines = lines_of(path)
                    at = next(
                        i for i, line in enumerate(lines, 1) if line.startswith(row.day) and row.ad in line and reason_in(line, reason)
                    )
                    found[(path.relative_to(agency.landing).as_posix(), at)] = reason
    assert found == planted


def reason_against(row: Row) -> str:
    if row.cost < 0:
        return "negative_spend"
    if row.clicks > row.impressions:
        return "clicks_exceed_impressions"
    year, month, day = (int(part) for part in row.day.split("-"))
    return "bad_date" if month == 2 and day > 28 + (year % 4 == 0) else ""


def reason_in(line: str, reason: str) -> bool:
    return {"negative_spend": ",-12.50,", "clicks_exceed_impressions": ",12,40,", "bad_date": "-02-30,"}[reason] in line


def test_one_file_is_there_twice(agency: Agency) -> None:
    (copy,) = agency.truth.duplicate_files
    original = agency.landing / copy.replace("copy_of_", "")
    assert (agency.landing / copy).read_bytes() == original.read_bytes()


def test_without_ugliness_none_of_it_is_there(tmp_path: Path) -> None:
    truth = load_truth(write_agency(tmp_path / "landing", replace(SMALL, ugly=False, accounts=6, days=60)).truth_path)
    assert truth.ugly_rows == ()
    assert truth.duplicate_files == ()
    german = truth.accounts[GERMAN_ACCOUNT]
    backfills = (tmp_path / "landing" / german.platform / german.account_id).glob("*asof*")
    assert all("," not in row.cost_text.strip() for path in backfills for row in read_rows(path)[:20] if row.cost < 900)
    assert not [path for path in tmp_path.rglob("*.csv") if path.read_bytes().startswith(b"\xff\xfe")]


def versions(agency: Agency, index: int) -> dict[tuple[str, str], list[Row]]:
    """Every version of each (day, ad) of the daily exports, in the order of the exports."""
    found: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for path in daily(agency, index):
        for row in read_rows(path, german=index == GERMAN_ACCOUNT):
            if not reason_against(row):
                found[(row.day, row.ad)].append(row)
    return found


@pytest.mark.parametrize("index", [0, 1, 2, GERMAN_ACCOUNT])
def test_conversions_only_grow_and_arrive_by_the_law_in_the_truth(agency: Agency, index: int) -> None:
    history = [rows for rows in versions(agency, index).values() if len(rows) == 14]
    assert len(history) > 300
    platform = agency.truth.accounts[index].platform
    lag = next(lag for lag in agency.truth.conversion_lag if lag.platform == platform)
    for rows in history:
        counts = [row.conversions for row in rows]
        assert counts == sorted(counts)
        assert [row.revenue for row in rows] == sorted(row.revenue for row in rows)
    last = sum(rows[-1].conversions for rows in history)
    for age in (0, 1, 3, 7):
        share = sum(rows[age].conversions for rows in history) / last
        assert share == pytest.approx(lag.known_share(age) / lag.known_share(13), abs=0.05)


def test_clicks_and_cost_hardly_move(agency: Agency) -> None:
    moved = total = 0
    for rows in versions(agency, 1).values():
        clicks, costs = [row.clicks for row in rows], [row.cost for row in rows]
        assert clicks == sorted(clicks, reverse=True)
        assert costs == sorted(costs, reverse=True)
        assert len(set(clicks[2:])) <= 1
        assert len(set(costs[2:])) <= 1
        moved, total = moved + clicks[0] - clicks[-1], total + clicks[-1]
    assert 0 < moved / total < 0.01


def test_a_daily_export_restates_two_weeks_but_never_the_backfill(agency: Agency) -> None:
    first_daily = agency.truth.first_daily_day.isoformat()
    paths = daily(agency, 1)
    assert {row.day for row in read_rows(paths[0])} == {first_daily}
    assert len({row.day for row in read_rows(paths[-1])}) == 14
    backfill = {row.day for row in read_rows(agency.files(1, "*_backfill.csv")[0])}
    assert max(backfill) < first_daily
    assert min(backfill) == agency.truth.first_day.isoformat()


def test_ages_and_genders_sum_to_the_total(agency: Agency) -> None:
    for index in (1, 4, 7):
        (path,) = agency.files(index, "*_age_gender_asof_*.csv")
        assert path.read_bytes().startswith(b"\xef\xbb\xbf")
        known = {key: rows[-1] for key, rows in versions(agency, index).items()}
        sums: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0] * 5)
        women = everyone = 0
        for row in read_rows(path):
            assert row.clicks <= row.impressions
            assert row.conversions <= row.clicks
            for at, value in enumerate((row.impressions, row.clicks, row.cost, row.conversions, row.revenue)):
                sums[(row.day, row.ad)][at] += value
            if row.cell[0] in agency.truth.unfair_segment.ages:
                women += row.impressions if row.cell[1] == agency.truth.unfair_segment.gender else 0
                everyone += row.impressions
        assert len({day for day, _ in sums}) == 28
        for key, parts in sums.items():
            total = known[key]
            whole = [total.impressions, total.clicks, total.cost, total.conversions, total.revenue]
            assert parts == pytest.approx(whole, abs=1e-6)
        fair = agency.truth.unfair_segment.delivery_factor
        assert women / everyone == pytest.approx(fair / (1.0 + fair), abs=0.02)


def test_creatives_name_every_ad_once_with_its_text(agency: Agency) -> None:
    for index in range(8):
        (path,) = agency.files(index, "*_creatives.csv")
        lines = list(csv.reader(lines_of(path)))
        header = next(i for i, line in enumerate(lines) if len(line) > 5)
        names = [name.lower() for name in lines[header]]
        records = [dict(zip(names, line, strict=True)) for line in lines[header + 1 :]]
        ids = [record["ad id"] for record in records]
        assert len(ids) == len(set(ids))
        assert all(record["headline"] for record in records)
        assert not {"cost", "impressions", "impr."} & set(names)
        shown = {row.ad for row in read_rows(agency.files(index, "*_backfill.csv")[0], german=index == GERMAN_ACCOUNT)}
        assert shown <= set(ids)
    day = date.fromisoformat(read_rows(daily(agency, 0)[-1])[-1].day)
    assert day == agency.truth.last_day
