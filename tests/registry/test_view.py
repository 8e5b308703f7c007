"""`MODEL_REGISTRY` is a read-only mapping that is empty before the first training."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from within_pipelines.exceptions import ModelNotFoundError
from within_pipelines.registry import ModelRegistryView, ModelVersion

TRAINED = datetime(2026, 6, 1, 12, tzinfo=UTC)


class FakeStore:
    """Two versions of the ad score; the first serves."""

    def __init__(self, champion: int | None) -> None:
        self.champion = champion

    def versions(self, model: str) -> list[ModelVersion]:
        if model != "ad_score":
            return []
        return [
            ModelVersion(
                model=model, version=number, kind="stack", model_sha256="a" * 64, artifact="x", data_version="d", as_of=TRAINED,
                commit_seq=1, spec_sha256="s", training_fingerprint="f", seed=7, trained_at=TRAINED + timedelta(days=number),
                metrics={"auc": {"value": 0.7, "low": 0.6, "high": 0.8}},
            )
            for number in (1, 2)
        ]  # fmt: skip

    def alias(self, model: str, alias: str) -> ModelVersion | None:
        if self.champion is None or model != "ad_score":
            return None
        return self.versions(model)[self.champion - 1]


def test_it_is_empty_while_there_is_no_registry() -> None:
    registry = ModelRegistryView(lambda: None)
    assert dict(registry) == {}
    assert len(registry) == 0
    assert "ad_score" not in registry


def test_it_shows_the_champion_with_plain_values() -> None:
    registry = ModelRegistryView(lambda: FakeStore(1))  # type: ignore[arg-type,return-value]
    assert list(registry) == ["ad_score"]
    entry = registry["ad_score"]
    assert (entry["version"], entry["alias"], entry["metrics"]) == ("1", "champion", {"auc": 0.7})
    assert datetime.fromisoformat(entry["last_trained"]).tzinfo is None
    assert "ModelRegistryView" in repr(registry)


def test_a_version_that_was_never_promoted_is_shown_without_alias() -> None:
    entry = ModelRegistryView(lambda: FakeStore(None))["ad_score"]  # type: ignore[arg-type,return-value]
    assert (entry["version"], entry["alias"]) == ("2", None)


def test_it_cannot_be_written() -> None:
    registry = ModelRegistryView(lambda: FakeStore(1))  # type: ignore[arg-type,return-value]
    with pytest.raises(TypeError):
        registry["ad_score"] = {}  # type: ignore[index]
    with pytest.raises(KeyError):
        registry["anomaly"]
    assert issubclass(ModelNotFoundError, LookupError)
