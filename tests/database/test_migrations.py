"""The migrations go up and down, and they and the models say the same."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect

from within_pipelines.database import BaseModel, Database
from within_pipelines.exceptions import DatabaseError


def test_models_and_migrated_schema_agree(database: Database) -> None:
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), BaseModel.metadata) == []


def test_down_removes_every_table_and_up_brings_them_back(database: Database) -> None:
    database.downgrade()
    assert set(inspect(database.engine).get_table_names()) <= {"alembic_version"}
    database.upgrade()
    assert database.revision() == database.newest_revision()
    assert set(BaseModel.metadata.tables) <= set(inspect(database.engine).get_table_names())


def _upgrade(url: str) -> None:
    opened = Database(url)
    opened.upgrade()
    opened.dispose()


def test_two_processes_may_migrate_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'within.db'}"
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(_upgrade, [url, url])
        # Left to itself the pool kills its processes, and one that is just ending may then never end.
        pool.close()
        pool.join()
    assert Database(url).revision() == Database.newest_revision()


def test_a_database_that_cannot_be_reached_is_named_without_its_password() -> None:
    unreachable = Database("postgresql+psycopg2://me:hunter2@127.0.0.1:1/none")
    with pytest.raises(DatabaseError, match=r"me:\*\*\*@127.0.0.1:1/none answered") as caught:
        unreachable.revision()
    assert "hunter2" not in str(caught.value)
