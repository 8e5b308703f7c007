"""Exports as the platforms write them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from tests.ingest.conftest import NOW, ReadText
from within_pipelines.exceptions import AmbiguousPlatformError
from within_pipelines.ingest import Account, AccountsFile, recognise
from within_pipelines.ingest.dialects import LANGUAGES, PLATFORMS
from within_pipelines.lake import ASSUMED_LAG

GOOGLE = """Ad performance report
"May 1, 2026 - May 31, 2026"
Day,Customer ID,Currency code,Campaign,Campaign ID,Ad group,Ad group ID,Ad ID,Impr.,Clicks,CTR,Cost,Conversions,Conv. value,Search impr. share
2026-05-01,123-456-7890,EUR,Brand,11,Shoes,21,31,"1,234",56,4.54%,"1,012.34",2.50,250.00,< 10%
2026-05-02,123-456-7890,EUR,Brand,11,Shoes,21,31,7,0,0.00%,0, --,0,> 90%
Total: Account, --,EUR, --, --, --, --, --,"1,241",56,4.51%,"1,012.34",2.50,250.00, --
"""  # noqa: E501

META = """\ufeffReporting starts,Reporting ends,Day,Account ID,Campaign name,Campaign ID,Ad set ID,Ad ID,Age,Gender,Attribution setting,Impressions,Reach,Link clicks,Clicks (all),Amount spent (USD),Purchases,Purchases conversion value,Results,Result indicator
2026-05-01,2026-05-02,,,,,,,,,,300,200,9,12,3.3,1,20,9,
2026-05-01,2026-05-01,2026-05-01,act_42,Spring,1,2,23847000000000001,18-24,female,7-day click,100,90,3,120,1.123456789,1,20,3,actions:link_click
2026-05-01,2026-05-01,2026-05-01,act_42,Spring,1,2,23847000000000001,65+,male,7-day click,200,150,6,8,2.2,,,6,actions:link_click
"""  # noqa: E501

TIKTOK = """by day,CAMPAIGN ID,Ad Group Name,ad group id,Ad ID,Currency,Cost,Impressions,Clicks (Destination),Conversions,Complete payment,Total complete payment value
2026-05-01 00:00:00,1,Young,2,1790000000000000001,BRL,12.5,100,130,3,3,99.9
Total of 1 results,-,-,-,-,BRL,12.5,100,130,3,3,99.9
"""  # noqa: E501


def test_a_google_export_becomes_facts_in_micros(read: ReadText) -> None:
    found = read(GOOGLE)
    assert found.reasons == ["total_row"]
    first = found.facts.row(0, named=True)
    assert first | {
        "platform": "google_ads", "account_id": "1234567890", "campaign_id": "11", "ad_group_id": "21", "ad_id": "31", "breakdown": "",
        "grain": "ad", "event_date": date(2026, 5, 1), "currency": "EUR", "timezone": "UTC", "impressions": 1234, "clicks": 56,
        "reach": None, "spend_micros": 1_012_340_000, "conversions": 2.5, "revenue_micros": 250_000_000, "as_of_source": "assumed_lag",
    } == first  # fmt: skip
    assert first["as_of"] == datetime(2026, 5, 1, tzinfo=UTC) + ASSUMED_LAG
    assert found.facts["conversions"].to_list() == [2.5, None]
    assert found.quarantine.row(0, named=True)["row_number"] == 6


def test_a_german_google_export_has_decimal_commas(read: ReadText) -> None:
    found = read(
        "Tag;Kundennummer;Währungscode;Kampagnen-ID;Anzeigengruppen-ID;Anzeigen-ID;Impr.;Klicks;Kosten;Conversions;Conv.-Wert\n"
        "01.05.2026;123-456-7890;EUR;1;2;3;1.234;56;1.012,34;2,50;250\n"
        "Gesamt: Konto; --;EUR; --; --; --;1.234;56;1.012,34;2,50;250\n"
    )
    assert found.reasons == ["total_row"]
    fact = found.facts.row(0, named=True)
    assert (fact["impressions"], fact["spend_micros"], fact["conversions"]) == (1234, 1_012_340_000, 2.5)
    assert fact["event_date"] == date(2026, 5, 1)


def test_german_thousands_need_no_decimal_to_be_understood(read: ReadText) -> None:
    header = "Tag;Kundennummer;Währungscode;Anzeigen-ID;Impr.;Klicks;Kosten\n"
    found = read(header + "01.05.2026;1;EUR;3;12;5;1.234\n")
    assert found.facts["spend_micros"].to_list() == [1_234_000_000]


def test_a_meta_export_has_breakdowns_attribution_and_exact_money(read: ReadText) -> None:
    found = read(META, "meta_ads/42/export.csv")
    assert found.reasons == ["total_row"]
    assert found.facts["breakdown"].to_list() == ["age=18-24|gender=female", "age=65+|gender=male"]
    assert found.facts["grain"].unique().to_list() == ["ad|age,gender"]
    assert found.facts["attribution"].unique().to_list() == ["7-day click"]
    assert found.facts["account_id"].unique().to_list() == ["42"]
    assert found.facts["clicks"].to_list() == [3, 6]  # link clicks, not all clicks
    assert found.facts["spend_micros"].to_list() == [1_123_457, 2_200_000]
    assert found.facts["conversions"].to_list() == [1.0, None]
    assert found.facts["ad_id"][0] == "23847000000000001"
    assert found.facts["currency"].unique().to_list() == ["USD"]


def test_a_tiktok_export_takes_its_account_from_the_folder(read: ReadText) -> None:
    found = read(TIKTOK, "tiktok_ads/7001/export.csv")
    assert found.reasons == ["total_row"]
    fact = found.facts.row(0, named=True)
    assert (fact["account_id"], fact["clicks"], fact["impressions"], fact["currency"]) == ("7001", 130, 100, "BRL")


def test_a_german_meta_export_is_recognised(read: ReadText) -> None:
    found = read(
        "Tag,Konto-ID,Kampagnen-ID,Anzeigengruppen-ID,Anzeigen-ID,Geschlecht,Impressionen,Reichweite,Link-Klicks,"
        "Ausgegebener Betrag (EUR),Käufe\n"
        '2026-05-01,42,1,2,3,Weiblich,"1.000",900,10,"12,5",1\n',
        "export.csv",
    )
    fact = found.facts.row(0, named=True)
    assert (fact["platform"], fact["breakdown"], fact["impressions"], fact["spend_micros"]) == (
        "meta_ads",
        "gender=female",
        1000,
        12_500_000,
    )


def test_results_count_as_conversions_only_where_they_are_one_kind(read: ReadText) -> None:
    header = "Day,Account ID,Ad set ID,Ad ID,Impressions,Amount spent (EUR),Results,Result indicator\n"
    purchases = "actions:offsite_conversion.fb_pixel_purchase"
    one = read(f"{header}2026-05-01,4,1,1,10,1,5,actions:link_click\n2026-05-01,4,1,2,10,1,2,{purchases}\n", "a.csv")
    assert one.facts["conversions"].to_list() == [None, 2.0]
    mixed = read(f"{header}2026-05-01,4,1,1,10,1,5,leadgen\n2026-05-01,4,1,2,10,1,2,{purchases}\n", "b.csv")
    assert mixed.facts["conversions"].to_list() == [None, None]


def test_rows_that_cover_a_range_are_refused_as_days(read: ReadText) -> None:
    header = "Reporting starts,Reporting ends,Account ID,Ad set name,Impressions,Amount spent (EUR)\n"
    found = read(f"{header}2026-05-01,2026-05-03,4,A,10,1\n2026-05-02,2026-05-02,4,A,10,1\n", "a.csv")
    assert found.reasons == ["range_row"]
    assert found.facts["event_date"].to_list() == [date(2026, 5, 2)]
    assert found.facts["ad_group_id"].to_list() == ["name:A"]
    assert found.facts["grain"].to_list() == ["ad_group"]
    weekly = read("Week,Customer ID,Currency code,Campaign ID,Impr.,Cost\n2026-05-04,1,EUR,2,3,4\n")
    assert weekly.reasons == ["range_row"]
    assert "week" in weekly.quarantine["detail"][0]


def test_the_meta_reader_takes_the_algorithmwatch_export(public_data: object, read: ReadText) -> None:
    content = (public_data / "algorithmwatch_meta_export.csv").read_bytes()  # type: ignore[operator]
    found = read(content, "export.csv", accounts=AccountsFile(accounts={"77": Account(currency="EUR")}))
    assert found.result.log["platform"] == "meta_ads"
    assert found.result.rows_in == 159
    assert set(found.reasons) == {"range_row"}


def test_an_unambiguous_day_in_the_algorithmwatch_layout_is_a_fact(read: ReadText) -> None:
    found = read(
        "Campaign Name,Ad Set Name,Gender,Reach,Impressions,Result Type,Results,Amount Spent (EUR),Reporting Starts,Reporting Ends,c\n"
        "Automated,Nurse,female,90,100,Link Clicks,7.0,1.5,2020-08-26,2020-08-26,x\n",
        "export.csv",
        accounts=AccountsFile(accounts={"77": Account(timezone="Europe/Berlin")}),
    )
    fact = found.facts.row(0, named=True)
    assert (fact["campaign_id"], fact["ad_group_id"], fact["grain"]) == ("name:Automated", "name:Nurse", "ad_group|gender")
    assert (fact["account_id"], fact["timezone"], fact["conversions"]) == ("77", "Europe/Berlin", None)


def test_a_report_with_texts_gives_facts_and_creatives(read: ReadText) -> None:
    found = read(
        "Day,Customer ID,Currency code,Campaign ID,Ad group ID,Ad ID,Ad type,Headline 1,Headline 2,Description,Impr.,Clicks,Cost\n"
        "2026-05-02,1,EUR,1,2,3,Responsive search ad,New,Shoes,Buy,10,1,1\n"
        "2026-05-01,1,EUR,1,2,3,Responsive search ad,Old,Shoes,Buy,10,1,1\n"
    )
    assert found.result.log["kind"] == "both"
    creative = found.creatives.row(0, named=True)
    assert (creative["headline"], creative["format"]) == ("New | Shoes", "responsive search ad")
    assert creative["as_of"] == datetime(2026, 5, 1, tzinfo=UTC) + ASSUMED_LAG


def test_a_report_without_metrics_is_creatives_that_were_always_known(read: ReadText) -> None:
    header = "Account ID,Campaign ID,Ad set ID,Ad ID,Headline,Body,Call to action,Ad format,Audience segment\n"
    found = read(f'{header}4,1,2,3,"Two\nlines",Text,Buy,IMAGE,\n4,1,2,4,,,,,\n', "meta_ads/4/c.csv")
    assert found.result.log["kind"] == "creatives"
    assert found.creatives["headline"].to_list() == ["Two\nlines", None]
    assert found.creatives["as_of"].unique().to_list() == [datetime(1970, 1, 1, tzinfo=UTC)]
    dated = read(f"{header}4,1,2,3,H,Text,Buy,IMAGE,\n", "meta_ads/4/c_asof_20260520T050000Z.csv")
    assert dated.creatives["as_of"].to_list() == [datetime(2026, 5, 20, 5, tzinfo=UTC)]


def test_names_alone_do_not_replace_an_ads_texts(read: ReadText) -> None:
    assert read(GOOGLE).creatives.height == 0


def test_the_export_time_comes_from_the_name(read: ReadText) -> None:
    found = read(GOOGLE, "google_ads/1/g_asof_20260503T053000Z.csv")
    assert found.facts["as_of"].unique().to_list() == [datetime(2026, 5, 3, 5, 30, tzinfo=UTC)]
    assert found.facts["as_of_source"].unique().to_list() == ["file"]
    assert found.result.log["as_of"] == datetime(2026, 5, 3, 5, 30, tzinfo=UTC)


def test_micros_columns_of_the_api_are_micros(read: ReadText) -> None:
    found = read(
        "segments.date,customer.id,customer.currency_code,campaign.id,metrics.cost_micros,metrics.clicks\n2026-05-01,1,EUR,2,1234567,3\n"
    )
    assert found.facts["spend_micros"].to_list() == [1_234_567]
    assert found.facts["grain"].to_list() == ["campaign"]


def test_an_account_report_is_at_account_level(read: ReadText) -> None:
    found = read("Day,Customer ID,Currency code,Impr.,Cost\n2026-05-01,1-2,EUR,10,1\nTotal, --, --,10,1\n")
    assert found.facts["grain"].to_list() == ["account"]
    assert found.reasons == ["total_row"]


def test_several_accounts_and_currencies_in_one_file_keep_their_own(read: ReadText) -> None:
    text = "Day,Customer ID,Currency code,Campaign ID,Impr.,Cost\n2026-05-01,1,EUR,5,10,1\n2026-05-01,2,usd,5,10,1\n2026-05-01,2,$,6,10,1\n"
    accounts = AccountsFile(accounts={"1": Account(timezone="Europe/Berlin"), "2": Account(timezone="America/New_York")})
    found = read(text, accounts=accounts)
    assert found.facts.select("account_id", "currency", "timezone").rows() == [
        ("1", "EUR", "Europe/Berlin"), ("2", "USD", "America/New_York"),
    ]  # fmt: skip
    assert found.reasons == ["bad_currency"]
    assert found.result.log["covered"] == ["google_ads/1", "google_ads/2"]


def test_the_currency_may_come_from_the_accounts_file(read: ReadText) -> None:
    text = "Day,Customer ID,Campaign ID,Impr.,Cost\n2026-05-01,1,5,10,1\n2026-05-01,2,5,10,1\n"
    both = AccountsFile(accounts={"1": Account(currency="EUR"), "2": Account(currency="USD")})
    assert read(text, accounts=both).facts["currency"].to_list() == ["EUR", "USD"]
    one = read(text, accounts=AccountsFile(accounts={"1": Account(currency="EUR")}))
    assert one.reasons == ["missing_currency"]
    assert one.facts["currency"].to_list() == ["EUR"]


def test_without_money_there_is_no_currency(read: ReadText) -> None:
    assert read("Day,Customer ID,Campaign ID,Impr.\n2026-05-01,1,5,10\n").facts["currency"].to_list() == ["XXX"]


@pytest.mark.parametrize(
    ("header", "platform"),
    [
        (GOOGLE.splitlines()[2], "google_ads"),
        (META.splitlines()[0], "meta_ads"),
        (TIKTOK.splitlines()[0], "tiktok_ads"),
        ("IMPR.,Clicks,COST,campaign", "google_ads"),
    ],
)
def test_the_header_tells_the_platform_regardless_of_case(header: str, platform: str) -> None:
    assert recognise(header.split(",")) == platform
    assert recognise(header.upper().split(",")) == platform


def test_an_ambiguous_header_names_the_candidates() -> None:
    with pytest.raises(AmbiguousPlatformError, match="google_ads and tiktok_ads"):
        recognise(["Day", "Campaign ID", "Ad group ID", "Ad ID", "Impressions", "Clicks", "Cost", "Currency"])
    with pytest.raises(AmbiguousPlatformError, match="No known platform"):
        recognise(["time", "value"])


def test_every_platform_says_which_languages_it_knows() -> None:
    assert set(LANGUAGES) == set(PLATFORMS)


def test_rows_of_today_are_facts_and_later_ones_are_not(read: ReadText) -> None:
    today, later = NOW.date(), NOW.date() + timedelta(days=2)
    found = read(f"Day,Customer ID,Campaign ID,Impr.\n{today},1,5,10\n{later},1,5,10\n")
    assert found.reasons == ["future_date"]
    exported = read(f"Day,Customer ID,Campaign ID,Impr.\n2026-05-01,1,5,10\n{today},1,5,10\n", "a_asof_20260502T053000Z.csv")
    assert exported.reasons == ["future_date"]
