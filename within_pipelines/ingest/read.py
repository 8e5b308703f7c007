"""Read one export: find its header, understand it, and account for every row."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from within_pipelines.exceptions import AmbiguousPlatformError
from within_pipelines.ingest.accounts import AccountsFile
from within_pipelines.ingest.assemble import Assembled, assemble
from within_pipelines.ingest.decode import DELIMITERS, RefusedFileError, Rows, Table, first_lines, split_line, split_rows, to_utf8, unpack
from within_pipelines.ingest.dialects import PLATFORMS, known_name, normalised
from within_pipelines.ingest.faults import BadRow
from within_pipelines.ingest.identity import Surroundings
from within_pipelines.ingest.landing import ExportTime, export_time, folder_hints, printable, sidecar_path
from within_pipelines.ingest.layout import Layout, platform_layout
from within_pipelines.ingest.mapping import Mapping, header_names, mapped_layout
from within_pipelines.ingest.recognise import MIN_KNOWN_COLUMNS, recognise
from within_pipelines.ingest.tables import Provenance, creative_table, fact_table, quarantine_table
from within_pipelines.lake.schema import CREATIVE_COLUMNS, FACT_COLUMNS

# Clocks of the exporting machine and ours may differ by this much before an export time counts as wrong.
CLOCK_TOLERANCE = timedelta(days=1)
# Refusals that a change around the file can cure, without a new export.
SETUP_REASONS = frozenset(
    {
        "missing_account", "missing_currency", "missing_column", "unknown_header", "ambiguous_platform", "platform_conflict",
        "bad_sidecar", "bad_export_time", "future_export",
    }
)  # fmt: skip
_PARQUET_MAGIC = b"PAR1"
_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class ReadResult:
    """What one file holds; `rows_in == rows_accepted + rows_quarantined`."""

    facts: pa.Table
    creatives: pa.Table
    quarantine: pa.Table
    log: dict[str, object]  # one row of the ingest log
    file_sha256: str  # of the file; see `setup_sha256` for files that were refused for their surroundings
    rows_in: int
    rows_accepted: int
    status: str  # ingested | refused
    reason: str

    @property
    def rows_quarantined(self) -> int:
        """Rows set aside with a reason."""
        return int(self.quarantine.num_rows)


def read_export(
    path: Path,
    *,
    landing: Path | None = None,
    mapping: Mapping | None = None,
    accounts: AccountsFile | None = None,
    ingested_at: datetime,
    data: bytes | None = None,
) -> ReadResult:
    """Read a Google Ads, Meta Ads Manager or TikTok Ads Manager export, or any CSV or Parquet file through `mapping`.

    Bad content raises nothing: a bad row is quarantined with its reason, and of a file that is refused every row is (as row 0 when the
    file has no readable rows). `landing` is the folder below which the file landed, `ingested_at` an aware time, `data` the file's bytes
    when the caller has read them already.

    Raises `OSError` when the file cannot be opened."""
    data = path.read_bytes() if data is None else data
    accounts = AccountsFile() if accounts is None else accounts
    sha = hashlib.sha256(data).hexdigest()
    name = printable(path, landing)
    table: Table | None = None
    platform = ""
    try:
        time = export_time(path)
        table = _split(data, mapping)
        layout = _layout(table, path, mapping)
        platform = layout.platform
        if time.at is not None and time.at > ingested_at + CLOCK_TOLERANCE:
            raise RefusedFileError(
                "future_export", f"the export says it was made at {time.at.isoformat()}, after it was read; correct its name or sidecar"
            )
        _, folder_account = folder_hints(path, (*PLATFORMS, platform))
        latest = ingested_at if time.at is None else min(time.at, ingested_at)
        parsed = assemble(table, layout, Surroundings(accounts, folder_account, latest))
    except RefusedFileError as error:
        identity = setup_sha256(sha, path, mapping, accounts) if error.reason in SETUP_REASONS else sha
        return _refused(error, table, platform, identity, name)
    return _accepted(parsed, layout, time, sha, name, table.rows_in)


def setup_sha256(sha: str, path: Path, mapping: Mapping | None, accounts: AccountsFile) -> str:
    """Identity of a file that was refused for its surroundings (no account, no currency, unknown header ...).

    It changes with the accounts file, the mapping, the sidecar and the file's folder, so that the same bytes are read again once one of
    them has been put right; bytes alone would be skipped as known for ever."""
    digest = hashlib.sha256(f"{sha}\n{path.parent.name}/{path.name}\n{accounts.model_dump_json()}".encode(errors="surrogateescape"))
    digest.update(b"" if mapping is None else mapping.model_dump_json().encode())
    sidecar = sidecar_path(path)
    digest.update(sidecar.read_bytes() if sidecar.is_file() else b"")
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class _Header:
    index: int
    delimiter: str
    names: tuple[str, ...]


def _split(data: bytes, mapping: Mapping | None) -> Table:
    if not data:
        raise RefusedFileError("empty_file", "the file has no bytes; export it again")
    if data.startswith(_PARQUET_MAGIC):
        if mapping is None:
            raise RefusedFileError("unknown_header", "a Parquet file needs a mapping; put one into landing/mappings")
        return _parquet(data)
    text = to_utf8(unpack(data, compressed=data.startswith(_GZIP_MAGIC)))
    if text.isspace() or not text:
        raise RefusedFileError("empty_file", "the file holds blank lines only; export it again")
    lines = first_lines(text)
    header = _platform_header(lines) if mapping is None else _mapped_header(lines, mapping)
    return split_rows(text, header=header.names, header_index=header.index, delimiter=header.delimiter)


def _parquet(data: bytes) -> Table:
    try:
        typed = pl.read_parquet(io.BytesIO(data))
        frame = typed.select(pl.col(name).cast(pl.String, strict=False).alias(str(i)) for i, name in enumerate(typed.columns))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise RefusedFileError(
            "not_text", f"the Parquet file cannot be read ({type(error).__name__}); write it again with flat columns"
        ) from error

    def raw(rows: Rows) -> list[str]:
        return [",".join("" if cell is None else cell for cell in row) for row in frame[rows].iter_rows()]

    return Table(tuple(typed.columns), frame, np.arange(1, frame.height + 1, dtype=np.int64), (), raw, ",")


def _platform_header(lines: list[str]) -> _Header:
    """The line, and the way to split it, with the most names that a platform uses."""
    best, best_known = _Header(0, ",", ()), 0
    for index, line in enumerate(lines):
        names, delimiter, known = _best_split(line)
        if known > best_known:
            best, best_known = _Header(index, delimiter, names), known
            if known >= max(4, len(names) // 3):
                break
    if best_known < MIN_KNOWN_COLUMNS:
        shown = lines[0][:120] if lines else ""
        raise RefusedFileError(
            "unknown_header",
            f"no line names columns of Google Ads, Meta Ads Manager or TikTok Ads Manager (the file starts {shown!r}); describe the file "
            "with a mapping in landing/mappings",
        )
    return best


@lru_cache(maxsize=512)
def _best_split(line: str) -> tuple[tuple[str, ...], str, int]:
    best: tuple[tuple[str, ...], str, int] = ((), ",", 0)
    for delimiter in DELIMITERS:
        if delimiter in line:
            names = tuple(split_line(line, delimiter))
            known = sum(known_name(name) for name in names if len(name) < 80)
            if known > best[2]:
                best = (names, delimiter, known)
    return best


def _mapped_header(lines: list[str], mapping: Mapping) -> _Header:
    wanted = {normalised(name) for name in header_names(mapping)}
    best, best_known = _Header(0, ",", ()), 0
    for index, line in enumerate(lines):
        for delimiter in (mapping.delimiter,) if mapping.delimiter else (*DELIMITERS, "|"):
            if index and delimiter not in line:
                continue
            names = tuple(split_line(line, delimiter))
            known = len(wanted & {normalised(name) for name in names if len(name) < 200})
            if known > best_known:
                best, best_known = _Header(index, delimiter, names), known
        if best_known == len(wanted):
            break
    if not best_known:
        raise RefusedFileError("missing_column", f"no line holds any column of the mapping: {', '.join(sorted(wanted))}")
    return best


def _layout(table: Table, path: Path, mapping: Mapping | None) -> Layout:
    if mapping is not None:
        return mapped_layout(mapping, table.header)
    hinted, _ = folder_hints(path)
    try:
        platform = recognise(table.header)
    except AmbiguousPlatformError as error:
        if hinted is None:
            raise RefusedFileError("ambiguous_platform", str(error)) from error
        platform = hinted
    if hinted is not None and hinted != platform:
        raise RefusedFileError(
            "platform_conflict", f"the header is of {platform}, the folder says {hinted}; move the file to landing/{platform}/"
        )
    return platform_layout(platform, table.header)


def _refused(error: RefusedFileError, table: Table | None, platform: str, sha: str, name: str) -> ReadResult:
    if table is None:
        bad = [BadRow(0, error.reason, str(error), "")]
    else:
        raws = table.raw(np.arange(table.frame.height)) if table.frame.height else []
        bad = [BadRow(int(line), error.reason, str(error), raw) for line, raw in zip(table.lines, raws, strict=True)]
        bad += [BadRow(row.line, error.reason, str(error), row.raw) for row in table.broken]
        bad.sort(key=lambda row: row.line)
    quarantine = quarantine_table(bad, file_sha256=sha, file_name=name)
    reason = f"{error.reason}: {error}"
    log = _log(sha, name, platform, "refused", reason, rows_in=len(bad), rows_quarantined=len(bad))
    return ReadResult(FACT_COLUMNS.empty_table(), CREATIVE_COLUMNS.empty_table(), quarantine, log, sha, len(bad), 0, "refused", reason)


def _accepted(parsed: Assembled, layout: Layout, time: ExportTime, sha: str, name: str, rows_in: int) -> ReadResult:
    facts, creatives = FACT_COLUMNS.empty_table(), CREATIVE_COLUMNS.empty_table()
    constants = {**parsed.constants, "grain": layout.grain}
    origin = Provenance(time.at, time.source, sha)
    accounts: set[str] = set()
    first = last = None
    if parsed.facts is not None:
        facts = fact_table(parsed.facts, constants, origin)
        days = parsed.facts.get_column("event_date")
        first, last = days.min(), days.max()
        accounts |= _accounts(parsed.facts, constants)
    if parsed.creatives is not None:
        creatives = creative_table(parsed.creatives, constants, origin)
        accounts |= _accounts(parsed.creatives, constants)
    quarantine = quarantine_table(parsed.bad, file_sha256=sha, file_name=name)
    reason = "" if rows_in else "header_only: the file has a header and no rows"
    log = _log(
        sha, name, layout.platform, "ingested", reason, rows_in=rows_in, rows_quarantined=len(parsed.bad),
        kind="both" if layout.has_facts and layout.has_creatives else "facts" if layout.has_facts else "creatives",
        rows_accepted=parsed.accepted, first_date=first, last_date=last, as_of=time.at,
        covered=[f"{layout.platform}/{account}" for account in sorted(accounts)],
    )  # fmt: skip
    return ReadResult(facts, creatives, quarantine, log, sha, rows_in, parsed.accepted, "ingested", reason)


def _accounts(rows: pl.DataFrame, constants: dict[str, str]) -> set[str]:
    if "account_id" in constants:
        return {constants["account_id"]}
    return set(rows.get_column("account_id").unique().to_list())


def _log(sha: str, name: str, platform: str, status: str, reason: str, **counted: object) -> dict[str, object]:
    empty = {"kind": "", "rows_accepted": 0, "rows_unchanged": 0, "first_date": None, "last_date": None, "covered": [], "as_of": None}
    return {"file_sha256": sha, "file_name": name, "platform": platform, "status": status, "reason": reason, **empty, **counted}
