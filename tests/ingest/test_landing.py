"""What lies in a landing folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from within_pipelines.exceptions import MappingError
from within_pipelines.ingest import AccountsFile, landing_files, load_accounts
from within_pipelines.ingest.landing import folder_hints, landing_accounts, landing_mappings


def test_files_come_by_export_time_then_name(tmp_path: Path) -> None:
    for name in (
        "b_asof_20260502T000000Z.csv",
        "a_asof_20260503T000000Z.csv",
        "z.csv",
        "y.csv",
        "y.csv.meta.json",
        ".hidden",
        "accounts.yaml",
    ):
        (tmp_path / name).write_text("x")
    (tmp_path / "mappings").mkdir()
    (tmp_path / "mappings/m.yaml").write_text("x")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache/x.csv").write_text("x")
    (tmp_path / "google_ads/1").mkdir(parents=True)
    (tmp_path / "google_ads/1/q.csv").write_text("x")
    (tmp_path / "y.csv.meta.json").write_text('{"exported_at": "2026-05-02T12:00:00Z"}')
    names = [path.relative_to(tmp_path).as_posix() for path in landing_files(tmp_path)]
    assert names == ["google_ads/1/q.csv", "z.csv", "b_asof_20260502T000000Z.csv", "y.csv", "a_asof_20260503T000000Z.csv"]


def test_links_are_listed_but_no_linked_folder_is_entered(tmp_path: Path) -> None:
    landing, outside = tmp_path / "landing", tmp_path / "outside"
    (landing / "inside").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret.csv").write_text("x")
    (landing / "inside/a.csv").write_text("x")
    (landing / "out").symlink_to(outside)
    (landing / "again").symlink_to(landing / "inside")
    (landing / "s.csv").symlink_to(outside / "secret.csv")
    assert [path.relative_to(landing).as_posix() for path in landing_files(landing)] == ["inside/a.csv", "out", "s.csv"]


def test_folders_name_platform_and_account(tmp_path: Path) -> None:
    assert folder_hints(Path("x/google_ads/123-456-7890/a.csv")) == ("google_ads", "1234567890")
    assert folder_hints(Path("x/google_ads/a.csv")) == ("google_ads", None)
    assert folder_hints(Path("x/a.csv")) == (None, None)


def test_an_accounts_file_is_read_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "accounts.yaml"
    path.write_text("123-456-7890: {currency: EUR, timezone: Europe/Berlin, name: Shoes}\nact_7: {currency: USD}\n8:\n")
    accounts = load_accounts(path)
    found = accounts.get("1234567890")
    assert found is not None
    assert (found.currency, found.timezone, found.name) == ("EUR", "Europe/Berlin", "Shoes")
    assert set(accounts.accounts) == {"1234567890", "7", "8"}
    assert accounts.only is None
    path.write_text("accounts: {1: {currency: EUR}}\n")
    assert load_accounts(path).only == "1"
    path.write_text("")
    assert load_accounts(path) == AccountsFile()
    for text, message in (
        ("a: [", "no valid YAML"),
        ("- 1", "holds a list"),
        ("1: {currency: euro}", "1?currency"),
        ("1: {timezone: Mars}", "IANA"),
    ):
        path.write_text(text)
        with pytest.raises(MappingError, match=message):
            load_accounts(path)


def test_settings_of_a_landing_folder_apply_to_a_single_account_folder_too(tmp_path: Path) -> None:
    (tmp_path / "google_ads/1").mkdir(parents=True)
    (tmp_path / "accounts.yaml").write_text("1: {currency: EUR}\n")
    (tmp_path / "mappings").mkdir()
    (tmp_path / "mappings/m.yaml").write_text("platform: shop\ndate: d\nmetrics: {clicks: c}\n")
    assert landing_accounts(tmp_path / "google_ads/1").only == "1"
    assert landing_accounts(tmp_path / "google_ads").only == "1"
    assert landing_accounts(tmp_path).only == "1"
    assert [mapping.platform for mapping in landing_mappings(tmp_path)] == ["shop"]
    assert landing_mappings(tmp_path / "google_ads") == []
