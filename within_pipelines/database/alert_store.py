"""Alerts with their trail and their messages, each change in one transaction."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum

import polars as pl
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from within_pipelines.database.alerting import AlertEventModel
from within_pipelines.database.engine import Database
from within_pipelines.database.operations import AlertModel
from within_pipelines.database.outbox import enqueue, traffic
from within_pipelines.database.records import AlertRecord, AlertRepository, alert_record
from within_pipelines.exceptions import AlertStateError
from within_pipelines.monitoring.alert_policy import RANK, Occasion, route
from within_pipelines.monitoring.alerts import Severity
from within_pipelines.monitoring.channel_settings import AlertSettings

SYSTEM = "within"


class Resolution(StrEnum):
    """What a person found: something was wrong, nothing was wrong, or it does not matter. The first two measure precision."""

    TRUE_ALERT = "true_alert"
    FALSE_ALERT = "false_alert"
    NO_ACTION = "no_action"


class AlertStore(AlertRepository):
    """`AlertRepository` that also keeps who did what and writes the messages that follow into the outbox."""

    def __init__(self, database: Database, settings: AlertSettings) -> None:
        super().__init__(database)
        self._settings = settings

    def get(self, identity: int) -> AlertRecord:
        """One alert.

        Raises `AlertStateError` when there is none."""
        with self._database.reading() as session:
            return alert_record(_existing(session, identity))

    def open_under(self, prefix: str) -> list[AlertRecord]:
        """Open alerts whose key starts with `prefix`, oldest first."""
        with self._database.reading() as session:
            found = select(AlertModel).where(AlertModel.status == "open", AlertModel.dedup_key.startswith(prefix, autoescape=True))
            return [alert_record(row) for row in session.scalars(found.order_by(AlertModel.id))]

    def resolved_since(self, prefix: str, since: datetime) -> set[str]:
        """Keys that start with `prefix` and that a person has closed at `since` or later."""
        closed = select(AlertModel.dedup_key).where(
            AlertModel.closed_at >= since, AlertModel.resolution.is_not(None), AlertModel.dedup_key.startswith(prefix, autoescape=True)
        )
        with self._database.reading() as session:
            return set(session.scalars(closed))

    def acknowledge(self, identity: int, *, who: str, why: str, now: datetime) -> AlertRecord:
        """Somebody looks at it: no escalation any more."""

        def change(session: Session, row: AlertModel) -> None:
            row.acknowledged_at, row.acknowledged_by = now, who

        return self._by_hand(identity, "acknowledged", who, why, now, change)

    def snooze(self, identity: int, *, until: datetime, who: str, why: str, now: datetime) -> AlertRecord:
        """No message until then, unless it gets worse; when it is seen again afterwards it is told anew.

        Raises `AlertStateError` for a time that is not in the future."""
        if until <= now:
            raise AlertStateError(f"An alert cannot be snoozed until {until:%Y-%m-%d %H:%M}, which is over; give a later time.")
        return self._by_hand(identity, "snoozed", who, why, now, lambda _, row: setattr(row, "snoozed_until", until))

    def resolve(self, identity: int, *, resolution: Resolution, who: str, why: str, now: datetime) -> AlertRecord:
        """Close it and say what it was. A closed alert takes a resolution afterwards, because whether it was true is known late."""

        def change(session: Session, row: AlertModel) -> None:
            row.resolution = str(resolution)
            if row.status == "open":
                row.status, row.closed_at = "closed", max(now, row.opened_at)
                self._tell(session, row, Occasion.CLOSED, now=now)

        return self._by_hand(identity, "resolved", who, why or str(resolution), now, change, closed_too=True)

    def escalate(self, *, now: datetime) -> list[AlertRecord]:
        """Send again what nobody has acknowledged in time; returns these alerts. Each is escalated once."""
        limit = now - timedelta(minutes=self._settings.escalate_after_minutes)
        told = (
            select(func.max(AlertEventModel.at))
            .where(AlertEventModel.alert_id == AlertModel.id, AlertEventModel.what.in_(("opened", "worsened")))
            .correlate(AlertModel)
            .scalar_subquery()
        )
        with self._database.writing() as session:
            waiting = select(AlertModel).where(
                AlertModel.status == "open", AlertModel.acknowledged_at.is_(None), AlertModel.escalated_at.is_(None),
                AlertModel.opened_at <= limit, told <= limit,
            )  # fmt: skip
            rows = session.scalars(waiting.order_by(AlertModel.id).with_for_update()).all()
            due = [row for row in rows if RANK[Severity(row.severity)] >= RANK[self._settings.escalate_from] and not _asleep(row, now)]
            for row in due:
                row.escalated_at = now
                _note(session, row, "escalated", SYSTEM, f"not acknowledged within {self._settings.escalate_after_minutes} minutes", now)
                self._tell(session, row, Occasion.ESCALATED, now=now)
            return [alert_record(row) for row in due]

    def trail(self, identity: int) -> pl.DataFrame:
        """What happened to an alert, oldest first: what, who, why, at."""
        schema: dict[str, pl.DataType | type[pl.DataType]] = {
            "at": pl.Datetime("us", "UTC"),
            "what": pl.String,
            "who": pl.String,
            "why": pl.String,
        }
        with self._database.reading() as session:
            rows = [[getattr(row, name) for name in schema] for row in AlertEventModel.find(session, alert_id=identity)]
        return pl.DataFrame(rows, schema=schema, orient="row")

    def resolutions(self, prefix: str = "", *, since: datetime | None = None) -> dict[str, int]:
        """How many alerts have which resolution; those that closed by themselves and nobody judged count as `unjudged`."""
        query = select(AlertModel.resolution, func.count()).where(AlertModel.dedup_key.startswith(prefix, autoescape=True))
        query = query.where(AlertModel.status == "closed")
        if since is not None:
            query = query.where(AlertModel.opened_at >= since)
        with self._database.reading() as session:
            return {str(name or "unjudged"): int(count) for name, count in session.execute(query.group_by(AlertModel.resolution))}

    def _sighted(self, session: Session, row: AlertModel, *, before: str | None, now: datetime) -> None:
        worse = before is not None and RANK[Severity(row.severity)] > RANK[Severity(before)]
        if before is None:
            _note(session, row, "opened", SYSTEM, row.title, now)
            self._tell(session, row, Occasion.OPENED, now=now)
        elif worse:
            row.snoozed_until = row.acknowledged_at = row.acknowledged_by = row.escalated_at = None
            _note(session, row, "worsened", SYSTEM, f"{before} to {row.severity}", now)
            self._tell(session, row, Occasion.WORSENED, now=now)
        elif row.snoozed_until is not None and row.snoozed_until <= now:
            row.snoozed_until = None
            self._tell(session, row, Occasion.OPENED, now=now)

    def _closed(self, session: Session, row: AlertModel, *, now: datetime) -> None:
        _note(session, row, "closed", SYSTEM, row.closes_when, now)
        self._tell(session, row, Occasion.CLOSED, now=now)

    def _tell(self, session: Session, row: AlertModel, occasion: Occasion, *, now: datetime) -> None:
        if occasion is Occasion.CLOSED and _asleep(row, now):
            return
        for channel in self._settings.channels:
            seen = traffic(session, channel.name, row.group_key, now=now)
            way = route(channel, severity=Severity(row.severity), group=row.group_key, occasion=occasion, traffic=seen, now=now)
            if way is not None:
                enqueue(session, row, occasion, channel.name, way, now=now)

    def _by_hand(
        self,
        identity: int,
        what: str,
        who: str,
        why: str,
        now: datetime,
        change: Callable[[Session, AlertModel], None],
        *,
        closed_too: bool = False,
    ) -> AlertRecord:
        if not who.strip():
            raise AlertStateError("Say who does this (--who or the login name), so that others can ask.")
        with self._database.writing() as session:
            row = _existing(session, identity)
            if row.status != "open" and not closed_too:
                raise AlertStateError(
                    f"Alert {identity} is closed since {row.closed_at:%Y-%m-%d %H:%M} UTC; only an open one can be {what}."
                )
            change(session, row)
            _note(session, row, what, who.strip()[:256], why, now)
            session.flush()
            return alert_record(row)


def _asleep(row: AlertModel, now: datetime) -> bool:
    return row.snoozed_until is not None and row.snoozed_until > now


def _existing(session: Session, identity: int) -> AlertModel:
    row = session.scalars(select(AlertModel).filter_by(id=identity).with_for_update()).first()
    if row is None:
        raise AlertStateError(f"There is no alert {identity}; `within alerts list --all` shows their numbers.")
    return row


def _note(session: Session, row: AlertModel, what: str, who: str, why: str, now: datetime) -> None:
    session.add(AlertEventModel(alert_id=row.id, what=what, who=who, why=why, at=now))
