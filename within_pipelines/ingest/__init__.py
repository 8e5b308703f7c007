"""What did the platforms export?

Readers turn ad-platform exports, and any other file through a declared mapping, into facts and creatives with exact schemas. Every row is
accepted or quarantined with a reason; bad content raises nothing."""

from within_pipelines.ingest.accounts import Account, AccountsFile, load_accounts
from within_pipelines.ingest.landing import landing_files
from within_pipelines.ingest.mapping import Mapping, load_mapping
from within_pipelines.ingest.read import ReadResult, read_export
from within_pipelines.ingest.recognise import recognise
from within_pipelines.ingest.runner import IngestReport, Pending, ingest

__all__ = [
    "Account",
    "AccountsFile",
    "IngestReport",
    "Mapping",
    "Pending",
    "ReadResult",
    "ingest",
    "landing_files",
    "load_accounts",
    "load_mapping",
    "read_export",
    "recognise",
]
