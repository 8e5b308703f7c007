"""The database of one deployment: engine, sessions, migrations."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from within_pipelines.exceptions import DatabaseError

if TYPE_CHECKING:
    from alembic.config import Config

_BUSY_TIMEOUT_MS = 30_000
# Any fixed number: PostgreSQL processes that migrate at the same time wait for each other on it.
_MIGRATION_LOCK = 7_193_402


class Database:
    """SQLite by default, PostgreSQL by URL.

    SQLite runs in WAL mode with a busy timeout, and every write transaction starts with BEGIN IMMEDIATE: with SQLite's default, two
    processes can both read the old state and both write."""

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if self.is_sqlite and self.url.database and self.url.database != ":memory:":
            Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
        self.engine: Engine = create_engine(self.url, pool_pre_ping=not self.is_sqlite)
        if self.is_sqlite:
            _tune_sqlite(self.engine)
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)

    @property
    def shown(self) -> str:
        """The URL without its password."""
        return self.url.render_as_string(hide_password=True)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that only reads."""
        with self._translated(), self._sessions() as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """One write transaction: committed at the end, rolled back on any error."""
        with self._translated(), self._sessions.begin() as session:
            if self.is_sqlite:
                session.connection(execution_options={"within_immediate": True})
            yield session

    def upgrade(self, revision: str = "head") -> None:
        """Migrate the schema up to `revision`; several processes may call this at once."""
        if revision == "head" and self.revision() == self.newest_revision():
            return
        from alembic import command

        with self._translated(), self._one_migrator(), self.engine.connect() as connection:
            configuration = self._configuration(connection)
            command.upgrade(configuration, revision)
            connection.commit()

    def downgrade(self, revision: str = "base") -> None:
        """Migrate the schema down to `revision`; `base` removes every table and what it holds."""
        from alembic import command

        with self._translated(), self._one_migrator(), self.engine.connect() as connection:
            command.downgrade(self._configuration(connection), revision)
            connection.commit()

    def revision(self) -> str | None:
        """The schema's revision; None for an empty database.

        Raises `DatabaseError` when the database cannot be reached."""
        with self._translated(), self.engine.connect() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return None
            found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
            return found

    @staticmethod
    def newest_revision() -> str:
        """The revision that this code needs."""
        return max(path.stem.split("_", 1)[0] for path in (_MIGRATIONS / "versions").glob("[0-9]*.py"))

    def dispose(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()

    def _configuration(self, connection: Any) -> Config:
        from alembic.config import Config

        configuration = Config()
        configuration.set_main_option("script_location", str(_MIGRATIONS))
        configuration.attributes["connection"] = connection
        return configuration

    @contextmanager
    def _one_migrator(self) -> Iterator[None]:
        if self.is_sqlite and self.url.database and self.url.database != ":memory:":
            with Path(f"{self.url.database}.migrate.lock").open("w") as handle:
                fcntl.flock(handle, fcntl.LOCK_EX)
                yield
        elif self.is_sqlite:
            yield
        else:
            with self.engine.connect() as connection:
                connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _MIGRATION_LOCK})
                try:
                    yield
                finally:
                    connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _MIGRATION_LOCK})

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError:
            # A broken constraint is about the data, not about the connection; the caller knows what it means.
            raise
        except DBAPIError as error:
            raise DatabaseError(
                f"The database {self.shown} answered: {error.orig}; check that it runs and that the URL is right."
            ) from error
        except SQLAlchemyError as error:
            raise DatabaseError(f"The database {self.shown} could not be used: {error}") from error


_MIGRATIONS = Path(__file__).resolve().parent / "migrations"


def _tune_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _: Any) -> None:
        # The driver's own transaction handling would start transactions late and as readers.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS:d}")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Any) -> None:
        immediate = connection.get_execution_options().get("within_immediate")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
