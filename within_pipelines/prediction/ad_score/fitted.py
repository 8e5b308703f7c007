"""What the fit of an ad-score model learned, as one value."""

from __future__ import annotations

from dataclasses import dataclass

from within_pipelines.prediction.ad_score.inputs import Inputs
from within_pipelines.prediction.ad_score.levels import LevelModel
from within_pipelines.prediction.ad_score.library import AdLibrary
from within_pipelines.prediction.ad_score.stack import Stack
from within_pipelines.prediction.ad_score.suggestions import EditInterval
from within_pipelines.prediction.ad_score.support import Support


@dataclass(frozen=True, slots=True)
class Fitted:
    """What `fit` learned. `spread`: of true contrasts between siblings; `residual`: of the truth around a prediction; `quantile`: the
    conformal one; `sharpness`: calibration of win probabilities; `centre`: the mean prediction of past ads."""

    inputs: Inputs
    stack: Stack
    centre: float
    spread: float
    residual: float
    quantile: float
    sharpness: float
    edit_interval: EditInterval
    choices: dict[str, tuple[str, ...]]
    support: Support
    levels: LevelModel | None
    library: AdLibrary
