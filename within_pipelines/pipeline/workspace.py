"""Everything that a step needs, opened once: settings, lake, derived tables, database, registry, artifacts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from within_pipelines.exceptions import SampleError

if TYPE_CHECKING:
    from within_pipelines.database import Database, SqlRegistry
    from within_pipelines.lake import DerivedTables, Lake
    from within_pipelines.registry import ArtifactStore
    from within_pipelines.settings import Settings


@dataclass(frozen=True, slots=True)
class Pin:
    """The state of the lake that a job reads from its first step to its last.

    A rerun with the same pin sees the same rows, whatever has been ingested since."""

    commit_seq: int
    as_of: datetime
    data_version: str

    def to_tags(self) -> dict[str, str]:
        """The pin as text, for the tags of a run."""
        return {
            "within/commit_seq": str(self.commit_seq),
            "within/as_of": self.as_of.isoformat(),
            "within/data_version": self.data_version,
        }

    @classmethod
    def from_tags(cls, tags: dict[str, str]) -> Pin | None:
        """The pin that a run's tags hold, or None when its first step has not set it yet."""
        if "within/commit_seq" not in tags:
            return None
        return cls(
            commit_seq=int(tags["within/commit_seq"]),
            as_of=datetime.fromisoformat(tags["within/as_of"]),
            data_version=tags["within/data_version"],
        )


@dataclass(frozen=True, slots=True)
class Workspace:
    """The open stores of one deployment. Use as a context manager; `open` creates what is missing and migrates the database."""

    settings: Settings
    lake: Lake
    derived: DerivedTables
    database: Database
    registry: SqlRegistry
    artifacts: ArtifactStore

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Open the stores that `settings` names.

        Raises `DatabaseError` when the database cannot be reached or migrated."""
        from within_pipelines.database import Database, SqlRegistry
        from within_pipelines.lake import DerivedTables, Lake
        from within_pipelines.registry import ArtifactStore

        settings.home.mkdir(parents=True, exist_ok=True)
        database = Database(settings.database)
        database.upgrade()
        return cls(
            settings=settings,
            lake=Lake(settings.lake),
            derived=DerivedTables(settings.home),
            database=database,
            registry=SqlRegistry(database),
            artifacts=ArtifactStore(settings.artifacts),
        )

    def close(self) -> None:
        """Give back the database connections."""
        self.database.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def reports(self) -> Path:
        """Folder of evaluations, one JSON file per model hash and data version."""
        return self.settings.artifacts / "evaluations"

    def pin(self) -> Pin:
        """The newest state of the lake.

        Raises `SampleError` when nothing has been ingested."""
        watermark = self.lake.watermark()
        as_of = self.lake.latest_as_of(watermark)
        if as_of is None:
            raise SampleError(f"The lake at {self.settings.lake} holds no facts; put exports into {self.settings.landing} and ingest them.")
        return Pin(commit_seq=watermark, as_of=as_of, data_version=self.lake.data_version(watermark))
