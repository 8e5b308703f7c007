"""A fitted detector as files: JSON for what was learned, plain arrays for where every series stands."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np

from within_pipelines.exceptions import ArtifactError
from within_pipelines.prediction.anomaly.bank import bank_of
from within_pipelines.prediction.anomaly.detector import MODEL, Fitted
from within_pipelines.prediction.anomaly.tail import Calibration, Tails
from within_pipelines.prediction.artifact import read_artifact, write_artifact

_LEARNED = "detector.json"


def write_detector(folder: Path, kind: str, sensitivity: float, fitted: Fitted) -> str:
    """Write the artifact; returns `model_sha256`."""
    learned = {
        "laws": [law.to_dict() for law in fitted.laws],
        "half": fitted.half,
        "calibration": fitted.calibration.to_dict(),
        "extremal_index": fitted.extremal_index,
        "series": {str(step): [list(key) for key in bank.keys] for step, bank in sorted(fitted.banks.items())},
    }
    files = {_LEARNED: json.dumps(learned, sort_keys=True).encode()}
    for step, bank in sorted(fitted.banks.items()):
        for name, part in bank.arrays().items():
            content = io.BytesIO()
            np.save(content, np.ascontiguousarray(part), allow_pickle=False)
            files[f"{step}.{name}.npy"] = content.getvalue()
    return write_artifact(folder, files, {"model": MODEL, "kind": kind, "sensitivity": sensitivity})


def read_detector(folder: Path) -> tuple[str, float, Fitted]:
    """Kind, sensitivity and what was learned. Raises `ArtifactError` for another model's artifact or arrays that do not fit."""
    artifact = read_artifact(folder)
    if artifact.manifest.get("model") != MODEL:
        raise ArtifactError(f"{folder} holds the model {artifact.manifest.get('model')!r}; an {MODEL} detector cannot load it.")
    learned = json.loads(artifact.text(_LEARNED))
    if "laws" not in learned:
        raise ArtifactError(f"{folder} was written by a version before detectors kept a state; train it again.")
    banks = {}
    for step, keys in learned["series"].items():
        names = [name for name in artifact.manifest["files"] if name.startswith(f"{step}.")]
        parts = {
            name.removeprefix(f"{step}.").removesuffix(".npy"): np.load(io.BytesIO(artifact.bytes(name)), allow_pickle=False)
            for name in names
        }
        if any(len(part) != len(keys) for part in parts.values()):
            raise ArtifactError(f"{folder} lists {len(keys)} series, but its arrays hold another number.")
        banks[int(step)] = bank_of(int(step), [tuple(key) for key in keys], parts)
    laws = tuple(Tails.from_dict(law) for law in learned["laws"])
    fitted = Fitted(laws, learned["half"], Calibration.from_dict(learned["calibration"]), learned["extremal_index"], banks)
    return artifact.manifest["kind"], artifact.manifest["sensitivity"], fitted
