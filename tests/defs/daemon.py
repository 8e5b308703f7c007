"""The daemon on a deployment as an operator runs it: a code server of its own, the daemon beside it, and a clock that a test sets."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import dagster as dg
import pytest

from tests.conftest import REPOSITORY
from within_pipelines.files import write_text
from within_pipelines.pipeline import Workspace
from within_pipelines.settings import Settings

DEADLINE = 600.0


@dataclass(frozen=True, slots=True)
class Daemon:
    """The running daemon of a deployment."""

    settings: Settings
    log: Path

    def set_clock(self, now: datetime) -> None:
        """Every step and tick from now on takes `now` for the time."""
        # Settings come from the .env of the working directory whenever they are asked for; an environment cannot be changed from outside.
        write_text(self.settings.home / ".env", f"WITHIN_FIXED_NOW={now.isoformat()}\n")

    def wait_until(self, true: Callable[[Workspace], bool], *, seconds: float = DEADLINE) -> None:
        """Look at the deployment until something holds; fail with the end of the log when it does not come to that."""
        started = time.monotonic()
        while time.monotonic() - started < seconds:
            with Workspace.open(self.settings) as ws:
                if true(ws):
                    return
            time.sleep(0.5)
        pytest.fail(f"not within {seconds:g} s; the daemon said:\n{self.log.read_text()[-3000:]}")


@contextmanager
def daemon(settings: Settings, *, now: datetime) -> Iterator[Daemon]:
    """Dagster's daemon with this code on the deployment's own instance; it and all its children are gone afterwards."""
    environ = {
        **os.environ, "PYTHONPATH": str(REPOSITORY), "DAGSTER_HOME": str(settings.home / "dagster"), "WITHIN_HOME": str(settings.home),
        "WITHIN_SENSOR_SECONDS": "5", "WITHIN_THREADS": "1",
    }  # fmt: skip
    running = Daemon(settings, settings.home / "daemon.log")
    (settings.home / ".env").unlink(missing_ok=True)
    processes: list[subprocess.Popen[bytes]] = []
    # A path of its own: a Unix socket's path has at most 107 characters.
    with tempfile.TemporaryDirectory(prefix="within-daemon-") as folder, running.log.open("w") as written:

        def start(*module: str, cwd: Path) -> None:
            command = [sys.executable, "-m", *module]
            processes.append(
                subprocess.Popen(command, stdout=written, stderr=subprocess.STDOUT, env=environ, cwd=cwd, start_new_session=True)
            )

        socket, workspace = Path(folder) / "code.sock", Path(folder) / "workspace.yaml"
        # Cursors and run keys belong to a location's name, which must outlast the socket.
        workspace.write_text(f"load_from: [{{grpc_server: {{socket: {socket}, location_name: within_pipelines}}}}]\n")
        try:
            start("dagster", "api", "grpc", "-m", "within_pipelines.definitions", "--socket", str(socket), cwd=settings.home)
            running.wait_until(lambda _: socket.exists() or processes[0].poll() is not None)
            # After the server has begun and before the first tick: what Dagster finds in a .env when it starts goes into its environment,
            # where it would stay. Not the repository for a working directory, because that may have one.
            running.set_clock(now)
            start("dagster._daemon", "run", "-w", str(workspace), cwd=Path(folder))
            yield running
        finally:
            _end(processes)


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, sign)
        for process in processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=20)


def runs_of(settings: Settings, job: str) -> list[dg.DagsterRun]:
    """Every run of a job on the deployment's instance, the newest first."""
    with dg.DagsterInstance.from_config(str(settings.home / "dagster")) as instance:
        return list(instance.get_runs(dg.RunsFilter(job_name=job)))
