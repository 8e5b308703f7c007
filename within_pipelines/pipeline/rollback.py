"""Back to an earlier champion, now."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from within_pipelines.exceptions import ArtifactError, ModelNotFoundError, PromotionRefusedError
from within_pipelines.pipeline.withdrawn import ROLLBACK, rolled_back_from
from within_pipelines.pipeline.workspace import Workspace

if TYPE_CHECKING:
    from within_pipelines.registry import AliasMove


def rollback(ws: Workspace, model: str, *, to: int | None = None, who: str, why: str, now: datetime) -> AliasMove:
    """Move `champion` back to version `to`, or to the one that served last before and was not itself rolled back from.

    Nothing is judged anew: the version was allowed to serve before. Its artifact must be what was registered, hash by hash. What was
    rolled back from is not promoted again by itself.

    Raises `ModelNotFoundError` when nothing serves or there is nothing to go back to, `ArtifactError` when the artifact is damaged,
    `PromotionRefusedError` for a version that never served or serves already, or when somebody else moves the alias at the same time."""
    history = ws.registry.alias_history(model)
    current = ws.registry.alias(model, "champion")
    if current is None:
        raise ModelNotFoundError(f"No version of {model} serves, so there is nothing to roll back.")
    if to is None:
        served = [row["to_version"] for row in history.iter_rows(named=True) if row["alias"] == "champion"]
        away = rolled_back_from(history)
        earlier = [version for version in served if version != current.version and version not in away]
        if not earlier:
            raise ModelNotFoundError(f"{model} v{current.version} is the only version that has served; name another with --to, or promote.")
        to = earlier[-1]
    if to == current.version:
        raise PromotionRefusedError(f"{model} v{to} serves already.")
    version = ws.registry.get(model, to)
    if not ws.artifacts.verify(version):
        raise ArtifactError(f"The artifact of {model} v{to} is missing or was changed; restore it from a backup, or roll back further.")
    return ws.registry.promote(
        model, to, alias="champion", who=who, why=f"{ROLLBACK}{why}", now=now, expected_current=current.version, back=True
    )
