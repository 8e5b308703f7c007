"""What a person types: keys, and a server that starts, hears signals and ends without losing anything."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner, Result

from tests.serving.conftest import eventually
from within_pipelines import cli
from within_pipelines.database import Database, PredictionRepository
from within_pipelines.pipeline import Workspace
from within_pipelines.settings import Settings


def within(home: Path, *words: str) -> Result:
    return CliRunner().invoke(cli.app, ["--home", str(home), *words], catch_exceptions=True)


def test_keys_are_made_listed_rotated_and_revoked(tmp_path: Path) -> None:
    Workspace.open(Settings(home=tmp_path)).close()
    assert "There is no key" in within(tmp_path, "keys", "list").output
    made = within(tmp_path, "keys", "create", "dashboard", "--scope", "score", "--scope", "outcomes", "--days", "90")
    text = made.output.strip()
    key_id = text.split("_")[1]
    listed = within(tmp_path, "keys", "list").output
    assert key_id in listed
    assert "holds" in listed
    assert text.split("_", 2)[2] not in listed
    rotated = within(tmp_path, "keys", "rotate", key_id, "--overlap-hours", "2").output.strip()
    assert rotated.startswith("wk_")
    assert rotated != text
    assert within(tmp_path, "keys", "revoke", key_id).exit_code == 0
    assert "revoked" in within(tmp_path, "keys", "list").output
    again = within(tmp_path, "keys", "rotate", key_id)
    assert "No key" in str(again.exception)
    assert within(tmp_path, "keys", "create", "x", "--scope", "everything").exception is not None


@pytest.mark.slow
def test_the_server_starts_hears_signals_and_ends_without_loss(served_home: Path, ws: Workspace, tmp_path: Path) -> None:
    log = tmp_path / "log"
    environment = {**os.environ, "WITHIN_SERVE_POLL_SECONDS": "60", "WITHIN_SERVE_SHADOW": "false", "OMP_NUM_THREADS": "1"}
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", "from within_pipelines.cli import main; main()", "--home", str(served_home), "serve", "--port", "0"],
            stderr=stream, stdout=subprocess.DEVNULL, env=environment, cwd=tmp_path,
        )  # fmt: skip
    try:
        eventually(lambda: "listening on " in log.read_text(), within=90)
        url = log.read_text().split("listening on ")[1].split(",")[0]
        with httpx.Client(base_url=url, timeout=60) as client:

            def up() -> bool:
                try:
                    return client.get("/health/ready").status_code == 200
                except httpx.TransportError:
                    time.sleep(0.2)
                    return False

            eventually(up, within=90)
            process.send_signal(signal.SIGHUP)
            answered = [client.post("/v1/ad-score", json={"creative": {"headline": f"Shoes {n}"}}).json() for n in range(5)]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) in (0, -signal.SIGTERM)
    finally:
        process.kill()
        process.wait()
    assert '"event": "stopped"' in log.read_text()
    opened = Database(ws.settings.database)
    stored = set(PredictionRepository(opened).predictions("ad_score")["prediction_id"])
    opened.dispose()
    assert {body["result"]["prediction_id"] for body in answered} <= stored
    assert not list((served_home / "spool" / "predictions").glob("open-*"))
