"""Schemathesis reads our own OpenAPI document, asks what it allows and what it forbids, and finds nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving.conftest import now, running
from within_pipelines.database import ApiKeyRepository
from within_pipelines.pipeline import Workspace
from within_pipelines.serving import SCOPES, create_key


@pytest.mark.slow
def test_schemathesis_finds_nothing(ws: Workspace, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("schemathesis")
    assert program.is_file(), "schemathesis is part of the extra dev"
    key = create_key("contract", SCOPES, now=now())
    ApiKeyRepository(ws.database).add(key.record)
    with running(ws, require_key=True, rate_per_second=1e6, rate_burst=10**6, timeout_seconds=60.0) as api:
        done = subprocess.run(
            [
                str(program), "run", f"{api.url}/openapi.json", "--header", f"X-API-Key: {key.text}", "--checks", "all",
                "--max-examples", "8", "--seed", "7", "--generation-database", "none", "--no-color",
            ],
            cwd=tmp_path, env={**os.environ, "PYTHONWARNINGS": "ignore"}, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "Tested: 13" in done.stdout
