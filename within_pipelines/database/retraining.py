"""Tables of when a model is trained again and why, or why not; and of which sensor was last alive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Float, Index, Integer, String, Text, UniqueConstraint, func, select
from sqlalchemy.orm import Mapped, mapped_column

from within_pipelines.database.base import BaseModel, UTCDateTime
from within_pipelines.database.engine import Database


class RetrainingRequestModel(BaseModel):
    """Somebody asked for a model to be trained again."""

    __tablename__ = "retraining_requests"
    __table_args__ = (Index(None, "model"),)

    model: Mapped[str] = mapped_column(String(64))
    who: Mapped[str] = mapped_column(String(256))
    why: Mapped[str] = mapped_column(Text)
    requested_at: Mapped[datetime] = mapped_column(UTCDateTime)
    answered_at: Mapped[datetime | None] = mapped_column(UTCDateTime)


class RetrainingDecisionModel(BaseModel):
    """One decision of the policy with its evidence, also the decision not to act. Rows are only ever added."""

    __tablename__ = "retraining_decisions"
    __table_args__ = (UniqueConstraint("decision_key"), Index(None, "model"), Index(None, "run_key"))

    decision_key: Mapped[str] = mapped_column(String(64))
    model: Mapped[str] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(32))  # retrain | wait | nothing
    trigger: Mapped[str] = mapped_column(String(64))
    cause: Mapped[str] = mapped_column(String(256))
    run_key: Mapped[str | None] = mapped_column(String(128))
    reason: Mapped[str] = mapped_column(Text)
    evidence: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    decided_at: Mapped[datetime] = mapped_column(UTCDateTime)


class SensorHeartbeatModel(BaseModel):
    """When a sensor last finished a tick, and how long that took."""

    __tablename__ = "sensor_heartbeats"
    __table_args__ = (UniqueConstraint("sensor"),)

    sensor: Mapped[str] = mapped_column(String(64))
    interval_seconds: Mapped[int] = mapped_column(Integer)
    last_tick_at: Mapped[datetime] = mapped_column(UTCDateTime)
    ticks: Mapped[int] = mapped_column(Integer, default=0)
    last_seconds: Mapped[float] = mapped_column(Float, default=0.0)
    last_outcome: Mapped[str] = mapped_column(Text, default="")


@dataclass(frozen=True, slots=True)
class RetrainingRequest:
    """A request by hand that no decision has answered yet."""

    id: int
    model: str
    who: str
    why: str
    requested_at: datetime


@dataclass(frozen=True, slots=True)
class StoredDecision:
    """A decision as stored."""

    model: str
    action: str
    trigger: str
    cause: str
    reason: str
    decided_at: datetime
    run_key: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    decision_key: str = ""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A sensor's last tick."""

    sensor: str
    interval_seconds: int
    last_tick_at: datetime
    ticks: int
    last_seconds: float
    last_outcome: str


class RetrainingRepository:
    """Requests and decisions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def request(self, model: str, *, who: str, why: str, now: datetime) -> RetrainingRequest:
        """Note a request by hand."""
        with self._database.writing() as session:
            row = RetrainingRequestModel(model=model, who=who, why=why, requested_at=now)
            session.add(row)
            session.flush()
            return RetrainingRequest(row.id, model, who, why, now)

    def requests(self, model: str) -> list[RetrainingRequest]:
        """Requests that no decision has answered, oldest first."""
        with self._database.reading() as session:
            rows = RetrainingRequestModel.find(session, model=model, answered_at=None)
            return [RetrainingRequest(row.id, row.model, row.who, row.why, row.requested_at) for row in rows]

    def record(self, decision: StoredDecision, *, answered: tuple[int, ...] = (), after: datetime | None = None) -> bool:
        """Append a decision and mark the requests that it answers; False when this very decision is there already.

        A decision to train is refused, too, when another one was recorded since `after`, the newest that the decider knew of."""
        with self._database.writing() as session:
            if not self._database.is_sqlite:
                # Two deciders at once would both find nothing recorded.
                session.execute(select(func.pg_advisory_xact_lock(func.hashtext(f"retrain {decision.model}"))))
            if RetrainingDecisionModel.latest(session, decision_key=decision.decision_key) is not None:
                return False
            if decision.action == "retrain":
                last = RetrainingDecisionModel.latest(session, model=decision.model, action="retrain")
                if last is not None and last.decided_at != after:
                    return False
            session.add(RetrainingDecisionModel(**{n: getattr(decision, n) for n in StoredDecision.__dataclass_fields__} | {
                "evidence": dict(decision.evidence)}))  # fmt: skip
            if answered:
                found = select(RetrainingRequestModel).where(RetrainingRequestModel.id.in_(answered))
                for row in session.scalars(found.with_for_update()):
                    row.answered_at = decision.decided_at
            return True

    def decisions(self, model: str | None = None, *, action: str | None = None) -> list[StoredDecision]:
        """Decisions, oldest first."""
        equal = {name: value for name, value in (("model", model), ("action", action)) if value is not None}
        with self._database.reading() as session:
            rows = RetrainingDecisionModel.find(session, **equal)
            return [StoredDecision(**{name: getattr(row, name) for name in StoredDecision.__dataclass_fields__}) for row in rows]


class HeartbeatRepository:
    """Heartbeats of sensors."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def beat(self, sensor: str, *, interval_seconds: int, seconds: float, outcome: str, now: datetime) -> None:
        """Note a finished tick."""
        with self._database.writing() as session:
            row = session.scalars(select(SensorHeartbeatModel).filter_by(sensor=sensor).with_for_update()).first()
            if row is None:
                row = SensorHeartbeatModel(sensor=sensor, ticks=0)
                session.add(row)
            row.interval_seconds, row.last_tick_at, row.ticks = interval_seconds, now, row.ticks + 1
            row.last_seconds, row.last_outcome = seconds, outcome

    def expect(self, intervals: Mapping[str, int], *, now: datetime) -> tuple[str, ...]:
        """Note of sensors without a row that they are waited for from `now` on, with no tick yet; returns those that are new."""
        known = {beat.sensor for beat in self.all()}
        missing = tuple(sorted(set(intervals) - known))
        if missing:
            with self._database.writing() as session:
                for sensor in missing:
                    # It may tick at the same time for the first time.
                    if session.scalars(select(SensorHeartbeatModel).filter_by(sensor=sensor)).first() is None:
                        session.add(SensorHeartbeatModel(sensor=sensor, interval_seconds=intervals[sensor], last_tick_at=now, ticks=0))
        return missing

    def all(self) -> list[Heartbeat]:
        """Every sensor that ever finished a tick or is waited for (0 ticks), by name."""
        with self._database.reading() as session:
            rows = sorted(SensorHeartbeatModel.find(session), key=lambda row: row.sensor)
            return [Heartbeat(**{name: getattr(row, name) for name in Heartbeat.__dataclass_fields__}) for row in rows]
