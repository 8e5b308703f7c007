"""Show what was trained where others look: runs, metrics and versions copied into an MLflow tracking server.

The registry stays the truth. The mirror is written to and never read back from, except to see what it has already."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from within_pipelines.exceptions import SettingsError
from within_pipelines.pipeline.training import MODELS
from within_pipelines.pipeline.workspace import Workspace

if TYPE_CHECKING:
    from within_pipelines.database import TrainingRun
    from within_pipelines.registry import ModelVersion

# What a run or version is known by over there.
KEY = "within.key"
# MLflow takes parameters of 500 letters everywhere, and longer ones only in newer servers.
_LONGEST_PARAM = 500
_METRICS_AT_ONCE, _PARAMS_AT_ONCE = 1000, 100


@dataclass(frozen=True, slots=True)
class MirroredRun:
    """One training run as a tracking server takes it; `metrics` are (name, value, step)."""

    key: str
    name: str
    params: Mapping[str, str]
    metrics: tuple[tuple[str, float, int], ...]
    tags: Mapping[str, str]
    started_at: datetime


@dataclass(frozen=True, slots=True)
class MirroredVersion:
    """One registered version as a tracking server takes it."""

    key: str
    source: str
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Mirrored:
    """How many runs and versions a call added, and how many were there."""

    runs: int
    versions: int
    runs_there: int
    versions_there: int


class Tracker(Protocol):
    """What the mirror needs of a tracking server."""

    def runs(self, experiment: str) -> Mapping[str, str]:
        """The server's id of each run that was mirrored, by our key."""

    def add_run(self, experiment: str, run: MirroredRun) -> str:
        """Add a run and return the server's id. Its key is written last: a run that was cut short has none, and is added again."""

    def versions(self, model: str) -> frozenset[str]:
        """Our keys of the versions that were mirrored."""

    def add_version(self, model: str, version: MirroredVersion, *, run_id: str | None) -> None:
        """Add a version of a registered model, which is made when it is not there."""


def mirror_registry(ws: Workspace, tracker: Tracker) -> Mirrored:
    """Copy every training run and every version that the tracker lacks; what is there is left alone, so a second call adds nothing.

    The experiments and registered models are called `within/<model>` and `within-<model>`."""
    from within_pipelines.database import TrainingRunRepository

    added_runs = added_versions = runs_there = versions_there = 0
    for model in MODELS:
        experiment, name = f"within/{model}", f"within-{model}"
        versions, found = ws.registry.versions(model), TrainingRunRepository(ws.database).runs(model)
        if not versions and not found:
            continue
        known = dict(tracker.runs(experiment))
        by_version: dict[int, str] = {}
        for run in found:
            mirrored = mirrored_run(run)
            if mirrored.key in known:
                runs_there += 1
            else:
                known[mirrored.key] = tracker.add_run(experiment, mirrored)
                added_runs += 1
            by_version[run.version] = known[mirrored.key]
        there = tracker.versions(name)
        for version in versions:
            copied = mirrored_version(version)
            if copied.key in there:
                versions_there += 1
                continue
            tracker.add_version(name, copied, run_id=by_version.get(version.version))
            added_versions += 1
    return Mirrored(added_runs, added_versions, runs_there, versions_there)


def mirrored_run(run: TrainingRun) -> MirroredRun:
    """A training run in a tracking server's terms: nested numbers as dotted names, learning curves by step, the rest as JSON text."""
    metrics = [(name, value, 0) for name, value in _numbers("", run.metrics)]
    for name, curve in run.curves.items():
        # By epoch, or with the place of each point.
        points = list(zip(curve["x"], curve["y"], strict=True)) if isinstance(curve, dict) else list(enumerate(curve))
        metrics += [(f"curve.{name}", float(value), int(step)) for step, value in points if _is_number(value)]
    metrics.append(("cpu_seconds", run.cpu_seconds, 0))
    return MirroredRun(
        key=f"{run.model}/v{run.version}/{run.started_at.isoformat()}",
        name=f"{run.model} v{run.version}",
        params={name: _text(value) for name, value in run.params.items()},
        metrics=tuple(metrics),
        tags={"version": str(run.version), "kind": run.kind, "data_version": run.data_version, "code_version": run.code_version},
        started_at=run.started_at,
    )


def mirrored_version(version: ModelVersion) -> MirroredVersion:
    """A version in a tracking server's terms. Its source names the artifact by hash: the files stay where they are."""
    return MirroredVersion(
        key=f"v{version.version}/{version.model_sha256}",
        source=f"within-artifact://{version.model}/{version.model_sha256}",
        tags={
            "version": str(version.version), "kind": version.kind, "model_sha256": version.model_sha256,
            "data_version": version.data_version, "spec_sha256": version.spec_sha256, "trained_at": version.trained_at.isoformat(),
        },
    )  # fmt: skip


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _numbers(name: str, value: Any) -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for inner, held in value.items():
            yield from _numbers(f"{name}.{inner}" if name else str(inner), held)
    elif _is_number(value):
        yield name, float(value)


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    # A text that was cut would be a wrong value; its hash is a right one.
    return text if len(text) <= _LONGEST_PARAM else f"sha256:{hashlib.sha256(text.encode()).hexdigest()} of {len(text)} letters"


class MlflowTracker:
    """A tracking server of MLflow; `client` is its `MlflowClient`."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def runs(self, experiment: str) -> Mapping[str, str]:
        """The server's id of each run that was mirrored, by our key."""
        found = self._client.get_experiment_by_name(experiment)
        if found is None:
            return {}
        known: dict[str, str] = {}
        token = None
        while True:
            page = self._client.search_runs([found.experiment_id], max_results=1000, page_token=token)
            known |= {run.data.tags[KEY]: run.info.run_id for run in page if KEY in run.data.tags}
            token = page.token
            if not token:
                return known

    def add_run(self, experiment: str, run: MirroredRun) -> str:
        """Add a run and return the server's id."""
        from mlflow.entities import Metric, Param

        found = self._client.get_experiment_by_name(experiment)
        where = self._client.create_experiment(experiment) if found is None else found.experiment_id
        began = round(1000 * run.started_at.timestamp())
        added: str = self._client.create_run(where, start_time=began, tags=dict(run.tags), run_name=run.name).info.run_id
        metrics = [Metric(name, value, began, step) for name, value, step in run.metrics]
        params = [Param(name, text) for name, text in run.params.items()]
        for start in range(0, len(metrics), _METRICS_AT_ONCE):
            self._client.log_batch(added, metrics=metrics[start : start + _METRICS_AT_ONCE])
        for start in range(0, len(params), _PARAMS_AT_ONCE):
            self._client.log_batch(added, params=params[start : start + _PARAMS_AT_ONCE])
        self._client.set_terminated(added)
        self._client.set_tag(added, KEY, run.key)
        return added

    def versions(self, model: str) -> frozenset[str]:
        """Our keys of the versions that were mirrored."""
        known: set[str] = set()
        token = None
        while True:
            page = self._client.search_model_versions(f"name='{model}'", max_results=200, page_token=token)
            known |= {version.tags[KEY] for version in page if KEY in version.tags}
            token = page.token
            if not token:
                return frozenset(known)

    def add_version(self, model: str, version: MirroredVersion, *, run_id: str | None) -> None:
        """Add a version of a registered model, which is made when it is not there."""
        if not self._client.search_registered_models(f"name='{model}'"):
            self._client.create_registered_model(model)
        self._client.create_model_version(model, version.source, run_id=run_id, tags={**version.tags, KEY: version.key})


def open_tracker(uri: str) -> MlflowTracker:
    """The tracking server at `uri` (https://..., sqlite:///file, a folder), which keeps the versions too.

    Raises `SettingsError` when MLflow is not installed."""
    try:
        from mlflow import MlflowClient
    except ImportError as error:
        raise SettingsError("MLflow is not installed; pip install 'within-pipelines[mlflow]' brings mlflow-skinny.") from error
    return MlflowTracker(MlflowClient(tracking_uri=uri, registry_uri=uri))
