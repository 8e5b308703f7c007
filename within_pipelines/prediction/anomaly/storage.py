"""A fitted detector as files: JSON for what was learned, plain arrays for where every series stands."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from within_pipelines.exceptions import ArtifactError
from within_pipelines.prediction.anomaly.bank import bank_of
from within_pipelines.prediction.anomaly.feed_memory import FeedMemory
from within_pipelines.prediction.anomaly.forecast import Windows
from within_pipelines.prediction.anomaly.learning import Fitted
from within_pipelines.prediction.anomaly.series import Rhythm
from within_pipelines.prediction.anomaly.stream import unlearned
from within_pipelines.prediction.anomaly.tail import Calibration, Tails
from within_pipelines.prediction.artifact import Artifact, read_artifact, write_artifact

MODEL = "anomaly"
_LEARNED = "detector.json"
_FEEDS = "feeds"


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
            files[f"{step}.{name}.npy"] = _array(part)
    keys = [key for _, bank in sorted(fitted.banks.items()) for key in bank.keys]
    for name, part in fitted.feeds.arrays(keys).items():
        files[f"{_FEEDS}.{name}.npy"] = _array(part)
    return write_artifact(folder, files, {"model": MODEL, "kind": kind, "sensitivity": sensitivity})


def _array(part: Any) -> bytes:
    content = io.BytesIO()
    np.save(content, np.ascontiguousarray(part), allow_pickle=False)
    return content.getvalue()


def read_detector(folder: Path) -> tuple[str, float, Fitted]:
    """Kind, sensitivity and what was learned. Raises `ArtifactError` for another model's artifact or arrays that do not fit."""
    artifact = read_artifact(folder, model=MODEL)
    learned = json.loads(artifact.text(_LEARNED))
    if "laws" not in learned:
        raise ArtifactError(f"{folder} was written by a version before detectors kept a state; train it again.")
    banks = {}
    for step, keys in sorted(learned["series"].items(), key=lambda item: int(item[0])):
        parts = _arrays(artifact, step, len(keys))
        if "state.by_slot" not in parts:
            # A version before severity knew the hours learned nothing of them: every hour counts as an ordinary one.
            season = Windows.of(Rhythm(int(step), 0)).season
            parts["state.by_slot"] = unlearned(len(keys), parts["state.past.residual"].shape[1], season)
        banks[int(step)] = bank_of(int(step), [tuple(key) for key in keys], parts)
    known = [key for bank in banks.values() for key in bank.keys]
    # A version before feeds were remembered wrote none: it knows the series and nothing of their feeds.
    feeds = FeedMemory.of(known, _arrays(artifact, _FEEDS, len(known)) or None)
    if not (feeds.step > 0).all():
        feeds.step = np.array([step for step, bank in banks.items() for _ in bank.keys], dtype=np.int64)
    laws = tuple(Tails.from_dict(law) for law in learned["laws"])
    fitted = Fitted(laws, learned["half"], Calibration.from_dict(learned["calibration"]), learned["extremal_index"], banks, feeds)
    return artifact.manifest["kind"], artifact.manifest["sensitivity"], fitted


def _arrays(artifact: Artifact, prefix: str, rows: int) -> dict[str, Any]:
    """The arrays of one bank or of the feeds, by name."""
    names = [name for name in artifact.manifest["files"] if name.startswith(f"{prefix}.")]
    parts = {
        name.removeprefix(f"{prefix}.").removesuffix(".npy"): np.load(io.BytesIO(artifact.bytes(name)), allow_pickle=False)
        for name in names
    }
    if any(len(part) != rows for part in parts.values()):
        raise ArtifactError(f"{artifact.folder} lists {rows} series, but its arrays hold another number.")
    return parts
