"""`MODEL_REGISTRY`: the registry as a read-only mapping."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from within_pipelines.registry.policy import REQUIRED_GATES
from within_pipelines.registry.store import RegistryStore
from within_pipelines.registry.version import ModelVersion


class ModelRegistryView(Mapping[str, Mapping[str, Any]]):
    """Name of a model to what serves: version, last training, metrics, artifact hash.

    Read afresh at each access, so a promotion elsewhere is seen. A model that was trained but never promoted shows its newest version
    with `alias` None. `open_store` returns None while there is no registry, and the mapping is then empty."""

    def __init__(self, open_store: Callable[[], RegistryStore | None]) -> None:
        self._open_store = open_store

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        store = self._open_store()
        entry = None if store is None or name not in REQUIRED_GATES else _entry(store, name)
        if entry is None:
            raise KeyError(name)
        return entry

    def __iter__(self) -> Iterator[str]:
        store = self._open_store()
        if store is None:
            return iter(())
        return iter([name for name in REQUIRED_GATES if _shown(store, name) is not None])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"ModelRegistryView({dict(self)!r})"


def _shown(store: RegistryStore, name: str) -> tuple[ModelVersion, str | None] | None:
    champion = store.alias(name, "champion")
    if champion is not None:
        return champion, "champion"
    versions = store.versions(name)
    return (versions[-1], None) if versions else None


def _entry(store: RegistryStore, name: str) -> dict[str, Any] | None:
    shown = _shown(store, name)
    if shown is None:
        return None
    version, alias = shown
    return {
        "version": str(version.version),
        # Without an offset (UTC), because the founding example subtracts it from a naive now.
        "last_trained": version.trained_at.replace(tzinfo=None).isoformat(timespec="seconds"),
        "metrics": {metric: numbers["value"] for metric, numbers in version.metrics.items()},
        "intervals": {metric: (numbers["low"], numbers["high"]) for metric, numbers in version.metrics.items()},
        "kind": version.kind,
        "details": dict(version.evaluation.get("details", {})),
        "alias": alias,
        "model_sha256": version.model_sha256,
        "data_version": version.data_version,
    }
