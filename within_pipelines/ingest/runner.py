"""Ingest what has landed: read, account for every row, commit batch by batch."""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa

from within_pipelines.ingest.accounts import AccountsFile
from within_pipelines.ingest.landing import landing_accounts, landing_mappings, printable, why_not_readable
from within_pipelines.ingest.mapping import Mapping
from within_pipelines.ingest.read import ReadResult, read_export, setup_sha256
from within_pipelines.ingest.tables import log_table
from within_pipelines.lake import IngestBatch, Lake

_GROWING = "the file is still being written"
# A batch is committed early when it holds this many rows, so that memory stays bounded whatever the files' size.
BATCH_ROWS = 500_000


@dataclass(frozen=True, slots=True)
class Pending:
    """A file that was left for the next time, and why."""

    file_name: str
    reason: str


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What an ingest did; `rows_in == rows_accepted + rows_unchanged + rows_quarantined`."""

    files: int
    ingested: int
    refused: int
    skipped_known: int
    rows_in: int
    rows_accepted: int
    rows_unchanged: int
    rows_quarantined: int
    commits: int
    pending: tuple[Pending, ...] = ()
    refusals: tuple[Pending, ...] = ()  # refused files of this call with the reason


def ingest(
    lake: Lake,
    paths: Iterable[Path],
    *,
    landing: Path,
    ingested_at: datetime,
    batch_files: int = 200,
    progress: Callable[[int, int], None] | None = None,
    settle_seconds: float = 0.0,
) -> IngestReport:
    """Read `paths` in their order and commit them to the lake in batches; files that the lake knows by their hash are skipped.

    `landing` is the folder whose `accounts.yaml` and `mappings/` apply. A file that changes while it is read, that was written less than
    `settle_seconds` before `ingested_at`, or whose link leads out of the landing folder is left pending. `progress` is called with
    (files done, files).

    Raises `MappingError` when the accounts file or a mapping breaks its schema; nothing is committed then."""
    files = list(paths)
    accounts, mappings = landing_accounts(landing), landing_mappings(landing)
    known = set(lake.known_files())
    batch: list[ReadResult] = []
    pending: list[Pending] = []
    refusals: list[Pending] = []
    skipped = ingested = commits = 0
    totals = [0, 0, 0, 0]

    def commit() -> None:
        nonlocal commits
        if not batch:
            return
        done = lake.commit(_batch(batch), ingested_at=ingested_at)
        commits += 1
        for position, rows in enumerate((done.rows_in, done.rows_accepted, done.rows_unchanged, done.rows_quarantined)):
            totals[position] += rows
        batch.clear()

    for count, path in enumerate(files, start=1):
        data = _read_settled(path, landing, ingested_at, settle_seconds)
        if isinstance(data, str):
            pending.append(Pending(printable(path, landing), data))
        else:
            mapping = mapping_for(path, mappings)
            if known & _identities(data, path, mapping, accounts):
                skipped += 1
            else:
                result = read_export(path, landing=landing, mapping=mapping, accounts=accounts, ingested_at=ingested_at, data=data)
                known.add(result.file_sha256)
                batch.append(result)
                if result.status == "refused":
                    refusals.append(Pending(printable(path, landing), result.reason))
                else:
                    ingested += 1
                if len(batch) >= batch_files or sum(item.rows_in for item in batch) >= BATCH_ROWS:
                    commit()
        if progress is not None:
            progress(count, len(files))
    commit()
    return IngestReport(
        len(files), ingested, len(refusals), skipped, totals[0], totals[1], totals[2], totals[3], commits, tuple(pending), tuple(refusals)
    )


def mapping_for(path: Path, mappings: Sequence[Mapping]) -> Mapping | None:
    """The first mapping whose `files` pattern fits the file's name."""
    return next((mapping for mapping in mappings if mapping.files and fnmatch.fnmatch(path.name, mapping.files)), None)


def _identities(data: bytes, path: Path, mapping: Mapping | None, accounts: AccountsFile) -> set[str]:
    sha = hashlib.sha256(data).hexdigest()
    return {sha, setup_sha256(sha, path, mapping, accounts)}


def _read_settled(path: Path, landing: Path, now: datetime, settle_seconds: float) -> bytes | str:
    """The file's bytes, or in a sentence why it was not read."""
    reason = why_not_readable(path, landing)
    if reason is not None:
        return reason
    try:
        before = path.stat()
        if settle_seconds > 0 and before.st_mtime > now.timestamp() - settle_seconds:
            return _GROWING
        data = path.read_bytes()
        after = path.stat()
    except OSError as error:
        return f"the file cannot be opened ({error.strerror or type(error).__name__}); check its permissions"
    unchanged = (before.st_size, before.st_mtime_ns, before.st_ino) == (after.st_size, after.st_mtime_ns, after.st_ino)
    return data if unchanged and len(data) == after.st_size else _GROWING


def _batch(results: Sequence[ReadResult]) -> IngestBatch:
    return IngestBatch(
        facts=pa.concat_tables([result.facts for result in results]),
        creatives=pa.concat_tables([result.creatives for result in results]),
        quarantine=pa.concat_tables([result.quarantine for result in results]),
        log=log_table([result.log for result in results]),
    )
