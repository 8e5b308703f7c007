"""The whole loop with the daemon running: new exports are ingested, monitored, told, decided about, and trained on where that pays.

Three worlds after the same training: nothing changes, every impression counts threefold because the world changed, and the same because
the platforms count differently, which the measurement calendar says."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
import yaml

from tests.conftest import LAST_DAY, NOW, REPOSITORY, Agency
from within_pipelines.database import AlertRepository, RetrainingRepository
from within_pipelines.pipeline import Workspace, latest_report
from within_pipelines.registry import missing_gates
from within_pipelines.settings import Settings
from within_pipelines.simulation import client, write_next_day

pytestmark = pytest.mark.slow

DAYS = 14
LATER = NOW + timedelta(days=DAYS)
NEWEST = LAST_DAY + timedelta(days=DAYS)
DEADLINE = 600.0


def live_on(settings: Settings, *, threefold: bool) -> None:
    """Write two more weeks of exports."""
    simulate = client.simulate

    def changed(*args: Any, **options: Any) -> Any:
        figures = simulate(*args, **options)
        # Days since the start; the history has 200.
        factor = np.where(np.arange(len(figures.impressions))[:, None] >= 200, 3, 1)
        return replace(figures, impressions=figures.impressions * factor, reach=figures.reach * factor)

    with pytest.MonkeyPatch.context() as patched:
        if threefold:
            patched.setattr(client, "simulate", changed)
        for _ in range(DAYS):
            write_next_day(settings.landing, settings.home / "truth.json")
    moment = LATER.timestamp() - 3600
    for path in settings.landing.rglob("*"):
        if path.is_file():
            os.utime(path, (moment, moment))


@contextmanager
def daemon(settings: Settings, log: Path) -> Iterator[None]:
    """Dagster's daemon with this code on the deployment's own instance; it and all its children are gone afterwards."""
    environ = {
        **os.environ, "PYTHONPATH": str(REPOSITORY), "DAGSTER_HOME": str(settings.home / "dagster"), "WITHIN_HOME": str(settings.home),
        "WITHIN_FIXED_NOW": LATER.isoformat(), "WITHIN_SENSOR_SECONDS": "5", "WITHIN_THREADS": "1",
    }  # fmt: skip
    with log.open("w") as written:
        process = subprocess.Popen(
            [sys.executable, "-m", "dagster._daemon", "run", "-m", "within_pipelines.definitions"],
            stdout=written,
            stderr=subprocess.STDOUT,
            env=environ,
            cwd=settings.home,  # not the repository: Dagster lets a .env of its working directory win over the environment
            start_new_session=True,
        )
        try:
            yield
        finally:
            for sign in (signal.SIGTERM, signal.SIGKILL):
                try:
                    os.killpg(process.pid, sign)
                except ProcessLookupError:
                    break
                try:
                    process.wait(timeout=20)
                except subprocess.TimeoutExpired:
                    continue
                time.sleep(0.5)


def wait_until(settings: Settings, true: Callable[[Workspace], bool], log: Path) -> None:
    started = time.monotonic()
    while time.monotonic() - started < DEADLINE:
        with Workspace.open(settings) as ws:
            if true(ws):
                return
        time.sleep(1.5)
    pytest.fail(f"not within {DEADLINE:g} s; the daemon said:\n{log.read_text()[-3000:]}")


def decided(ws: Workspace) -> bool:
    """Both sensors have seen the report of the newest day and said something about every model."""
    report = latest_report(ws)
    about = [d for d in RetrainingRepository(ws.database).decisions() if d.evidence.get("report_day") == NEWEST.isoformat()]
    return report is not None and report.day == NEWEST and {d.model for d in about} == {"ad_score", "account_health", "anomaly"}


def runs_of(settings: Settings, job: str) -> list[dg.DagsterRun]:
    with dg.DagsterInstance.from_config(str(settings.home / "dagster")) as instance:
        return list(instance.get_runs(dg.RunsFilter(job_name=job)))


def champion_of(ws: Workspace, model: str) -> int:
    version = ws.registry.alias(model, "champion")
    assert version is not None
    return version.version


@pytest.fixture(scope="module")
def calm(agency: Agency, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = agency.copy(tmp_path_factory.mktemp("calm") / "home")
    live_on(settings, threefold=False)
    return settings


@pytest.fixture(scope="module")
def shifted(agency: Agency, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = agency.copy(tmp_path_factory.mktemp("shifted") / "home")
    live_on(settings, threefold=True)
    return settings


def test_where_nothing_changes_nothing_happens(calm: Settings, tmp_path: Path) -> None:
    log = tmp_path / "daemon.log"
    with daemon(calm, log):
        wait_until(calm, decided, log)
        time.sleep(12)  # two more ticks, in which something could still be started
    with Workspace.open(calm) as ws:
        assert {d.action for d in RetrainingRepository(ws.database).decisions()} == {"nothing"}
        told = AlertRepository(ws.database).alerts(status=None)["dedup_key"].to_list()
    assert [key for key in told if key.startswith("monitor/")] == []
    assert [run for model in ("ad_score", "account_health", "anomaly") for run in runs_of(calm, f"retrain_{model}")] == []


def test_a_measurement_change_is_told_and_trains_nothing(shifted: Settings, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    shutil.copytree(shifted.home, settings.home)
    event = {"day": (LAST_DAY + timedelta(days=1)).isoformat(), "what": "every impression is counted threefold"}
    (settings.home / "measurement_calendar.yaml").write_text(yaml.safe_dump([event]))
    log = tmp_path / "daemon.log"
    with daemon(settings, log):
        wait_until(settings, decided, log)
        time.sleep(12)
    with Workspace.open(settings) as ws:
        about = RetrainingRepository(ws.database).decisions("account_health")
        assert "measurement_change" in {d.trigger for d in about}
        assert {d.action for d in RetrainingRepository(ws.database).decisions()} == {"nothing"}
        told = AlertRepository(ws.database).alerts(status=None)
    moved = told.filter(told["dedup_key"].str.starts_with("monitor/"))
    assert set(moved["severity"].to_list()) == {"info"}
    assert any("counted threefold" in detail for detail in moved["detail"].to_list())
    assert [run for model in ("ad_score", "account_health", "anomaly") for run in runs_of(settings, f"retrain_{model}")] == []


def test_drift_is_found_told_explained_trained_and_judged(shifted: Settings, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    shutil.copytree(shifted.home, settings.home)
    with Workspace.open(settings) as ws:
        before = champion_of(ws, "account_health")
        known = {version.version for version in ws.registry.versions("account_health")}

    def over(ws: Workspace) -> bool:
        return any(run.is_finished for run in runs_of(settings, "retrain_account_health"))

    log = tmp_path / "daemon.log"
    with daemon(settings, log):
        wait_until(settings, over, log)
        time.sleep(12)
    with Workspace.open(settings) as ws:
        (decision,) = RetrainingRepository(ws.database).decisions("account_health", action="retrain")
        assert decision.trigger == "data_drift"
        assert "impressions" in decision.reason or "ctr" in decision.reason
        assert "data_drift" in {f["monitor"] for f in decision.evidence["findings"]}
        told = AlertRepository(ws.database).alerts(status=None)
        assert "monitor/account_health/data_drift" in told["dedup_key"].to_list()
        # The new version serves if, and only if, every gate passed on the new data.
        fresh = [version for version in ws.registry.versions("account_health") if version.version not in known]
        assert fresh
        passed = {
            version.version
            for version in fresh
            if not missing_gates("account_health", ws.registry.verdicts(version.model_sha256, version.data_version))
        }
        serving = champion_of(ws, "account_health")
        assert serving == before or serving in passed
        assert all(ws.registry.verdicts(version.model_sha256, version.data_version) for version in fresh)
    # One cause, one run, however often the sensors have ticked since.
    (run,) = runs_of(settings, "retrain_account_health")
    assert run.tags["dagster/run_key"] == decision.run_key
    assert run.status is dg.DagsterRunStatus.SUCCESS
