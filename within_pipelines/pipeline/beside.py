"""Who answers beside the champion: a waiting challenger, or the champion before it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from within_pipelines.exceptions import PromotionRefusedError

if TYPE_CHECKING:
    from within_pipelines.pipeline.workspace import Workspace
    from within_pipelines.registry import ModelVersion


def place_beside(
    ws: Workspace, serving: ModelVersion, before: ModelVersion | None, challenger: ModelVersion, *, now: datetime, who: str
) -> None:
    """Move `challenger` and `shadow`; a version that does not even answer its golden sample gets neither.

    A challenger that does not serve gets both. One that does leaves `shadow` to the version `before`, so that the gain is seen."""
    waiting = challenger if challenger.version != serving.version else None
    wanted = {"challenger": waiting, "shadow": waiting if waiting is not None else before}
    for alias, version in wanted.items():
        current = ws.registry.alias(serving.model, alias)
        if version is None or (current is not None and current.version == version.version):
            continue
        try:
            ws.registry.promote(
                serving.model,
                version.version,
                alias=alias,
                who=who,
                why=f"beside champion v{serving.version}",
                now=now,
                expected_current=None if current is None else current.version,
            )
        except PromotionRefusedError:
            continue
