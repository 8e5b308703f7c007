"""What a canary tells people: that it was taken back, or that it does not come on."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from within_pipelines.pipeline.alerting import close_alert, open_alert

if TYPE_CHECKING:
    from within_pipelines.database import CanaryRecord
    from within_pipelines.pipeline.workspace import Workspace


def tell_rolled_back(ws: Workspace, canary: CanaryRecord, *, now: datetime) -> None:
    """Open the alert about a canary that was taken back."""
    from within_pipelines.monitoring import Alert, Severity

    spec = canary.spec
    open_alert(
        ws,
        Alert(
            dedup_key=f"canary/{spec.model}",
            severity=Severity.WARNING,
            title=f"{spec.model}: canary v{spec.version} was rolled back",
            detail=canary.reason,
            closes_when=f"A later canary of {spec.model} is promoted.",
            context={"model": spec.model, "version": str(spec.version)},
        ),
        now=now,
    )


def close_rolled_back(ws: Workspace, model: str, *, now: datetime) -> None:
    """A canary of the model was promoted."""
    close_alert(ws, f"canary/{model}", now=now)


def tell_stalled(ws: Workspace, canary: CanaryRecord, *, now: datetime) -> None:
    """Open the alert about a canary that stays in its stage and keeps later versions waiting."""
    from within_pipelines.monitoring import Alert, Severity

    spec = canary.spec
    open_alert(
        ws,
        Alert(
            dedup_key=f"canary-stalled/{spec.model}",
            severity=Severity.WARNING,
            title=f"{spec.model}: canary v{spec.version} has been at {canary.share:.0%} since {canary.stage_since}",
            detail=f"{canary.reason} Later versions wait for it. Its outcomes are {spec.outcomes}: see that they arrive, or end it with "
            f"`within canary abort {spec.model}`.",
            closes_when="The canary moves to another stage or ends.",
            context={"model": spec.model, "version": str(spec.version)},
        ),
        now=now,
    )


def close_stalled(ws: Workspace, model: str, *, now: datetime) -> None:
    """The canary of the model moves on or has ended."""
    close_alert(ws, f"canary-stalled/{model}", now=now)
