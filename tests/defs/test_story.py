"""The whole loop with the daemon running: new exports are ingested, monitored, told, decided about, and trained on where that pays.

Three worlds after the same training: nothing changes, every impression counts threefold because the world changed, and the same because
the platforms count differently, which the measurement calendar says."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
import yaml

from tests.conftest import LAST_DAY, NOW, Agency
from tests.defs.daemon import daemon, runs_of
from within_pipelines.database import AlertRepository, RetrainingRepository
from within_pipelines.pipeline import Workspace, latest_report
from within_pipelines.registry import missing_gates
from within_pipelines.settings import Settings
from within_pipelines.simulation import client, write_next_day

pytestmark = pytest.mark.slow

DAYS = 14
LATER = NOW + timedelta(days=DAYS)
NEWEST = LAST_DAY + timedelta(days=DAYS)


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


def decided(ws: Workspace) -> bool:
    """Both sensors have seen the report of the newest day and said something about every model."""
    report = latest_report(ws)
    about = [d for d in RetrainingRepository(ws.database).decisions() if d.evidence.get("report_day") == NEWEST.isoformat()]
    return report is not None and report.day == NEWEST and {d.model for d in about} == {"ad_score", "account_health", "anomaly"}


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


def test_where_nothing_changes_nothing_happens(calm: Settings) -> None:
    with daemon(calm, now=LATER) as running:
        running.wait_until(decided)
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
    with daemon(settings, now=LATER) as running:
        running.wait_until(decided)
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

    with daemon(settings, now=LATER) as running:
        running.wait_until(over)
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
