"""Tables of what was done about alerts and who has been told: a trail of events, and the outbox of messages."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from within_pipelines.database.base import BaseModel, UTCDateTime


class AlertEventModel(BaseModel):
    """One thing that happened to an alert: who did what and why. Rows are only ever added."""

    __tablename__ = "alert_events"
    __table_args__ = (Index(None, "alert_id"),)

    alert_id: Mapped[int] = mapped_column(ForeignKey("alerts.id", ondelete="CASCADE"))
    what: Mapped[str] = mapped_column(String(32))  # opened | worsened | acknowledged | snoozed | resolved | closed | escalated
    who: Mapped[str] = mapped_column(String(256))
    why: Mapped[str] = mapped_column(Text, default="")
    at: Mapped[datetime] = mapped_column(UTCDateTime)


class OutboxModel(BaseModel):
    """One message to one channel. Written in the transaction that changed the alert, so that neither exists without the other."""

    __tablename__ = "alert_outbox"
    __table_args__ = (UniqueConstraint("idempotency_key"), Index(None, "status", "not_before"), Index(None, "channel", "bundle"))

    idempotency_key: Mapped[str] = mapped_column(String(64))
    channel: Mapped[str] = mapped_column(String(64))
    bundle: Mapped[str] = mapped_column(String(256))
    entries: Mapped[list[Any]] = mapped_column(JSON, default=list)  # alert_id and occasion; may grow until the first attempt
    status: Mapped[str] = mapped_column(String(16), default="pending")  # pending | sent | dead
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    enqueued_at: Mapped[datetime] = mapped_column(UTCDateTime)
    not_before: Mapped[datetime] = mapped_column(UTCDateTime)
    leased_until: Mapped[datetime | None] = mapped_column(UTCDateTime)
    lease_owner: Mapped[str | None] = mapped_column(String(64))
    lines: Mapped[list[Any] | None] = mapped_column(JSON)  # the text's parts, frozen at the first attempt so that every copy is equal
    sent_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    last_answer: Mapped[str] = mapped_column(Text, default="")
