"""From files to facts: fill an empty landing folder with the demo agency, ingest what has landed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from within_pipelines.pipeline.workspace import Workspace

if TYPE_CHECKING:
    from within_pipelines.ingest import IngestReport
    from within_pipelines.quality import QualityReport
    from within_pipelines.settings import Settings
    from within_pipelines.simulation import AgencySummary

Progress = Callable[[int, int], None]


def landing_is_empty(landing: Path) -> bool:
    """Whether no export has landed yet."""
    from within_pipelines.ingest import landing_files

    return not landing.is_dir() or not landing_files(landing)


def provide_exports(settings: Settings, *, today: date, progress: Progress | None = None) -> AgencySummary | None:
    """Write the demo agency's exports when nothing has landed; otherwise touch nothing and return None.

    The demo's last day is the day before `today`."""
    if not landing_is_empty(settings.landing):
        return None
    from within_pipelines.simulation import AgencySpec, write_agency

    spec = AgencySpec(accounts=settings.demo_accounts, days=settings.demo_days, seed=settings.seed, end=today - timedelta(days=1))
    return write_agency(settings.landing, spec, progress=progress)


def ingest_path(ws: Workspace, path: Path, *, now: datetime, progress: Progress | None = None, settle_seconds: float = 0.0) -> IngestReport:
    """Ingest one export, or every export below a folder; a file that the lake has seen is skipped by its hash.

    Raises `FileNotFoundError` when there is nothing at `path`."""
    from within_pipelines.ingest import ingest, landing_files

    if path.is_dir():
        return ingest(ws.lake, landing_files(path), landing=path, ingested_at=now, progress=progress, settle_seconds=settle_seconds)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is neither a file nor a folder; give an export or a folder of exports.")
    return ingest(ws.lake, [path], landing=path.parent, ingested_at=now, progress=progress, settle_seconds=settle_seconds)


def ingest_landing(ws: Workspace, *, now: datetime, progress: Progress | None = None, settle_seconds: float = 0.0) -> IngestReport:
    """Ingest what is new in the landing folder; a file that changed within `settle_seconds` before `now` waits for the next time."""
    ws.settings.landing.mkdir(parents=True, exist_ok=True)
    return ingest_path(ws, ws.settings.landing, now=now, progress=progress, settle_seconds=settle_seconds)


def check_quality(ws: Workspace, *, commit_seq: int, today: date) -> QualityReport:
    """Judge the facts of the newest 120 days against the expectation suites."""
    from within_pipelines.quality import check_facts

    last = ws.lake.last_event_date(commit_seq)
    start = None if last is None else last - timedelta(days=119)
    facts = ws.lake.facts(grain=None, commit_seq=commit_seq, start=start)
    return check_facts(facts, ws.lake.ingest_log(commit_seq), today=today)
