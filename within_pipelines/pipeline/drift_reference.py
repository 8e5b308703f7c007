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
from within_pipelines.pipeline.monitored_rows import Monitored, trained_on
from within_pipelines.pipeline.tables import FEATURE_TABLE
from within_pipelines.pipeline.workspace import Pin, Workspace
from within_pipelines.stats import Estimate, Status, Verdict

if TYPE_CHECKING:
    import polars as pl

    from within_pipelines.registry import ModelVersion

_PARTS = ("rows", "said", "judged")
STORE = "drift_reference"


@dataclass(frozen=True, slots=True)
class DriftReference:
    """A stored reference: sample, answers and judged rows, with the profile of the features and the version of their definition."""

    data: Monitored
    schema_version: str
    profile: Mapping[str, Any]
    sha256: str

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
    manifest = {"model": model, "kind": STORE, "loss": found.loss, "schema_version": schema_version(model), "profile": profile.to_dict()}
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
    frames = {name: _frame(stored.bytes(f"{name}.parquet")) for name in _PARTS}
    data = Monitored(**frames, loss=stored.manifest["loss"])
    return DriftReference(data, stored.manifest["schema_version"], stored.manifest["profile"], stored.model_sha256)


def drift_baseline_verdict(ws: Workspace, version: ModelVersion) -> Verdict:
    """The gate `drift_baseline`: what the version was trained on is kept, unchanged and by today's definition of the features, so that
    drift can be seen from its first day on."""
    rows, why = 0, "no reference was kept when it was trained"
    try:
        reference = read_reference(ws, version)
    except ArtifactError as error:
        reference, why = None, str(error).rstrip(".")
    if reference is not None:
        rows, current = reference.data.rows.height, schema_version(version.model)
        why = "" if rows else "the reference holds no rows"
        if reference.schema_version != current:
            why = f"the reference is of {reference.schema_version}, and features are {current} now"
    found = Estimate(float(rows), float(rows), float(rows), n=max(rows, 1))
    reason = f"Drift cannot be judged: {why}." if why else f"A reference of {rows:,} rows is kept, by the features of today."
    return Verdict("drift_baseline", Status.FAILED if why else Status.PASSED, found, 1.0, {"rows": rows}, reason)


def _parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd")
    return buffer.getvalue()


def _frame(content: bytes) -> pl.DataFrame:
    import polars as pl

    return pl.read_parquet(io.BytesIO(content))
