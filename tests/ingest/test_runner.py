"""Ingesting a landing folder into the lake."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from tests.ingest.conftest import NOW
from within_pipelines.exceptions import MappingError
from within_pipelines.ingest import IngestReport, ingest, landing_files
from within_pipelines.lake import Lake

HEADER = "Day,Customer ID,Currency code,Campaign ID,Ad ID,Impr.,Clicks,Cost\n"


def lines(*days: str, clicks: int = 5) -> str:
    return HEADER + "".join(f"{day},1,EUR,2,3,100,{clicks},1.5\n" for day in days)


@pytest.fixture
def landing(tmp_path: Path) -> Path:
    folder = tmp_path / "landing"
    (folder / "google_ads/1").mkdir(parents=True)
    return folder


def run(lake: Lake, landing: Path, **options: object) -> IngestReport:
    report = ingest(lake, landing_files(landing), landing=landing, ingested_at=NOW, **options)  # type: ignore[arg-type]
    assert report.rows_in == report.rows_accepted + report.rows_unchanged + report.rows_quarantined
    return report


def test_a_second_run_does_only_what_is_new(tmp_path: Path, landing: Path) -> None:
    lake, folder = Lake(tmp_path / "lake"), landing / "google_ads/1"
    (folder / "a.csv").write_text(lines("2026-05-01", "2026-05-02"))
    (folder / "copy.csv").write_text(lines("2026-05-01", "2026-05-02"))
    (folder / "bad.csv").write_text("what is this")
    seen: list[tuple[int, int]] = []
    first = run(lake, landing, progress=lambda done, of: seen.append((done, of)))
    assert (first.files, first.ingested, first.refused, first.skipped_known, first.commits) == (3, 1, 1, 1, 1)
    assert (first.rows_in, first.rows_accepted, first.rows_quarantined) == (3, 2, 1)
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert first.refusals[0].file_name == "google_ads/1/bad.csv"
    assert "unknown_header" in first.refusals[0].reason
    again = run(lake, landing)
    assert (again.skipped_known, again.commits, again.rows_in) == (3, 0, 0)
    (folder / "b_asof_20260504T000000Z.csv").write_text(lines("2026-05-01", "2026-05-02", clicks=6))
    (folder / "c_asof_20260505T000000Z.csv").write_text(lines("2026-05-01", "2026-05-02", clicks=6) + "\n")
    third = run(lake, landing)
    assert (third.rows_accepted, third.rows_unchanged) == (2, 2)
    assert lake.facts()["clicks"].to_list() == [6, 6]
    assert lake.facts(as_of=datetime(2026, 5, 4, tzinfo=UTC) - timedelta(seconds=1), end=date(2026, 5, 1))["clicks"].to_list() == [5]


def test_batches_are_committed_one_by_one_and_keep_the_law(tmp_path: Path, landing: Path) -> None:
    for day in range(1, 6):
        (landing / f"google_ads/1/{day}.csv").write_text(lines(f"2026-05-0{day}"))
    lake = Lake(tmp_path / "lake")
    report = run(lake, landing, batch_files=2)
    assert (report.commits, report.rows_accepted, lake.watermark()) == (3, 5, 3)
    log = lake.ingest_log()
    law = log["rows_accepted"] + log["rows_unchanged"] + log["rows_quarantined"]
    assert law.to_list() == log["rows_in"].to_list()


def test_a_cure_in_the_accounts_file_lets_a_refused_file_in(tmp_path: Path, landing: Path) -> None:
    lake = Lake(tmp_path / "lake")
    (landing / "google_ads/1/a.csv").write_text("Day,Campaign,Campaign ID,Impr.,Cost\n2026-05-01,B,2,3,4\n")
    assert run(lake, landing).refused == 1
    assert run(lake, landing).skipped_known == 1
    (landing / "accounts.yaml").write_text("1: {currency: EUR, timezone: Europe/Berlin}\n")
    cured = run(lake, landing)
    assert (cured.ingested, cured.rows_accepted) == (1, 1)
    assert lake.facts(grain="campaign")["timezone"].to_list() == ["Europe/Berlin"]
    assert run(lake, landing).skipped_known == 1


def test_a_mapping_applies_to_the_files_that_it_names(tmp_path: Path, landing: Path) -> None:
    (landing / "mappings").mkdir()
    mapping = landing / "mappings/shop.yaml"
    mapping.write_text("platform: shop\nfiles: 'shop_*'\naccount: {constant: a}\ncampaign: c\ndate: d\nmetrics: {clicks: n}\n")
    (landing / "shop_1.csv").write_text("d,c,n\n2026-05-01,x,4\n")
    lake = Lake(tmp_path / "lake")
    assert run(lake, landing).rows_accepted == 1
    assert lake.accounts() == [("shop", "a")]
    mapping.write_text("platform: shop\n")
    with pytest.raises(MappingError, match="give metrics"):
        run(lake, landing)


def test_links_out_of_the_landing_folder_are_reported_and_not_read(tmp_path: Path, landing: Path) -> None:
    (tmp_path / "secret.csv").write_text(lines("2026-05-01"))
    (landing / "google_ads/1/in.csv").write_text(lines("2026-05-02"))
    (landing / "google_ads/1/link.csv").symlink_to(landing / "google_ads/1/in.csv")
    (landing / "out.csv").symlink_to(tmp_path / "secret.csv")
    (landing / "nowhere.csv").symlink_to(landing / "missing.csv")
    (landing / "loop.csv").symlink_to(landing / "loop.csv")
    os.mkfifo(landing / "pipe.csv")
    lake = Lake(tmp_path / "lake")
    report = run(lake, landing)
    assert {item.file_name: item.reason.split(";")[0] for item in report.pending} == {
        "out.csv": "a symbolic link leads out of the landing folder or to itself",
        "loop.csv": "a symbolic link leads out of the landing folder or to itself",
        "nowhere.csv": "the file is gone, or the link leads nowhere",
        "pipe.csv": "not a regular file",
    }
    assert (report.ingested, report.skipped_known) == (1, 1)
    assert len(lake.facts()) == 1


def test_a_file_that_grows_while_it_is_read_waits(tmp_path: Path, landing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = landing / "google_ads/1/a.csv"
    path.write_text(lines("2026-05-01"))
    lake = Lake(tmp_path / "lake")
    read_bytes = Path.read_bytes

    def growing(self: Path) -> bytes:
        content = read_bytes(self)
        with self.open("a") as writer:
            writer.write("2026-05-02,1,EUR,2,3,100,5,1.5\n")
        return content

    monkeypatch.setattr(Path, "read_bytes", growing)
    report = run(lake, landing)
    assert [item.reason for item in report.pending] == ["the file is still being written"]
    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    assert run(lake, landing).rows_accepted == 2


def test_a_file_that_cannot_be_opened_stops_nobody(tmp_path: Path, landing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (landing / "google_ads/1/a.csv").write_text(lines("2026-05-01"))
    (landing / "google_ads/1/b.csv").write_text(lines("2026-05-02"))
    read_bytes = Path.read_bytes

    def refusing(self: Path) -> bytes:
        if self.name == "a.csv":
            raise PermissionError(13, "Permission denied")
        return read_bytes(self)

    monkeypatch.setattr(Path, "read_bytes", refusing)
    report = run(Lake(tmp_path / "lake"), landing)
    assert (report.ingested, len(report.pending)) == (1, 1)
    assert "Permission denied" in report.pending[0].reason


def test_a_fresh_file_waits_until_it_has_settled(tmp_path: Path, landing: Path) -> None:
    path = landing / "google_ads/1/a.csv"
    path.write_text(lines("2026-05-01"))
    os.utime(path, (NOW.timestamp() - 3, NOW.timestamp() - 3))
    lake = Lake(tmp_path / "lake")
    assert len(run(lake, landing, settle_seconds=5).pending) == 1
    assert run(lake, landing, settle_seconds=2).ingested == 1


def test_a_file_name_with_a_newline_is_ingested(tmp_path: Path, landing: Path) -> None:
    (landing / "google_ads/1/a\nb.csv").write_text(lines("2026-05-01"))
    lake = Lake(tmp_path / "lake")
    assert run(lake, landing).ingested == 1
    assert lake.ingest_log()["file_name"].to_list() == ["google_ads/1/a\\nb.csv"]
