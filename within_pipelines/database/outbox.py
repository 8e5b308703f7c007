"""The outbox: messages wait here until a channel has taken them; a claim is a lease, so a crash loses nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl
from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from within_pipelines.database.alerting import OutboxModel
from within_pipelines.database.engine import Database
from within_pipelines.database.operations import AlertModel
from within_pipelines.database.records import AlertRecord, alert_record
from within_pipelines.monitoring.alert_policy import DIGEST, Occasion, Route, Traffic, retry_delay

LEASE = timedelta(minutes=2)
# After so long nobody needs the message any more; it stays in the table as dead.
GIVE_UP = timedelta(days=7)
# No digest, quiet hour or retry waits longer, so a later time comes from a clock that has been set back since.
_IMPLAUSIBLE = timedelta(hours=49)


@dataclass(frozen=True, slots=True)
class Claimed:
    """A message that this process may send until its lease ends. `lines` is what was frozen at an earlier attempt, else None."""

    id: int
    idempotency_key: str
    channel: str
    attempts: int
    enqueued_at: datetime
    owner: str
    alerts: tuple[tuple[AlertRecord, str], ...]
    lines: Sequence[dict[str, Any]] | None


def enqueue(session: Session, row: AlertModel, occasion: Occasion, channel: str, way: Route, *, now: datetime) -> None:
    """Put a message about `row` into the outbox within the caller's transaction.

    It joins a message of the same bundle that nobody has tried to send; an event that is there already is not repeated."""
    waiting = session.scalars(
        select(OutboxModel)
        .filter_by(channel=channel, bundle=way.bundle, status="pending", attempts=0)
        .order_by(OutboxModel.id)
        .limit(1)
        .with_for_update()
    ).first()
    entry = {"alert_id": row.id, "occasion": str(occasion)}
    if waiting is not None:
        # The newest word on an alert replaces the older one.
        waiting.entries = [*(e for e in waiting.entries if e["alert_id"] != row.id), entry]
        waiting.not_before = min(waiting.not_before, way.not_before)
        return
    identity = f"{channel}|{way.bundle}|{row.id}|{occasion}|{row.occurrences}|{row.opened_at.isoformat()}"
    key = hashlib.sha256(identity.encode()).hexdigest()[:40]
    if OutboxModel.latest(session, idempotency_key=key) is not None:
        return
    session.add(
        OutboxModel(
            idempotency_key=key, channel=channel, bundle=way.bundle, entries=[entry], status="pending", attempts=0, enqueued_at=now,
            not_before=way.not_before,
        )
    )  # fmt: skip
    session.flush()


def traffic(session: Session, channel: str, group: str, *, now: datetime) -> Traffic:
    """What the channel has got lately, within the caller's transaction."""
    mine = select(func.max(func.coalesce(OutboxModel.sent_at, OutboxModel.not_before))).filter_by(channel=channel, bundle=group)
    last = session.scalar(mine)
    hour = select(func.count()).select_from(OutboxModel).where(OutboxModel.channel == channel, OutboxModel.bundle != DIGEST)
    recent = session.scalar(hour.where(OutboxModel.enqueued_at > now - timedelta(hours=1), OutboxModel.enqueued_at <= now))
    # A time in the future comes from a clock that has been set back, or from a message that waits and will be joined anyway.
    return Traffic(last if last is None else min(last, now), int(recent or 0))


class Outbox:
    """Claim, confirm, give back."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(self, *, owner: str, now: datetime, skip: Collection[str] = ()) -> Claimed | None:
        """Lease the oldest message that is due on a channel not in `skip`; None when there is none.

        The lease is committed before this returns: another process sees it, and when this one dies it ends by itself."""
        due = or_(OutboxModel.not_before <= now, OutboxModel.not_before > now + _IMPLAUSIBLE)
        free = or_(OutboxModel.leased_until.is_(None), OutboxModel.leased_until <= now, OutboxModel.leased_until > now + 2 * LEASE)
        query = select(OutboxModel).where(OutboxModel.status == "pending", due, free, OutboxModel.channel.not_in(list(skip)))
        with self._database.writing() as session:
            row = session.scalars(query.order_by(OutboxModel.id).limit(1).with_for_update(skip_locked=True)).first()
            if row is None:
                return None
            row.lease_owner, row.leased_until, row.attempts = owner, now + LEASE, row.attempts + 1
            found = {alert.id: alert for alert in session.scalars(select(AlertModel).where(AlertModel.id.in_(_ids(row))))}
            alerts = tuple((alert_record(found[e["alert_id"]]), str(e["occasion"])) for e in row.entries if e["alert_id"] in found)
            return Claimed(row.id, row.idempotency_key, row.channel, row.attempts, row.enqueued_at, owner, alerts, row.lines)

    def freeze(self, claimed: Claimed, lines: Sequence[dict[str, Any]]) -> None:
        """Keep the text's parts, so that a later attempt sends the same."""
        self._held(claimed, lambda row: setattr(row, "lines", list(lines)))

    def confirm(self, claimed: Claimed, answer: str, *, now: datetime) -> bool:
        """Note that the channel has taken the message; False when the lease was lost to another process meanwhile."""

        def sent(row: OutboxModel) -> None:
            row.status, row.sent_at, row.last_answer, row.leased_until, row.lease_owner = "sent", now, answer, None, None

        return self._held(claimed, sent)

    def give_back(self, claimed: Claimed, answer: str, *, now: datetime, wait: timedelta | None = None, dead: bool = False) -> bool:
        """Note a failure; the message is due again after `wait`, by default after the backoff, or never when it is `dead` or too old."""

        def failed(row: OutboxModel) -> None:
            row.last_answer, row.leased_until, row.lease_owner = answer, None, None
            delay = retry_delay(row.attempts, seed=row.idempotency_key)
            row.not_before = now + max(delay, wait or delay)
            if dead or now - row.enqueued_at > GIVE_UP:
                row.status = "dead"

        return self._held(claimed, failed)

    def revive(self, *, now: datetime) -> int:
        """Make dead messages due again; returns how many."""
        with self._database.writing() as session:
            rows = OutboxModel.find(session, status="dead")
            for row in rows:
                row.status, row.not_before, row.enqueued_at = "pending", now, now
            return len(rows)

    def messages(self) -> pl.DataFrame:
        """Every message, the newest first."""
        names = ("id", "channel", "bundle", "status", "attempts", "enqueued_at", "not_before", "sent_at", "last_answer", "idempotency_key")
        times = {name: pl.Datetime("us", "UTC") for name in ("enqueued_at", "not_before", "sent_at")}
        schema: dict[str, Any] = {name: times.get(name, pl.Int64 if name in ("id", "attempts") else pl.String) for name in names}
        with self._database.reading() as session:
            rows = [[getattr(row, name) for name in names] for row in OutboxModel.find(session)]
        return pl.DataFrame(rows, schema=schema, orient="row").reverse()

    def _held(self, claimed: Claimed, change: Callable[[OutboxModel], None]) -> bool:
        with self._database.writing() as session:
            row = session.scalars(select(OutboxModel).filter_by(id=claimed.id).with_for_update()).first()
            if row is None or row.status != "pending" or row.lease_owner != claimed.owner:
                return False
            change(row)
            return True


def _ids(row: OutboxModel) -> list[int]:
    return [int(entry["alert_id"]) for entry in row.entries]
