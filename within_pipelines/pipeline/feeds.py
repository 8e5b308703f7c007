"""Which metrics stopped coming, told once per account; and what was planned."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from within_pipelines.exceptions import SchemaError
from within_pipelines.pipeline.alerting import close_alert, open_alert
from within_pipelines.pipeline.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl

    from within_pipelines.prediction import Calendar

_WHAT = {"missing": "has no value", "stalled": "repeats its value"}


def planned_changes(ws: Workspace) -> Calendar:
    """The section `planned` of HOME/calendar.yaml; empty without the file or the section.

    Raises `SchemaError` when the file is no YAML or does not fit."""
    import yaml

    from within_pipelines.prediction import Calendar

    path = ws.settings.calendar
    if not path.is_file():
        return Calendar()
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SchemaError(f"{path} is no valid YAML: {error}.") from error
    if values is None:
        return Calendar()
    if not isinstance(values, dict):
        raise SchemaError(f"{path} holds a {type(values).__name__}; give a section `planned` with a list of changes.")
    return Calendar.of({"planned": values.get("planned") or []})


def tell_stopped_feeds(ws: Workspace, feeds: Sequence[dict[str, Any]], series: pl.DataFrame, *, now: datetime) -> None:
    """One alert per account whose metrics stopped coming while the rest of it goes on; closed when all of them are back.

    `feeds` are the stopped feeds of `AnomalyDetector.judge`, `series` the table that they were found in."""
    from within_pipelines.monitoring import Alert, Severity

    stopped: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for feed in feeds:
        stopped.setdefault((feed["platform"], feed["account_id"]), []).append(feed)
    for platform, account in sorted(series.select("platform", "account_id").unique().iter_rows()):
        key = f"feed/{platform}/{account}"
        found = stopped.get((platform, account))
        if found is None:
            close_alert(ws, key, now=now)
            continue
        told = "; ".join(f"{feed['metric']} {_WHAT[feed['kind']]} since {feed['timestamp']} ({feed['points']} days)" for feed in found)
        alert = Alert(
            dedup_key=key,
            severity=Severity.WARNING,
            title=f"{platform} account {account}: {len(found)} metrics stopped coming",
            detail=f"{told}. Nothing is said about the values of these metrics until they come again.",
            closes_when="Every metric of the account has new values.",
            context={"platform": platform, "account_id": account},
        )
        open_alert(ws, alert, now=now)
