"""A fitted predictor as files: JSON for its parts, XGBoost's own format for the trees."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from within_pipelines.exceptions import ArtifactError
from within_pipelines.prediction.account_health.blend import HealthBlend
from within_pipelines.prediction.account_health.stopping import StoppingPart
from within_pipelines.prediction.adaptive_conformal import AdaptiveConformal
from within_pipelines.prediction.artifact import Artifact, read_artifact, write_artifact
from within_pipelines.prediction.calibration import PlattScaling

_STATE, _TREES = "model.json", "trees.ubj"


@dataclass(frozen=True, slots=True)
class Parts:
    """What a predictor keeps beside its settings: the blend and its calibration, the band, the probability of stopping, the stability per
    group, the training rows per target, and the day number of the newest origin learned from. None for what was not learned or kept."""

    blend: HealthBlend
    platt: PlattScaling
    band: AdaptiveConformal | None
    stopping: StoppingPart | None
    stability: Mapping[str, float]
    targets: Mapping[str, int] | None
    learned_until: int | None


def write_parts(folder: Path, parts: Parts, manifest: Mapping[str, Any]) -> str:
    """Write the artifact; returns `model_sha256`."""
    state = {
        "blend": parts.blend.to_dict(),
        "platt": [parts.platt.intercept, parts.platt.slope],
        "band": None if parts.band is None else parts.band.to_dict(),
        "stopping": None if parts.stopping is None else parts.stopping.to_dict(),
        "stability": dict(parts.stability),
        "targets": None if parts.targets is None else dict(parts.targets),
        "learned_until": parts.learned_until,
    }
    files = {_STATE: json.dumps(state, sort_keys=True).encode()}
    if parts.blend.trees is not None:
        files[_TREES] = parts.blend.trees
    return write_artifact(folder, files, manifest)


def read_parts(folder: Path, *, model: str) -> tuple[Artifact, Parts]:
    """The artifact, whose manifest holds the settings, and the parts in it.

    Raises `ArtifactError` when it is damaged, of another model, or of a version of this code that kept other parts."""
    artifact = read_artifact(folder, model=model)
    state = json.loads(artifact.text(_STATE))
    if "blend" not in state:
        raise ArtifactError(f"{folder} was written by an older version that kept other parts; train the model again (`within run`).")
    trees = artifact.bytes(_TREES) if _TREES in artifact.manifest["files"] else None
    return artifact, Parts(
        blend=HealthBlend.from_dict(state["blend"], trees),
        platt=PlattScaling(*state["platt"]),
        band=None if state["band"] is None else AdaptiveConformal.from_dict(state["band"]),
        stopping=None if state["stopping"] is None else StoppingPart.from_dict(state["stopping"]),
        stability=state["stability"],
        targets=state.get("targets"),
        learned_until=state["learned_until"],
    )
