"""A server on a real port, for as long as the tests of this room run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from tests.conftest import Agency
from within_pipelines.pipeline import Workspace
from within_pipelines.serving import ServeSettings, TrafficSource, create_app


@dataclass(frozen=True, slots=True)
class Running:
    """A server that listens, a client that talks to it, and the workspace behind it."""

    url: str
    client: httpx.Client
    ws: Workspace
    server: Any

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        return self.client.post(path, json=body, headers=headers)


@contextmanager
def running(ws: Workspace, *, traffic: TrafficSource | None = None, **settings: Any) -> Iterator[Running]:
    """Serve `ws` on a free port; quick polls unless the test says otherwise."""
    chosen = ServeSettings(**({"port": 0, "poll_seconds": 60.0, "load_seconds": 0.2, "shadow": False} | settings))
    app = create_app(ws, chosen, traffic=traffic)
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, access_log=False, ws="none")
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until = time.monotonic() + 60
        while not server.started:
            assert thread.is_alive()
            assert time.monotonic() < until
            time.sleep(0.02)
        port = server.servers[0].sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=url, timeout=60) as client:
            yield Running(url, client, ws, app.state.server)
    finally:
        server.should_exit = True
        thread.join()


def eventually(holds: Callable[[], bool], *, within: float = 20.0) -> None:
    """Wait until something holds, or fail."""
    until = time.monotonic() + within
    while not holds():
        assert time.monotonic() < until, "it never came to hold"
        time.sleep(0.05)


@pytest.fixture(scope="session")
def served_home(agency: Agency, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the agency that the servers of these tests write to."""
    folder = tmp_path_factory.mktemp("serving") / "home"
    agency.copy(folder)
    return folder


@pytest.fixture(scope="session")
def ws(agency: Agency, served_home: Path) -> Iterator[Workspace]:
    with Workspace.open(type(agency.settings)(home=served_home)) as opened:
        yield opened


@pytest.fixture(scope="session")
def api(ws: Workspace) -> Iterator[Running]:
    """The server that most tests ask."""
    with running(ws) as found:
        yield found


@pytest.fixture
def fresh(agency: Agency, tmp_path: Path) -> Iterator[Workspace]:
    """A deployment of its own, for tests that move aliases or break things."""
    with Workspace.open(agency.copy(tmp_path / "home")) as opened:
        yield opened


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def fresh_empty(tmp_path: Path) -> Iterator[Workspace]:
    """A deployment in which nothing has been trained."""
    from within_pipelines.settings import Settings

    with Workspace.open(Settings(home=tmp_path / "empty")) as opened:
        yield opened
