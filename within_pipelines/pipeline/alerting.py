"""Alerts into the operational database: one open row per cause, counted up while it lasts."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from within_pipelines.pipeline.workspace import Workspace

if TYPE_CHECKING:
    from within_pipelines.monitoring import Alert


def open_alert(ws: Workspace, alert: Alert, *, now: datetime) -> None:
    """Open the alert, or count a repeat of the one that is open for the same cause."""
    from within_pipelines.database import AlertRecord, AlertRepository

    record = AlertRecord(
        dedup_key=alert.dedup_key,
        severity=str(alert.severity),
        title=alert.title,
        detail=alert.detail,
        closes_when=alert.closes_when,
        run_id=alert.context.get("run_id"),
        context=dict(alert.context),
    )
    AlertRepository(ws.database).raise_alert(record, now=now)


def close_alert(ws: Workspace, dedup_key: str, *, now: datetime) -> bool:
    """Close what is open for a cause; returns whether anything was."""
    from within_pipelines.database import AlertRepository

    return AlertRepository(ws.database).close(dedup_key, now=now) > 0
