"""Which versions were taken back? None of them is promoted again by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from within_pipelines.validation import CanaryState

if TYPE_CHECKING:
    import polars as pl

    from within_pipelines.pipeline.workspace import Workspace

# How the reason of a rollback begins in the history of aliases.
ROLLBACK = "rollback: "
# How the reason begins when a canary ended for something that says nothing about its version.
NO_CONTROL, REFUSED = "Control v", "Promotion was refused: "


def rolled_back_from(history: pl.DataFrame) -> set[int]:
    """Versions whose last move as champion was away from them by a rollback."""
    left: dict[int, bool] = {}
    for row in history.iter_rows(named=True):
        if row["alias"] != "champion":
            continue
        left[row["to_version"]] = False
        if row["from_version"] is not None:
            left[row["from_version"]] = row["why"].startswith(ROLLBACK)
    return {version for version, back in left.items() if back}


def withdrawn_versions(ws: Workspace, model: str) -> dict[int, str]:
    """Versions that were rolled back from as champion, or whose last canary was taken back, each with what happened.

    A version that somebody made champion after its canary had failed is none."""
    from within_pipelines.database import CanaryRepository

    history = ws.registry.alias_history(model)
    served = {row["to_version"]: row["moved_at"] for row in history.iter_rows(named=True) if row["alias"] == "champion"}
    found: dict[int, str] = {}
    for canary in CanaryRepository(ws.database).canaries(model):
        version, ended = canary.spec.version, canary.ended_at
        found.pop(version, None)
        bad = canary.state is CanaryState.ROLLED_BACK and not canary.reason.startswith((NO_CONTROL, REFUSED))
        if bad and ended is not None and (version not in served or served[version] <= ended):
            found[version] = f"its canary was rolled back ({canary.reason.rstrip('.')})"
    return found | dict.fromkeys(rolled_back_from(history), "it was rolled back from")
