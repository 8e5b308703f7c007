"""The base of every table: identity, timestamps, serialization, queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Self

from sqlalchemy import DateTime, Integer, MetaData, func, inspect, select
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.types import TypeDecorator

from within_pipelines.exceptions import SchemaError

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class UTCDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC on every database, SQLite included, which has no time zones of its own."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times: they would be read as another zone somewhere else."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise SchemaError(f"{value!r} has no time zone; give an aware datetime, for example datetime.now(UTC).")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give the zone back that SQLite drops."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class BaseModel(DeclarativeBase):
    """Common columns and behaviour of every table: `id`, `created_at`, `updated_at`, `to_dict`, `get`, `find`, `latest`."""

    metadata = MetaData(naming_convention=NAMING)

    id: Mapped[int] = mapped_column(Integer, primary_key=True, sort_order=-3)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, server_default=func.now(), sort_order=-2)
    updated_at: Mapped[datetime] = mapped_column(UTCDateTime, server_default=func.now(), onupdate=func.now(), sort_order=-1)

    def to_dict(self) -> dict[str, Any]:
        """Plain values by column name, dates and times as ISO text."""

        def plain(value: Any) -> Any:
            return value.isoformat() if isinstance(value, date | datetime) else value

        mapper = inspect(type(self))
        return {mapper.get_property(key).columns[0].name: plain(getattr(self, key)) for key in mapper.column_attrs.keys()}  # noqa: SIM118

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """An unsaved row from plain values by column name.

        Raises `SchemaError` for a name that is no column."""
        by_column = {prop.columns[0].name: prop.key for prop in inspect(cls).column_attrs}
        unknown = sorted(set(values) - set(by_column))
        if unknown:
            raise SchemaError(f"{cls.__name__} has no column {', '.join(unknown)}; known are {', '.join(sorted(by_column))}.")
        return cls(**{by_column[name]: value for name, value in values.items()})

    @classmethod
    def get(cls, session: Session, identity: int) -> Self | None:
        """The row with this id."""
        return session.get(cls, identity)

    @classmethod
    def find(cls, session: Session, **equal: Any) -> Sequence[Self]:
        """Rows whose attributes equal the given values, oldest id first."""
        return session.scalars(select(cls).filter_by(**equal).order_by(cls.id)).all()

    @classmethod
    def latest(cls, session: Session, **equal: Any) -> Self | None:
        """The matching row that was added last."""
        return session.scalars(select(cls).filter_by(**equal).order_by(cls.id.desc()).limit(1)).first()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} id={self.id}>"
