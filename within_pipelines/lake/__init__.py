"""What did the platforms report, and when did we know it?

Facts are bitemporal: a row says that on `event_date`, as known at `as_of`, these numbers held. A later export adds versions and
overwrites nothing; a read takes `as_of` (and `commit_seq` for a rerun) and returns the latest knowledge at that moment."""

from within_pipelines.lake.batch import Commit, IngestBatch
from within_pipelines.lake.derived import DerivedTables
from within_pipelines.lake.knowledge import ASSUMED_LAG, assumed_as_of, knowledge_time
from within_pipelines.lake.lake import Lake, account_bucket, latest_versions
from within_pipelines.lake.maturity import MaturityCurve, maturity_curve
from within_pipelines.lake.schema import (
    CREATIVE_COLUMNS,
    CREATIVE_KEY,
    FACT_COLUMNS,
    FACT_KEY,
    INGEST_LOG_COLUMNS,
    MEASURES,
    QUARANTINE_COLUMNS,
)

__all__ = [
    "ASSUMED_LAG",
    "CREATIVE_COLUMNS",
    "CREATIVE_KEY",
    "FACT_COLUMNS",
    "FACT_KEY",
    "INGEST_LOG_COLUMNS",
    "MEASURES",
    "QUARANTINE_COLUMNS",
    "Commit",
    "DerivedTables",
    "IngestBatch",
    "Lake",
    "MaturityCurve",
    "account_bucket",
    "assumed_as_of",
    "knowledge_time",
    "latest_versions",
    "maturity_curve",
]
