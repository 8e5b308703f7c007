"""What a version was trained on, kept with the version, so that drift is judged against exactly that."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from within_pipelines.exceptions import ArtifactError
from within_pipelines.pipeline.joint_drift import calm_separation
from within_pipelines.pipeline.monitored_rows import WINDOW_DAYS, Monitored, trained_on
from within_pipelines.pipeline.tables import FEATURE_TABLE
from within_pipelines.pipeline.workspace import Pin, Workspace

if TYPE_CHECKING:
    import polars as pl

    from within_pipelines.registry import ModelVersion

_PARTS = ("rows", "said", "judged", "texts")
# References of earlier releases lack these.
_LATER_PARTS = ("texts",)
STORE = "drift_reference"


@dataclass(frozen=True, slots=True)
class DriftReference:
    """A stored reference: sample, answers, judged rows and texts, with the profile of the features, the version of their definition, and
    how well weeks of the training period are told apart (`calm_separation`, an AUC; None where it could not be asked)."""

    data: Monitored
    schema_version: str
    profile: Mapping[str, Any]
    sha256: str
    calm_separation: float | None = None

    @property
    def last_day(self) -> date:
        """The newest day of the training rows."""
        newest: date = self.data.rows["day"].max()  # type: ignore[assignment]
        return newest

    @property
    def judged_until(self) -> date:
        """The newest day that was judged before the version could serve."""
        judged = self.data.judged
        newest: date = judged["day"].max() if judged.height else self.last_day  # type: ignore[assignment]
        return newest


def schema_version(model: str) -> str:
    """Name, version and content hash of the feature definition that `model` reads."""
    from within_pipelines.features import ACCOUNT_FEATURES, CREATIVE_FEATURES, METRICS

    spec = {"account_features": ACCOUNT_FEATURES, "creative_features": CREATIVE_FEATURES}.get(FEATURE_TABLE[model])
    return f"metric_series/{len(METRICS)}" if spec is None else f"{spec.name}/{spec.version}/{spec.sha256[:12]}"


def keep_reference(ws: Workspace, pin: Pin, model: str, predictor: Any) -> str:
    """Store what `predictor` was trained on beside the artifacts, named by its content; returns the place for `read_reference`."""
    from within_pipelines.monitoring import reference_profile
    from within_pipelines.prediction.artifact import write_artifact

    found = trained_on(ws, pin, model, predictor, np.random.default_rng([ws.settings.seed, 40]))
    files = {f"{name}.parquet": _parquet(getattr(found, name)) for name in _PARTS}
    profile = reference_profile(found.rows.drop("cluster", "platform", "day"))
    calm = calm_separation(found.rows, days=WINDOW_DAYS[model], rng=np.random.default_rng([ws.settings.seed, 42]))
    manifest = {
        "model": model, "kind": STORE, "loss": found.loss, "schema_version": schema_version(model), "profile": profile.to_dict(),
        "calm_separation": calm,
    }  # fmt: skip
    ws.settings.artifacts.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ws.settings.artifacts, prefix=".within-tmp-") as scratch:
        folder = Path(scratch) / "reference"
        write_artifact(folder, files, manifest)
        return ws.artifacts.put(STORE, folder)


def read_reference(ws: Workspace, version: ModelVersion) -> DriftReference | None:
    """The reference of a version; None for one that was trained before references were kept.

    Raises `ArtifactError` when it is missing or was changed after it was written."""
    from within_pipelines.prediction import read_artifact

    place = version.evaluation.get("details", {}).get(STORE)
    if place is None:
        return None
    root = ws.settings.artifacts.resolve()
    folder = (root / str(place)).resolve()
    if not folder.is_relative_to(root) or not folder.is_dir():
        raise ArtifactError(f"The drift reference {place!r} of {version.model} v{version.version} is not below {root}; train it again.")
    stored = read_artifact(folder)
    if stored.model_sha256 != folder.name:
        raise ArtifactError(f"The drift reference {place!r} was changed after it was written; train {version.model} again.")
    kept = [name for name in _PARTS if name not in _LATER_PARTS or f"{name}.parquet" in stored.manifest["files"]]
    data = Monitored(**{name: _frame(stored.bytes(f"{name}.parquet")) for name in kept}, loss=stored.manifest["loss"])
    told = stored.manifest
    return DriftReference(data, told["schema_version"], told["profile"], stored.model_sha256, told.get("calm_separation"))


def _parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd")
    return buffer.getvalue()


def _frame(content: bytes) -> pl.DataFrame:
    import polars as pl

    return pl.read_parquet(io.BytesIO(content))
