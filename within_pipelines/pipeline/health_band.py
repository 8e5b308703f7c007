"""The band of account health as the daily job learned it from outcomes, kept so that the same band can be drawn elsewhere."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from within_pipelines.exceptions import ArtifactError
from within_pipelines.files import write_text

if TYPE_CHECKING:
    from within_pipelines.pipeline.workspace import Workspace
    from within_pipelines.prediction import AccountHealthPredictor
    from within_pipelines.registry import ModelVersion


@dataclass(frozen=True, slots=True)
class LearnedBand:
    """The quantile at which a version's band is drawn on `day`, learned from outcomes of origins up to `outcomes_until`."""

    day: date
    quantile: float
    outcomes_until: date | None


def bands_folder(ws: Workspace, model_sha256: str) -> Path:
    """Where the bands of one artifact lie, a file a day."""
    return ws.settings.artifacts / "bands" / model_sha256


def keep_band(ws: Workspace, version: ModelVersion, day: date, predictor: AccountHealthPredictor) -> None:
    """Write down the band that `predictor` has on `day`; nothing for one without a band. A day scored again replaces its file."""
    quantile, until = predictor.band_quantile, predictor.learned_until
    if quantile is None:
        return
    values = {"quantile": quantile, "outcomes_until": None if until is None else until.isoformat()}
    write_text(bands_folder(ws, version.model_sha256) / f"{day.isoformat()}.json", json.dumps(values))


def band_on(ws: Workspace, model_sha256: str, day: date) -> LearnedBand | None:
    """The band that the daily job drew for `day`, or the newest before it; None when it has scored no such day with this artifact.

    Raises `ArtifactError` for a file that holds something else."""
    earlier = [name.stem for name in bands_folder(ws, model_sha256).glob("????-??-??.json") if name.stem <= day.isoformat()]
    if not earlier:
        return None
    path = bands_folder(ws, model_sha256) / f"{max(earlier)}.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        until = values["outcomes_until"]
        return LearnedBand(date.fromisoformat(path.stem), float(values["quantile"]), None if until is None else date.fromisoformat(until))
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{path} holds no band; remove it and score that day again (`within score --day {path.stem}`).") from error
