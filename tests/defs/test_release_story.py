"""From a request to traffic with the daemon running: it trains, and the gates, the canary and the race decide.

Every run here was started by the daemon from its queue. People do what people do from outside: ask for a training, record outcomes, and
promote by hand at the wrong moment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from typer.testing import CliRunner

from tests.conftest import LAST_DAY, NOW, REPOSITORY, Agency
from tests.defs.canaries import DECLARED, online
from tests.defs.daemon import Daemon, daemon, runs_of
from within_pipelines import cli
from within_pipelines.database import AlertRepository, CanaryRecord, CanaryRepository, MonitoringRepository
from within_pipelines.monitoring import DriftState, MonitorFinding
from within_pipelines.pipeline import (
    KINDS,
    Workspace,
    change_golden_set,
    feature_table,
    record_canary_outcomes,
    series_incident,
    trained_version,
)
from within_pipelines.registry import missing_gates
from within_pipelines.settings import Settings
from within_pipelines.validation import CanaryState

pytestmark = pytest.mark.slow

MODEL = "anomaly"
DAY_1, DAY_2 = NOW + timedelta(days=1), NOW + timedelta(days=2)
# Another process that moves the alias as soon as it sees that the canary is about to.
RIVAL = """
import sqlite3
import sys
import time
from datetime import datetime
from within_pipelines.database import CanaryRepository, Database, SqlRegistry
from within_pipelines.exceptions import PromotionRefusedError
from within_pipelines.validation import CanaryState
url, model, now, version, expected = sys.argv[1:]
database = Database(url)
canaries, registry = CanaryRepository(database), SqlRegistry(database)
watched, seen = sqlite3.connect(url.removeprefix("sqlite:///")), None
while True:
    # Changes when another connection has written; asking costs next to nothing.
    if (now_at := watched.execute("PRAGMA data_version").fetchone()) != seen:
        seen, canary = now_at, canaries.open(model)
        if canary is None or canary.state is not CanaryState.RUNNING:
            break
    time.sleep(0.001)
try:
    registry.promote(
        model, int(version), who="ada", why="by hand", now=datetime.fromisoformat(now), expected_current=int(expected)
    )
except PromotionRefusedError as refusal:
    print("refused:", refusal)
else:
    print("won")
"""


def champion(ws: Workspace) -> int:
    found = ws.registry.alias(MODEL, "champion")
    assert found is not None
    return found.version


def rivals(ws: Workspace) -> tuple[int, int]:
    """The challenger and the simple version that serves before it."""
    better, simple = (trained_version(ws, ws.pin(), MODEL, kind).version for kind in KINDS[MODEL])
    return better, simple


def moves(ws: Workspace) -> list[dict[str, object]]:
    return ws.registry.alias_history(MODEL).filter(alias="champion").to_dicts()


def alerts(ws: Workspace) -> list[str]:
    return AlertRepository(ws.database).alerts()["dedup_key"].to_list()


def deployment(agency: Agency, folder: Path) -> Settings:
    """The agency with its simple version serving. Nothing is left to ingest or to monitor, so that the queue is the release's alone."""
    settings = agency.copy(folder)
    shutil.rmtree(settings.landing)
    with Workspace.open(settings) as ws:
        MonitoringRepository(ws.database).save([MonitorFinding("data_drift", MODEL, LAST_DAY, DriftState.STABLE)], generated_at=NOW)
        _, simple = rivals(ws)
        if champion(ws) != simple:
            ws.registry.promote(MODEL, simple, who="test", why="the simple rival serves", now=NOW, expected_current=champion(ws))
    return settings


def ask_for_training(settings: Settings) -> None:
    asked = CliRunner().invoke(cli.app, ["--home", str(settings.home), "retrain", MODEL, "--why", "a better one is wanted", "--who", "ada"])
    assert asked.exit_code == 0, asked.output


def ended(settings: Settings, job: str) -> list[dg.DagsterRun]:
    """Runs of a job that a sensor has asked for and that have ended."""
    return [run for run in runs_of(settings, job) if "dagster/sensor_name" in run.tags and run.is_finished]


def busy(settings: Settings) -> bool:
    return not all(run.is_finished for run in runs_of(settings, "advance_canary"))


def retrained(running: Daemon) -> dg.DagsterRun:
    running.wait_until(lambda ws: bool(ended(running.settings, f"retrain_{MODEL}")))
    (run,) = ended(running.settings, f"retrain_{MODEL}")
    assert run.status is dg.DagsterRunStatus.SUCCESS
    assert run.tags["dagster/sensor_name"] == "drift_sensor"
    return run


def record(settings: Settings, *, useful: float, day: int) -> None:
    with Workspace.open(settings) as ws:
        record_canary_outcomes(ws, MODEL, online(CanaryRepository(ws.database).latest(MODEL), useful=useful, day=day))


@pytest.fixture(scope="module")
def tried(agency: Agency, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The deployment on the day after the daemon has followed a request: the better version passed its gates, and its declared canary did
    well in its first stage."""
    settings = deployment(agency, tmp_path_factory.mktemp("tried") / "home")
    settings.releases.write_text(DECLARED)
    ask_for_training(settings)
    with daemon(settings, now=NOW) as running:
        running.wait_until(lambda ws: CanaryRepository(ws.database).open(MODEL) is not None)
        with Workspace.open(settings) as ws:
            begun = CanaryRepository(ws.database).latest(MODEL)
        record(settings, useful=0.62, day=1)
        running.set_clock(DAY_1)
        retrained(running)
        running.wait_until(lambda ws: CanaryRepository(ws.database).latest(MODEL).share == 0.5 and not busy(settings))
    with Workspace.open(settings) as ws:
        better, simple = rivals(ws)
        assert (begun.spec.version, begun.state, begun.share) == (better, CanaryState.RUNNING, 0.2)
        assert champion(ws) == simple
        assert {alias: ws.registry.alias(MODEL, alias).version for alias in ("challenger", "shadow", "canary")} == dict.fromkeys(  # type: ignore[union-attr]
            ("challenger", "shadow", "canary"), better
        )
    return settings


@pytest.fixture
def trying(tried: Settings, tmp_path: Path) -> Settings:
    """A deployment of its own in that state."""
    shutil.copytree(tried.home, tmp_path / "home")
    return Settings(home=tmp_path / "home")


def test_a_worse_challenger_is_stopped_at_the_golden_set(agency: Agency, tmp_path: Path) -> None:
    settings = deployment(agency, tmp_path / "home")
    with Workspace.open(settings) as ws:
        series = feature_table(ws, ws.pin(), MODEL).filter(pl.col("metric") == "spend")
        platform, account, day = series.sort("account_id", "timestamp").select("platform", "account_id", "timestamp").row(-30)
        case = series_incident(ws, platform=platform, account_id=account, metric="spend", day=day, note="seen by the client", most=1e-12)
        change_golden_set(ws, add=[case], reason="a client saw it first", who="ada", now=NOW)
        before = moves(ws)
    ask_for_training(settings)
    gates = f"check/{MODEL}_evaluation/{MODEL}_gates"
    with daemon(settings, now=NOW) as running:
        retrained(running)
        running.wait_until(lambda ws: gates in alerts(ws))
    with Workspace.open(settings) as ws:
        better, simple = rivals(ws)
        version = ws.registry.get(MODEL, better)
        verdicts = ws.registry.verdicts(version.model_sha256, version.data_version)
        (missing,) = missing_gates(MODEL, verdicts)
        assert case.id in missing
        assert case.id in [verdict for verdict in verdicts if verdict.gate == "golden_sample"][-1].reason
        assert champion(ws) == simple
        assert moves(ws) == before
        # It answers nobody, not even beside.
        assert all(ws.registry.alias(MODEL, alias) is None for alias in ("challenger", "shadow", "canary"))


def steps(settings: Settings) -> list[dg.DagsterRun]:
    """The canary's runs, oldest first: each asked for by its sensor, each for a state of its own, and none has failed."""
    found = list(reversed(runs_of(settings, "advance_canary")))
    assert {run.tags["dagster/sensor_name"] for run in found} == {"canary_sensor"}
    assert len({run.tags["dagster/run_key"] for run in found}) == len(found)
    assert {run.status for run in found} == {dg.DagsterRunStatus.SUCCESS}
    return found


def settled(running: Daemon) -> CanaryRecord:
    """The canary when it has come to its end and so has the run that ended it."""
    running.wait_until(lambda ws: CanaryRepository(ws.database).open(MODEL) is None and not busy(running.settings))
    with Workspace.open(running.settings) as ws:
        return CanaryRepository(ws.database).latest(MODEL)


def test_a_better_challenger_reaches_champion_stage_by_stage(trying: Settings) -> None:
    with Workspace.open(trying) as ws:
        before = moves(ws)
    with daemon(trying, now=DAY_1) as running:
        record(trying, useful=0.62, day=2)
        running.set_clock(DAY_2)
        canary = settled(running)
    assert canary.state is CanaryState.PROMOTED
    last = steps(trying)[-1]
    with Workspace.open(trying) as ws:
        better, simple = rivals(ws)
        shares = [move.share for move in CanaryRepository(ws.database).moves(canary)]
        assert list(dict.fromkeys(shares)) == [0.2, 0.5, 0.0]
        (move,) = moves(ws)[len(before) :]
        assert (move["from_version"], move["to_version"], move["who"]) == (simple, better, f"dagster run {last.run_id[:8]}")
        assert str(move["why"]).startswith("canary: ")
        # Who served before answers beside now, so that the gain is seen.
        serving = {alias: getattr(ws.registry.alias(MODEL, alias), "version", None) for alias in ("champion", "shadow", "canary")}
        assert serving == {"champion": better, "shadow": simple, "canary": None}
    # What the daemon did is on the instance as lineage: from the training's entry to the decision and to who serves.
    made_by = {f"{MODEL}_registry_entry": f"retrain_{MODEL}", "canary_decision": "advance_canary", "champion": "advance_canary"}
    with dg.DagsterInstance.from_config(str(trying.home / "dagster")) as instance:
        for asset, job in made_by.items():
            event = instance.get_latest_materialization_event(dg.AssetKey(asset))
            assert event is not None
            assert event.run_id == runs_of(trying, job)[0].run_id


def test_one_that_is_good_offline_and_bad_online_is_rolled_back(trying: Settings) -> None:
    with Workspace.open(trying) as ws:
        before = moves(ws)
    with daemon(trying, now=DAY_1) as running:
        record(trying, useful=0.3, day=2)
        running.set_clock(DAY_2)
        canary = settled(running)
        # It is not tried again by itself: a whole tick of the sensor later it finds nothing to do.
        told = len(running.log.read_text())
        running.wait_until(lambda _: "Sensor canary_sensor skipped: No canary has a step to take." in running.log.read_text()[told:])
    assert canary.state is CanaryState.ROLLED_BACK
    assert "useful lost beyond chance" in canary.reason
    steps(trying)
    with Workspace.open(trying) as ws:
        assert f"canary/{MODEL}" in alerts(ws)
        assert moves(ws) == before
        assert ws.registry.alias(MODEL, "canary") is None
        assert len(CanaryRepository(ws.database).canaries(MODEL)) == 1


def test_of_two_promotions_at_once_one_wins_and_the_other_is_told(trying: Settings) -> None:
    with Workspace.open(trying) as ws:
        better, simple = rivals(ws)
        before = moves(ws)
        # The same artifact from another training: another version, with the same verdicts.
        other = ws.registry.register(replace(ws.registry.get(MODEL, better), training_fingerprint="another training")).version
    assert other not in {better, simple}
    record(trying, useful=0.62, day=2)
    rival = subprocess.Popen(
        [sys.executable, "-c", RIVAL, trying.database, MODEL, DAY_2.isoformat(), str(other), str(simple)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    try:
        with daemon(trying, now=DAY_2) as running:
            canary = settled(running)
        said, _ = rival.communicate(timeout=60)
    finally:
        rival.kill()
        rival.wait()
    steps(trying)
    with Workspace.open(trying) as ws:
        (move,) = moves(ws)[len(before) :]
        assert move["from_version"] == simple
        assert champion(ws) == move["to_version"]
        refusal = f"champion of {MODEL} is v{move['to_version']}, not v{simple} as expected"
        if move["who"] == "ada":
            assert said.strip() == "won"
            assert move["to_version"] == other
            assert canary.state is CanaryState.ROLLED_BACK
            assert refusal in canary.reason
            assert f"canary/{MODEL}" in alerts(ws)
        else:
            assert move["to_version"] == better
            assert canary.state is CanaryState.PROMOTED
            assert refusal in said
