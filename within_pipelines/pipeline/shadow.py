"""What did the shadow say beside the champion, to whom, how fast, and was it right?"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from within_pipelines.pipeline.training import MODELS
from within_pipelines.pipeline.workspace import Workspace

if TYPE_CHECKING:
    from within_pipelines.validation import ShadowComparison


def shadow_report(ws: Workspace, *, now: datetime, days: int = 28) -> dict[str, ShadowComparison]:
    """Per model the comparison of the version under the alias `shadow` with the champion over the last `days` days; models whose shadow
    answered nothing that the champion answered too are left out."""
    from within_pipelines.database import PredictionRepository
    from within_pipelines.validation import compare_shadow

    store, found = PredictionRepository(ws.database), {}
    for model in MODELS:
        champion, shadow = ws.registry.alias(model, "champion"), ws.registry.alias(model, "shadow")
        if champion is None or shadow is None or champion.version == shadow.version:
            continue
        predictions = store.predictions(model, since=now - timedelta(days=days))
        comparison = compare_shadow(
            predictions, champion_sha256=champion.model_sha256, shadow_sha256=shadow.model_sha256, scale=SCALES[model]
        )
        if comparison is not None:
            found[model] = comparison
    return found


# Value of an answer that means certainty, so that values and outcomes can be compared; None where the value is no probability.
SCALES: dict[str, float | None] = {"ad_score": None, "account_health": 1.0, "anomaly": None}
