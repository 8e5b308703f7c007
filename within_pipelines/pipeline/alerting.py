"""Alerts into the operational database: one open row per cause, counted up while it lasts."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from within_pipelines.pipeline.alert_manager import AlertManager
from within_pipelines.pipeline.workspace import Workspace

if TYPE_CHECKING:
    from within_pipelines.monitoring import Alert


def open_alert(ws: Workspace, alert: Alert, *, now: datetime) -> None:
    """Open the alert, or count a repeat of the one that is open for the same cause."""
    AlertManager(ws).tell(alert, now=now)


def close_alert(ws: Workspace, dedup_key: str, *, now: datetime) -> bool:
    """Close what is open for a cause; returns whether anything was."""
    return AlertManager(ws).close(dedup_key, now=now)
