"""Facts are kept in two times, a commit is all or nothing, and rows add up."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from tests.lake.conftest import NOON, batch_of, fact
from within_pipelines.exceptions import SchemaError
from within_pipelines.lake import Lake


def at(day: int, hour: int = 6) -> datetime:
    return datetime(2026, 5, day, hour, tzinfo=UTC)


def test_an_empty_lake_answers_every_question(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    assert lake.watermark() == 0
    assert lake.facts().is_empty()
    assert lake.creatives().is_empty()
    assert lake.quarantine().is_empty()
    assert lake.accounts() == []
    assert lake.latest_as_of() is None
    assert lake.last_event_date() is None
    assert list(lake.account_batches()) == []


def test_a_restatement_adds_a_version_and_overwrites_nothing(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.commit(batch_of([fact()]), ingested_at=NOON)
    lake.commit(batch_of([fact(conversions=3.0, as_of=at(9), file_sha256="f2")]), ingested_at=NOON)
    assert lake.facts()["conversions"].to_list() == [3.0]
    assert lake.facts(as_of=at(5))["conversions"].to_list() == [1.0]
    assert lake.facts(as_of=at(2, 5)).is_empty()
    assert lake.history()["conversions"].to_list() == [1.0, 3.0]


def test_what_did_not_change_is_counted_and_not_stored(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.commit(batch_of([fact()]), ingested_at=NOON)
    again = [fact(as_of=at(3), file_sha256="f2"), fact(ad_id="b", as_of=at(3), file_sha256="f2")]
    commit = lake.commit(batch_of(again, quarantined=2), ingested_at=NOON)
    assert (commit.rows_in, commit.rows_accepted, commit.rows_unchanged, commit.rows_quarantined) == (4, 1, 1, 2)
    assert lake.history().height == 2
    log = lake.ingest_log()
    total = log["rows_accepted"] + log["rows_unchanged"] + log["rows_quarantined"]
    assert (total == log["rows_in"]).all()


def test_a_late_file_with_older_knowledge_does_not_win(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.commit(batch_of([fact(clicks=20, as_of=at(9), file_sha256="new")]), ingested_at=NOON)
    lake.commit(batch_of([fact(clicks=10, as_of=at(3), file_sha256="old")]), ingested_at=NOON)
    assert lake.facts()["clicks"].to_list() == [20]
    assert lake.facts(as_of=at(4))["clicks"].to_list() == [10]


def test_the_same_file_twice_changes_nothing(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    first = lake.commit(batch_of([fact()], quarantined=1), ingested_at=NOON)
    second = lake.commit(batch_of([fact()], quarantined=1), ingested_at=NOON)
    assert second.commit_seq == first.commit_seq
    assert second.files == second.rows_in == 0
    assert lake.quarantine().height == 1


def test_a_breakdown_and_its_total_sum_once(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    parts = [fact(breakdown=f"gender={g}", grain="ad|gender", clicks=5) for g in ("f", "m")]
    lake.commit(batch_of([fact(), *parts]), ingested_at=NOON)
    assert lake.facts()["clicks"].sum() == 10
    assert lake.facts(grain="ad|gender")["clicks"].sum() == 10
    assert lake.grains() == ["ad", "ad|gender"]


def test_a_read_at_a_watermark_is_the_same_after_more_commits_and_compaction(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    seq = lake.commit(batch_of([fact(), fact(ad_id="b")]), ingested_at=NOON).commit_seq
    before = lake.facts(commit_seq=seq)
    version = lake.data_version(seq)
    for n in range(3):
        lake.commit(batch_of([fact(clicks=50 + n, as_of=at(9 + n), file_sha256=f"more{n}")]), ingested_at=NOON)
    newest = lake.facts()
    lake.compact()
    assert lake.facts(commit_seq=seq).equals(before)
    assert lake.facts().equals(newest)
    assert lake.data_version(seq) == version != lake.data_version()
    plain = pl.read_delta(str(tmp_path / "ad_performance_current"))
    assert sorted(plain["clicks"].to_list()) == sorted(newest["clicks"].to_list())


def test_the_data_version_does_not_depend_on_how_files_were_batched(tmp_path: Path) -> None:
    one, two = Lake(tmp_path / "1"), Lake(tmp_path / "2")
    rows = [fact(), fact(ad_id="b", file_sha256="f2")]
    one.commit(batch_of(rows), ingested_at=NOON)
    for row in reversed(rows):
        two.commit(batch_of([row]), ingested_at=NOON)
    assert one.data_version() == two.data_version()


def test_accounts_come_whole_and_in_order(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    rows = [fact(account_id=str(a), event_date=date(2026, m, 1)) for a in range(20) for m in (3, 4, 5)]
    lake.commit(batch_of(rows), ingested_at=NOON)
    batches = list(lake.account_batches())
    assert [b["account_id"].n_unique() for b in batches] == [1] * 20
    assert all(b.height == 3 for b in batches)
    assert [b["account_id"][0] for b in batches] == [b["account_id"][0] for b in lake.account_batches()]
    assert lake.facts(accounts=[("google_ads", "7")]).height == 3
    assert lake.facts(start=date(2026, 4, 1), end=date(2026, 4, 30)).height == 20


def test_creatives_keep_the_latest_text_and_the_first_sight(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    text = {"platform": "p", "account_id": "1", "campaign_id": "", "ad_group_id": "", "ad_id": "a", "as_of_source": "file"}
    lake.commit(batch_of([], creatives=[text | {"headline": "Old", "as_of": at(1), "file_sha256": "c1"}]), ingested_at=NOON)
    lake.commit(batch_of([], creatives=[text | {"headline": "New", "as_of": at(4), "file_sha256": "c2"}]), ingested_at=NOON)
    same = lake.commit(batch_of([], creatives=[text | {"headline": "New", "as_of": at(6), "file_sha256": "c3"}]), ingested_at=NOON)
    assert (same.rows_accepted, same.rows_unchanged) == (0, 1)
    assert lake.creatives().select("headline", "first_as_of").rows() == [("New", at(1))]
    assert lake.creatives(as_of=at(2))["headline"].to_list() == ["Old"]


def test_a_batch_without_a_column_is_refused() -> None:
    batch = batch_of([fact()])
    from within_pipelines.lake import IngestBatch

    with pytest.raises(SchemaError, match="lacks clicks"):
        IngestBatch(batch.facts.drop_columns(["clicks"]), batch.creatives, batch.quarantine, batch.log)


_WRITER = """
    import os, sys
    from tests.lake.conftest import NOON, batch_of, fact
    from within_pipelines.lake import Lake
    from within_pipelines.lake.tables import StoredTable
    root, name, die = sys.argv[1:]
    lake = Lake(root)
    if die == "die":
        # The process is gone after the rows are written and before the log is.
        append = StoredTable.append
        def dying(self, rows):
            if self.uri.endswith("ingest_log"):
                os._exit(9)
            append(self, rows)
        StoredTable.append = dying
    for n in range(5):
        lake.commit(batch_of([fact(ad_id=f"{name}{n}", file_sha256=f"{name}{n}")]), ingested_at=NOON)
"""


def _start(root: Path, name: str, mode: str) -> subprocess.Popen[bytes]:
    repository = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(_WRITER), str(root), name, mode], env=environment)


def test_a_writer_killed_before_the_log_leaves_the_old_state(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.commit(batch_of([fact()]), ingested_at=NOON)
    assert _start(tmp_path, "lost", "die").wait() == 9
    assert lake.facts()["ad_id"].to_list() == ["a"]
    lake.commit(batch_of([fact(ad_id="b", file_sha256="f2")]), ingested_at=NOON)
    assert lake.facts()["ad_id"].to_list() == ["a", "b"]
    assert lake.history(grain=None).height == 2


def test_two_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    processes = [_start(tmp_path, name, "live") for name in ("x", "y")]
    assert [p.wait() for p in processes] == [0, 0]
    lake = Lake(tmp_path)
    assert lake.facts().height == 10
    assert lake.watermark() == 10


@pytest.mark.parametrize("statistics", [True, False])
def test_the_newest_logged_day_is_that_of_the_facts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statistics: bool) -> None:
    """With Delta's statistics of each file and without; a file that knows no day counts for nothing."""
    if not statistics:
        real = DeltaTable.get_add_actions
        monkeypatch.setattr(
            DeltaTable, "get_add_actions", lambda self, flatten: pl.DataFrame(real(self, flatten=flatten)).select(pl.exclude("^max.*$"))
        )
    lake = Lake(tmp_path / "lake")
    assert lake.last_logged_date() is None
    assert lake.logged_days().is_empty()
    for number, day in enumerate((date(2026, 5, 1), date(2026, 5, 3), date(2026, 5, 2), None), start=1):
        rows = [fact(event_date=day or date(2026, 5, 1), ad_id=f"a{number}", file_sha256=f"f{number}")]
        batch = batch_of(rows)
        log = pl.DataFrame(batch.log).with_columns(
            first_date=pl.lit(day, pl.Date), last_date=pl.lit(day, pl.Date), covered=pl.lit(["google_ads/1"], pl.List(pl.String))
        )
        lake.commit(replace(batch, log=log.to_arrow().cast(batch.log.schema)), ingested_at=NOON)
    assert lake.last_logged_date() == lake.last_event_date() == date(2026, 5, 3)
    known = lake.logged_days().sort("commit_seq")
    assert known["last_date"].to_list() == [date(2026, 5, 1), date(2026, 5, 3), date(2026, 5, 2)]
    assert known["covered"].to_list() == [["google_ads/1"]] * 3
