"""The lake: bitemporal facts in Delta tables, committed a batch at a time."""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from within_pipelines.lake.batch import Commit, IngestBatch
from within_pipelines.lake.changes import changed_rows
from within_pipelines.lake.schema import (
    COMMIT_COLUMNS,
    CREATIVE_COLUMNS,
    CREATIVE_KEY,
    FACT_COLUMNS,
    FACT_KEY,
    INGEST_LOG_COLUMNS,
    MEASURES,
    PARTITION_COLUMNS,
    QUARANTINE_COLUMNS,
)
from within_pipelines.lake.tables import StoredTable

ACCOUNT_BUCKETS = 8
_CREATIVE_VALUES = tuple(name for name in CREATIVE_COLUMNS.names if name not in {*CREATIVE_KEY, "as_of", "as_of_source", "file_sha256"})
_FACT_VALUES = (*MEASURES, "currency", "timezone", "grain")


def account_bucket(platform: str, account_id: str) -> int:
    """The partition of an account: a stable hash, so that every process and machine agrees.

    >>> account_bucket("google_ads", "123") == account_bucket("google_ads", "123")
    True
    """
    return hashlib.sha256(f"{platform}/{account_id}".encode()).digest()[0] % ACCOUNT_BUCKETS


class Lake:
    """Facts, creatives, quarantine and ingest log below `root`.

    A commit writes the rows first and the log last. Rows carry a `commit_seq`; a read sees only sequence numbers that are in the log, so a
    killed writer leaves the old state, and the next commit removes what it left. Writers on one machine wait for each other by a lock
    file; on an object store run one writer at a time (the ingest job's concurrency limit does)."""

    def __init__(self, root: str | Path) -> None:
        self.root = str(root)
        self._performance = StoredTable(
            f"{self.root}/ad_performance",
            pa.schema([*FACT_COLUMNS, *COMMIT_COLUMNS, *PARTITION_COLUMNS]),
            [field.name for field in PARTITION_COLUMNS],
        )
        self._creatives = StoredTable(f"{self.root}/ad_creatives", pa.schema([*CREATIVE_COLUMNS, *COMMIT_COLUMNS]))
        self._quarantine = StoredTable(f"{self.root}/quarantine", pa.schema([*QUARANTINE_COLUMNS, *COMMIT_COLUMNS]))
        unchanged = pa.field("rows_unchanged", pa.int64(), nullable=False)
        fields = [unchanged if field.name == "rows_unchanged" else field for field in INGEST_LOG_COLUMNS]
        self._log = StoredTable(f"{self.root}/ingest_log", pa.schema([*fields, *COMMIT_COLUMNS]))
        self._current = StoredTable(f"{self.root}/ad_performance_current", self._performance.schema, self._performance.partition_by)

    # -- writing -------------------------------------------------------------------------------------------------------------------

    def commit(self, batch: IngestBatch, *, ingested_at: datetime) -> Commit:
        """Append what is new or changed in `batch`; files that the log already holds are left out.

        `ingested_at` is aware. Returns the counts of what was committed; `commit_seq` stays the same when every file was known."""
        with self._single_writer():
            watermark = self.watermark()
            for table in (self._performance, self._creatives, self._quarantine):
                table.remove_after(watermark)
            known = self.known_files()
            log = pl.DataFrame(batch.log).unique("file_sha256", keep="first", maintain_order=True)
            log = log.filter(~pl.col("file_sha256").is_in(list(known)))
            if log.is_empty():
                return Commit(watermark, 0, 0, 0, 0, 0)
            new_files = pl.col("file_sha256").is_in(log["file_sha256"].to_list())
            facts = pl.DataFrame(batch.facts).filter(new_files)
            creatives = pl.DataFrame(batch.creatives).filter(new_files)
            quarantine = pl.DataFrame(batch.quarantine).filter(new_files)

            changed_facts = changed_rows(facts, self._known_facts(facts), key=FACT_KEY, values=_FACT_VALUES)
            known_creatives = self._creatives.read() if creatives.height else self._creatives.read().clear()
            changed_creatives = changed_rows(creatives, known_creatives, key=CREATIVE_KEY, values=_CREATIVE_VALUES)
            log = _count_unchanged(log, facts, changed_facts, creatives, changed_creatives)

            stamp = [
                pl.lit(ingested_at).cast(pl.Datetime("us", "UTC")).alias("ingested_at"),
                pl.lit(watermark + 1).alias("commit_seq"),
            ]
            if changed_facts.height:
                self._performance.append(_partitioned(changed_facts).with_columns(stamp).to_arrow())
            if changed_creatives.height:
                self._creatives.append(changed_creatives.with_columns(stamp).to_arrow())
            if quarantine.height:
                self._quarantine.append(quarantine.with_columns(stamp).to_arrow())
            # The commit point: from here on the rows above are visible.
            self._log.append(log.with_columns(stamp).to_arrow())
        totals = log.select("rows_in", "rows_accepted", "rows_unchanged", "rows_quarantined").sum().row(0)
        return Commit(watermark + 1, log.height, *totals)

    def compact(self) -> None:
        """Merge small files, drop files that no version of the last week needs, and rewrite the plain table of latest knowledge.

        No answer of this class changes. `ad_performance_current` is for readers that do not know about versions."""
        with self._single_writer():
            for stored in (self._performance, self._creatives, self._quarantine, self._log):
                table = stored.open()
                if table is not None:
                    table.optimize.compact()
                    table.create_checkpoint()
                    table.vacuum(dry_run=False)
            if self._performance.open() is not None:
                self._current.replace(self.facts(grain=None).pipe(_partitioned).select(self._current.schema.names).to_arrow())

    @contextmanager
    def _single_writer(self) -> Iterator[None]:
        if "://" in self.root:
            yield
            return
        Path(self.root).mkdir(parents=True, exist_ok=True)
        with (Path(self.root) / ".lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _known_facts(self, incoming: pl.DataFrame) -> pl.DataFrame:
        if incoming.is_empty():
            return self._performance.read().clear()
        parts = _partitioned(incoming.select("platform", "account_id", "event_date"))
        condition = pc.field("event_month").isin(parts["event_month"].unique().to_list()) & pc.field("account_bucket").isin(
            pa.array(parts["account_bucket"].unique().to_list(), pa.int32())
        )
        found = self._performance.read(condition, [*FACT_KEY, *_FACT_VALUES, "as_of", "commit_seq"])
        return found.join(incoming.select(FACT_KEY).unique(), on=list(FACT_KEY), how="semi")

    # -- reading -------------------------------------------------------------------------------------------------------------------

    def watermark(self) -> int:
        """The newest committed sequence number; 0 for an empty lake."""
        return int(self._log.read(columns=["commit_seq"])["commit_seq"].max() or 0)  # type: ignore[arg-type]

    def ingest_log(self, commit_seq: int | None = None) -> pl.DataFrame:
        """One row per file ever offered, refused ones included."""
        condition = None if commit_seq is None else pc.field("commit_seq") <= commit_seq
        return self._log.read(condition).sort("commit_seq", "file_name", "file_sha256")

    def logged_days(self) -> pl.DataFrame:
        """Of each file with facts `commit_seq`, `first_date`, `last_date` and `covered`, its accounts; from the log, in no order."""
        about = pc.field("kind").isin(["facts", "both"]) & pc.field("first_date").is_valid()
        return self._log.read(about, ["commit_seq", "first_date", "last_date", "covered"])

    def last_logged_date(self) -> date | None:
        """The newest day that any file was about: `last_event_date` at a fraction of its price, because no facts are read."""
        found: Any = self._log.newest("last_date")
        return found if isinstance(found, date) else None

    def known_files(self) -> frozenset[str]:
        """SHA-256 of every file in the log."""
        return frozenset(self._log.read(columns=["file_sha256"])["file_sha256"].to_list())

    def data_version(self, commit_seq: int | None = None) -> str:
        """A hash of the set of ingested files: the same files give the same version, however they were batched."""
        files = self.ingest_log(commit_seq).filter(pl.col("status") == "ingested")["file_sha256"].sort()
        return hashlib.sha256("\n".join(files.to_list()).encode()).hexdigest()

    def latest_as_of(self, commit_seq: int | None = None) -> datetime | None:
        """The newest knowledge time of any fact; None for an empty lake."""
        found: Any = self._performance.read(self._visible(commit_seq), ["as_of"])["as_of"].max()
        return found if isinstance(found, datetime) else None

    def last_event_date(self, commit_seq: int | None = None) -> date | None:
        """The newest day that any fact is about; None for an empty lake."""
        found: Any = self._performance.read(self._visible(commit_seq), ["event_date"])["event_date"].max()
        return found if isinstance(found, date) else None

    def accounts(self, commit_seq: int | None = None) -> list[tuple[str, str]]:
        """Every (platform, account_id) that has facts, sorted."""
        found = self._performance.read(self._visible(commit_seq), ["platform", "account_id"]).unique().sort("platform", "account_id")
        return [(platform, account) for platform, account in found.iter_rows()]

    def grains(self, commit_seq: int | None = None) -> list[str]:
        """Every grain at which something was reported, sorted."""
        return self._performance.read(self._visible(commit_seq), ["grain"])["grain"].unique().sort().to_list()

    def history(
        self,
        *,
        grain: str | None = "ad",
        as_of: datetime | None = None,
        commit_seq: int | None = None,
        accounts: Sequence[tuple[str, str]] | None = None,
        start: date | None = None,
        end: date | None = None,
    ) -> pl.DataFrame:
        """Every version of every fact known at `as_of`, oldest first within a key. `grain=None` returns all grains: never sum those."""
        condition = self._visible(commit_seq)
        if grain is not None:
            condition &= pc.field("grain") == grain
        if as_of is not None:
            condition &= pc.field("as_of") <= pa.scalar(as_of, pa.timestamp("us", tz="UTC"))
        if start is not None:
            condition &= (pc.field("event_date") >= start) & (pc.field("event_month") >= f"{start:%Y-%m}")
        if end is not None:
            condition &= (pc.field("event_date") <= end) & (pc.field("event_month") <= f"{end:%Y-%m}")
        if accounts is not None:
            buckets = sorted({account_bucket(*account) for account in accounts})
            condition &= pc.field("account_bucket").isin(pa.array(buckets, pa.int32()))
        names = [*FACT_COLUMNS.names, *(field.name for field in COMMIT_COLUMNS)]
        found = self._performance.read(condition, names)
        if accounts is not None:
            wanted = pl.DataFrame(list(accounts), schema={"platform": pl.String, "account_id": pl.String}, orient="row")
            found = found.join(wanted, on=["platform", "account_id"], how="semi")
        return found.sort(*FACT_KEY, "as_of", "commit_seq", "file_sha256")

    def facts(
        self,
        *,
        grain: str | None = "ad",
        as_of: datetime | None = None,
        commit_seq: int | None = None,
        accounts: Sequence[tuple[str, str]] | None = None,
        start: date | None = None,
        end: date | None = None,
    ) -> pl.DataFrame:
        """The latest knowledge at `as_of`: one row per key and day."""
        history = self.history(grain=grain, as_of=as_of, commit_seq=commit_seq, accounts=accounts, start=start, end=end)
        return latest_versions(history)

    def account_batches(
        self,
        *,
        grain: str | None = "ad",
        as_of: datetime | None = None,
        commit_seq: int | None = None,
        versions: bool = True,
        start: date | None = None,
        end: date | None = None,
    ) -> Iterator[pl.DataFrame]:
        """One frame per account in a fixed order, one bucket in memory at a time. With `versions` every restatement is included."""
        accounts = self.accounts(commit_seq)
        for bucket in range(ACCOUNT_BUCKETS):
            members = [account for account in accounts if account_bucket(*account) == bucket]
            if not members:
                continue
            read = self.history if versions else self.facts
            rows = read(grain=grain, as_of=as_of, commit_seq=commit_seq, accounts=members, start=start, end=end)
            for _, account in sorted(rows.partition_by("platform", "account_id", as_dict=True).items()):
                yield account

    def creatives(self, *, as_of: datetime | None = None, commit_seq: int | None = None) -> pl.DataFrame:
        """The latest known texts of each ad, with `first_as_of`, when it was first seen."""
        condition = self._visible(commit_seq)
        if as_of is not None:
            condition &= pc.field("as_of") <= pa.scalar(as_of, pa.timestamp("us", tz="UTC"))
        found = self._creatives.read(condition).sort(*CREATIVE_KEY, "as_of", "commit_seq", "file_sha256")
        first = pl.col("as_of").min().over(CREATIVE_KEY).alias("first_as_of")
        return found.with_columns(first).unique(CREATIVE_KEY, keep="last", maintain_order=True)

    def quarantine(self, commit_seq: int | None = None) -> pl.DataFrame:
        """Every row that was not accepted."""
        return self._quarantine.read(self._visible(commit_seq)).sort("commit_seq", "file_name", "file_sha256", "row_number")

    def _visible(self, commit_seq: int | None) -> Any:
        watermark = self.watermark()
        return pc.field("commit_seq") <= (watermark if commit_seq is None else min(commit_seq, watermark))


def latest_versions(history: pl.DataFrame) -> pl.DataFrame:
    """Of every key the version with the newest `as_of`; of equally new ones the one committed last."""
    return history.sort(*FACT_KEY, "as_of", "commit_seq", "file_sha256").unique(FACT_KEY, keep="last", maintain_order=True)


def _partitioned(rows: pl.DataFrame) -> pl.DataFrame:
    accounts = rows.select("platform", "account_id").unique()
    buckets = accounts.with_columns(
        account_bucket=pl.Series([account_bucket(*account) for account in accounts.iter_rows()], dtype=pl.Int32)
    )
    return rows.with_columns(event_month=pl.col("event_date").dt.strftime("%Y-%m")).join(
        buckets, on=["platform", "account_id"], how="left", maintain_order="left"
    )


def _count_unchanged(
    log: pl.DataFrame,
    facts: pl.DataFrame,
    changed_facts: pl.DataFrame,
    creatives: pl.DataFrame,
    changed_creatives: pl.DataFrame,
) -> pl.DataFrame:
    """Move the good rows that brought nothing new from accepted to unchanged.

    A row that carries a fact and a creative counts once: it is unchanged when its fact is. Only a file without facts counts creatives."""

    def unchanged(offered: pl.DataFrame, changed: pl.DataFrame) -> pl.DataFrame:
        counts = (
            offered.group_by("file_sha256")
            .len("offered")
            .join(changed.group_by("file_sha256").len("changed"), on="file_sha256", how="left")
        )
        return counts.select("file_sha256", known=pl.col("offered") - pl.col("changed").fill_null(0))

    with_facts = log.filter(pl.col("kind") != "creatives").select("file_sha256")
    known = pl.concat(
        [
            unchanged(facts, changed_facts),
            unchanged(creatives, changed_creatives).join(with_facts, on="file_sha256", how="anti"),
        ]
    )
    joined = log.join(known, on="file_sha256", how="left", maintain_order="left").with_columns(
        pl.min_horizontal(pl.col("known").fill_null(0).cast(pl.Int64), "rows_accepted").alias("known")
    )
    return joined.with_columns(
        rows_accepted=pl.col("rows_accepted") - pl.col("known"), rows_unchanged=pl.col("rows_unchanged") + pl.col("known")
    ).drop("known")
