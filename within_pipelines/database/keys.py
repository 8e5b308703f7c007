"""API keys as they are kept: a digest, never the key."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import JSON, String
from sqlalchemy.orm import Mapped, mapped_column

from within_pipelines.database.base import BaseModel, UTCDateTime
from within_pipelines.database.engine import Database
from within_pipelines.exceptions import ModelNotFoundError


class ApiKeyModel(BaseModel):
    """One key of the HTTP API."""

    __tablename__ = "api_keys"

    key_id: Mapped[str] = mapped_column(String(32), unique=True)
    digest: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(128))
    scopes: Mapped[list[str]] = mapped_column(JSON, default=list)
    issued_at: Mapped[datetime] = mapped_column(UTCDateTime)
    expires_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    replaces: Mapped[str | None] = mapped_column(String(32))


@dataclass(frozen=True, slots=True)
class ApiKeyRecord:
    """A key without its secret: what may be asked with it (`scopes`), from when to when it holds, and which key it replaced."""

    key_id: str
    digest: str
    name: str
    scopes: tuple[str, ...]
    issued_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    replaces: str | None = None

    def holds(self, now: datetime) -> bool:
        """Whether it is neither revoked nor past its end."""
        ends = [moment for moment in (self.expires_at, self.revoked_at) if moment is not None]
        return all(now < moment for moment in ends)


class ApiKeyRepository:
    """Keys in the table `api_keys`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, record: ApiKeyRecord) -> None:
        """Store a new key."""
        with self._database.writing() as session:
            session.add(_row(record))

    def rotate(self, record: ApiKeyRecord, *, old_until: datetime) -> None:
        """Store `record` and let the key that it `replaces` end at `old_until`, in one transaction: both hold until then.

        Raises `ModelNotFoundError` when there is no such key."""
        with self._database.writing() as session:
            old = ApiKeyModel.latest(session, key_id=record.replaces)
            if old is None:
                raise ModelNotFoundError(f"There is no API key {record.replaces}; `within keys list` shows them.")
            old.expires_at = old_until if old.expires_at is None else min(old.expires_at, old_until)
            session.add(_row(record))

    def revoke(self, key_id: str, *, now: datetime) -> None:
        """End a key at once.

        Raises `ModelNotFoundError` when there is no such key."""
        with self._database.writing() as session:
            row = ApiKeyModel.latest(session, key_id=key_id)
            if row is None:
                raise ModelNotFoundError(f"There is no API key {key_id}; `within keys list` shows them.")
            if row.revoked_at is None:
                row.revoked_at = now

    def records(self) -> list[ApiKeyRecord]:
        """Every key, oldest first, ended ones included."""
        with self._database.reading() as session:
            return [_record(row) for row in ApiKeyModel.find(session)]


def _row(record: ApiKeyRecord) -> ApiKeyModel:
    return ApiKeyModel(
        **{name: getattr(record, name) for name in ApiKeyRecord.__dataclass_fields__ if name != "scopes"}, scopes=list(record.scopes)
    )


def _record(row: ApiKeyModel) -> ApiKeyRecord:
    found = ApiKeyRecord(**{name: getattr(row, name) for name in ApiKeyRecord.__dataclass_fields__})
    return replace(found, scopes=tuple(row.scopes))
