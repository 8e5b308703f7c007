"""A fitted detector as files: JSON for what was learned, plain arrays for the remembered values."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np

from within_pipelines.exceptions import ArtifactError
from within_pipelines.prediction.anomaly.block import Memory
from within_pipelines.prediction.anomaly.detector import MODEL, Fitted
from within_pipelines.prediction.anomaly.forecast import Transform
from within_pipelines.prediction.anomaly.series import Rhythm
from within_pipelines.prediction.anomaly.tail import Tails
from within_pipelines.prediction.artifact import read_artifact, write_artifact

_LEARNED, _VALUES = "detector.json", "values.npy"


def write_detector(folder: Path, kind: str, sensitivity: float, fitted: Fitted) -> str:
    """Write the artifact; returns `model_sha256`."""
    ordered = sorted(fitted.memories.items())
    series = [
        {
            "key": list(key),
            "step": memory.rhythm.step,
            "phase": memory.rhythm.phase,
            "logarithm": memory.transform.logarithm,
            "offset": memory.transform.offset,
            "aware": memory.aware,
            "end": memory.end,
            "length": len(memory.values),
        }
        for key, memory in ordered
    ]
    learned = {"tails": fitted.tails.to_dict(), "extremal_index": fitted.extremal_index, "series": series}
    values = io.BytesIO()
    np.save(values, np.concatenate([np.empty(0), *(memory.values for _, memory in ordered)]), allow_pickle=False)
    files = {_LEARNED: json.dumps(learned, sort_keys=True).encode(), _VALUES: values.getvalue()}
    return write_artifact(folder, files, {"model": MODEL, "kind": kind, "sensitivity": sensitivity})


def read_detector(folder: Path) -> tuple[str, float, Fitted]:
    """Kind, sensitivity and what was learned. Raises `ArtifactError` for another model's artifact or values that do not fit."""
    artifact = read_artifact(folder)
    if artifact.manifest.get("model") != MODEL:
        raise ArtifactError(f"{folder} holds the model {artifact.manifest.get('model')!r}; an {MODEL} detector cannot load it.")
    learned = json.loads(artifact.text(_LEARNED))
    values = np.load(io.BytesIO(artifact.bytes(_VALUES)), allow_pickle=False)
    lengths = [entry["length"] for entry in learned["series"]]
    if sum(lengths) != len(values):
        raise ArtifactError(f"{folder} holds {len(values)} remembered values, but its series need {sum(lengths)}.")
    memories = {}
    for entry, part in zip(learned["series"], np.split(values, np.cumsum(lengths)[:-1]) if lengths else [], strict=True):
        rhythm = Rhythm(entry["step"], entry["phase"])
        transform = Transform(entry["logarithm"], entry["offset"])
        memories[tuple(entry["key"])] = Memory(rhythm, transform, entry["aware"], entry["end"], part)
    fitted = Fitted(Tails.from_dict(learned["tails"]), learned["extremal_index"], memories)
    return artifact.manifest["kind"], artifact.manifest["sensitivity"], fitted
