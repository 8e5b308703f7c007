"""kill -9 in the middle of the job: what is left is either old or new, and the next run ends as if nothing had happened."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest

from tests.conftest import NOW, REPOSITORY, Agency
from within_pipelines.defs.launch import run_main_job
from within_pipelines.files import TEMPORARY_PREFIX
from within_pipelines.pipeline import MODELS, Workspace
from within_pipelines.settings import Settings

pytestmark = pytest.mark.slow

_JOB = """
import sys
from datetime import datetime
from pathlib import Path
from within_pipelines.defs.launch import run_main_job
from within_pipelines.settings import Settings
run_main_job(
    Settings(home=Path(sys.argv[1])), now=datetime.fromisoformat(sys.argv[2]), on_step=lambda step, state: print(step, state, flush=True)
)
"""


def end_state(settings: Settings) -> dict[str, object]:
    with Workspace.open(settings) as ws:
        log = ws.lake.ingest_log()
        return {
            "rows": log.select("rows_in", "rows_accepted", "rows_unchanged", "rows_quarantined").sum().row(0),
            "data_version": ws.lake.data_version(),
            "versions": ws.lake.history(grain=None).height,
            "models": [(v.model, v.version, v.kind, v.model_sha256) for m in MODELS for v in ws.registry.versions(m)],
            "champions": [getattr(ws.registry.alias(m, "champion"), "version", None) for m in MODELS],
        }


@pytest.mark.parametrize(("step", "seconds"), [("landed_exports started", 0.7), ("ad_score_model started", 0.5)])
def test_a_killed_job_run_again_ends_like_an_undisturbed_one(agency: Agency, tmp_path: Path, step: str, seconds: float) -> None:
    settings = Settings(home=tmp_path / "home")
    shutil.copytree(agency.settings.landing, settings.landing)
    process = subprocess.Popen(
        [sys.executable, "-c", _JOB, str(settings.home), NOW.isoformat()],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == step:
            break
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert run_main_job(settings, now=NOW, on_step=lambda *_: None).success
    assert end_state(settings) == end_state(agency.settings)
    assert [path.name for path in settings.home.rglob(f"{TEMPORARY_PREFIX}*")] == []
    with dg.DagsterInstance.from_config(str(settings.home / "dagster")) as instance:
        assert instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])) == []
