"""What a version was trained on, kept with the version, so that drift is judged against exactly that."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Mapping
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
from within_pipelines.stats import Estimate, Status, Verdict

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
    how well weeks of the training period are told apart (`calm_separation`, an AUC; None where it could not be asked). `model` and
    `data_version` say what it was made for; empty for one of an earlier release."""

    data: Monitored
    schema_version: str
    profile: Mapping[str, Any]
    sha256: str
    calm_separation: float | None = None
    model: str = ""
    data_version: str = ""

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
        "calm_separation": calm, "data_version": pin.data_version,
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
    return DriftReference(
        data, told["schema_version"], told["profile"], stored.model_sha256, told.get("calm_separation"), told["model"],
        told.get("data_version", ""),
    )  # fmt: skip


def baseline_verdict(ws: Workspace, version: ModelVersion) -> Verdict:
    """The gate `drift_baseline`: the version has a drift reference that is there, hash by hash as written, holds rows, and was made of the
    version's own model, data and feature definition. A version without one would serve unwatched."""
    problems: list[str] = []
    sizes = {"rows": 0}
    reference = None
    try:
        reference = read_reference(ws, version)
        if reference is None:
            problems.append(f"{version.model} v{version.version} has no drift reference; train it again.")
    except ArtifactError as error:
        problems.append(f"{error} `within run` writes it anew from the same data.")
    if reference is not None:
        sizes = {"rows": reference.data.rows.height, "judged_rows": reference.data.judged.height}
        made_for = (reference.model, reference.data_version)
        if made_for != (version.model, version.data_version):
            problems.append(
                f"The drift reference was made for {reference.model or 'no model'} on data {reference.data_version[:12] or 'unknown'}, "
                f"the version for {version.model} on {version.data_version[:12]}; train it again."
            )
        current = schema_version(version.model)
        if reference.schema_version != current:
            problems.append(f"The drift reference holds {reference.schema_version}, the code computes {current}; train it again.")
        if not reference.data.rows.height:
            problems.append("The drift reference holds no rows.")
    found = Estimate(float(len(problems)), float(len(problems)), float(len(problems)), n=1)
    reason = " ".join(problems) or f"What it was trained on is kept: {sizes['rows']:,} rows, hash by hash as written."
    return Verdict("drift_baseline", Status.FAILED if problems else Status.PASSED, found, 0.0, sizes, reason)


def restore_reference(ws: Workspace, pin: Pin, version: ModelVersion, load: Callable[[], Any]) -> None:
    """Write the reference of a version anew where it was lost or damaged; the same rows, code and seed give the same content.

    `load` reads the version's predictor, which is needed only then."""
    try:
        read_reference(ws, version)
    except ArtifactError:
        keep_reference(ws, pin, version.model, load())


def _parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd")
    return buffer.getvalue()


def _frame(content: bytes) -> pl.DataFrame:
    import polars as pl

    return pl.read_parquet(io.BytesIO(content))
