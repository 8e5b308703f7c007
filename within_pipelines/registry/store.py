"""What the rest of the house may ask of a registry; the database implements it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from within_pipelines.registry.version import AliasMove, ModelVersion
from within_pipelines.stats import Verdict

if TYPE_CHECKING:
    import polars as pl


class RegistryStore(Protocol):
    """Versions, verdicts and aliases."""

    def register(self, version: ModelVersion) -> ModelVersion:
        """Store a version under the next number; the same artifact from the same inputs is stored once."""

    def versions(self, model: str) -> list[ModelVersion]:
        """Every version of a model, oldest first."""

    def get(self, model: str, version: int) -> ModelVersion:
        """One version; `ModelNotFoundError` when there is none."""

    def by_fingerprint(self, model: str, training_fingerprint: str) -> ModelVersion | None:
        """The version trained from exactly these inputs."""

    def record_verdicts(self, verdicts: Iterable[Verdict]) -> None:
        """Append verdicts; an equal one already recorded last for its gate is not repeated."""

    def verdicts(self, model_sha256: str, data_version: str) -> list[Verdict]:
        """Verdicts for exactly this artifact and data, oldest first."""

    def alias(self, model: str, alias: str) -> ModelVersion | None:
        """The version that an alias points to."""

    def promote(
        self,
        model: str,
        version: int,
        *,
        alias: str = "champion",
        who: str,
        why: str,
        now: datetime,
        expected_current: int | None,
        back: bool = False,
    ) -> AliasMove:
        """Move an alias in one transaction, or raise `PromotionRefusedError`; `back` to a version that it pointed to before."""

    def alias_history(self, model: str) -> pl.DataFrame:
        """Every move of the model's aliases, oldest first."""
