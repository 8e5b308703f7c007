from __future__ import annotations

import shutil
from collections import namedtuple
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import pytest

from within_pipelines.database import Database
from within_pipelines.pipeline import Workspace
from within_pipelines.pipeline.doctor import Finding, diagnose
from within_pipelines.prediction import write_artifact
from within_pipelines.registry import POLICY_VERSION, REQUIRED_GATES, ModelVersion
from within_pipelines.settings import Settings
from within_pipelines.stats import Status, Verdict

NOW = datetime(2026, 11, 23, 6, 15, tzinfo=UTC)
Usage = namedtuple("Usage", "total used free")


def found(settings: Settings, environ: dict[str, str] | None = None) -> dict[str, Finding]:
    return {finding.name: finding for finding in diagnose(settings, environ=environ or {})}


def champion(ws: Workspace) -> ModelVersion:
    folder = ws.settings.artifacts / "scratch"
    sha256 = write_artifact(folder, {"model.json": b"{}"}, {"model": "ad_score"})
    version = ws.registry.register(
        ModelVersion("ad_score", 0, "longer_headline", sha256, ws.artifacts.put("ad_score", folder), "d", NOW, 1, "s", "f", 7, NOW)
    )
    ws.registry.record_verdicts(
        Verdict(gate, Status.PASSED, None, None, {}, "fine").bind(model_sha256=sha256, data_version="d", policy_version=POLICY_VERSION)
        for gate in REQUIRED_GATES["ad_score"]
    )
    ws.registry.promote("ad_score", version.version, who="test", why="test", now=NOW, expected_current=None)
    return version


def test_a_fresh_machine_lacks_things_but_nothing_is_broken_or_created(tmp_path: Path) -> None:
    home = tmp_path / "home"
    states = {name: finding.state for name, finding in found(Settings(home=home)).items()}
    assert states["python"] == states["packages"] == "ok"
    assert {states[name] for name in ("home", "landing", "lake", "database")} == {"missing"}
    assert "broken" not in states.values()
    assert not home.exists()
    assert all(finding.next_step for finding in found(Settings(home=home)).values() if finding.state != "ok")


def test_a_champion_is_verified_file_by_file(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    with Workspace.open(settings) as ws:
        version = champion(ws)
    findings = found(settings)
    assert findings["database"].state == "ok"
    assert findings["champion ad_score"] == Finding("champion ad_score", "ok", "v1 longer_headline, artifact verified")
    assert findings["champion anomaly"].state == "missing"
    (settings.artifacts / version.artifact / "model.json").write_text("{ }")
    assert found(settings)["champion ad_score"].state == "broken"


def test_landing_and_lake_are_counted(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    settings.landing.mkdir()
    (settings.landing / "a.csv").write_text("x")
    Path(settings.lake).mkdir()
    findings = found(settings)
    assert findings["landing"].detail == f"1 files in {settings.landing}"
    assert findings["lake"] == Finding("lake", "missing", "nothing has been ingested", "`within ingest` or `within run`")


def test_a_damaged_lake_is_broken(tmp_path: Path) -> None:
    log = tmp_path / "lake" / "ingest_log" / "_delta_log"
    log.mkdir(parents=True)
    (log / "00000000000000000000.json").write_text("not a delta log\n")
    assert found(Settings(home=tmp_path))["lake"].state == "broken"


def test_an_unreachable_database_is_broken_and_its_password_stays_hidden(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, database_url="postgresql://me:s3cret@127.0.0.1:1/within")
    findings = found(settings)
    assert findings["database"].state == "broken"
    assert "s3cret" not in repr(findings)


def test_a_database_of_an_unknown_kind_is_broken(tmp_path: Path) -> None:
    finding = found(Settings(home=tmp_path, database_url="mysql://me:s3cret@host/x"))["database"]
    assert finding.state == "broken"
    assert "s3cret" not in repr(finding)


def test_the_schema_is_compared_with_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(home=tmp_path)
    (tmp_path / "within.db").touch()
    assert found(settings)["database"].state == "missing", "an empty database has no tables"
    with Workspace.open(settings):
        pass
    for newest, state in (("9999", "warning"), ("0000", "broken")):
        monkeypatch.setattr(Database, "newest_revision", staticmethod(lambda newest=newest: newest))
        assert found(settings)["database"].state == state


def test_a_home_that_cannot_be_used_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    assert found(Settings(home=tmp_path / "file" / "below"))["home"].state == "broken"

    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    assert found(Settings(home=tmp_path))["home"].detail == f"cannot write to {tmp_path}: Permission denied"


@pytest.mark.parametrize(("value", "state"), [("", "warning"), ("relative/path", "broken"), ("/nonexistent/dagster", "missing")])
def test_dagster_home_must_be_absolute(tmp_path: Path, value: str, state: str) -> None:
    assert found(Settings(home=tmp_path), {"DAGSTER_HOME": value})["DAGSTER_HOME"].state == state
    (tmp_path / "dagster.yaml").touch()
    assert found(Settings(home=tmp_path), {"DAGSTER_HOME": str(tmp_path)})["DAGSTER_HOME"].state == "ok"


@pytest.mark.parametrize(("free", "state"), [(100 * 1024**2, "broken"), (1024**3, "warning"), (9 * 1024**3, "ok")])
def test_a_full_disk_is_seen_before_it_stops_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, state: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(free * 2, free, free))
    assert found(Settings(home=tmp_path))["disk"].state == state


def test_absent_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.version

    def version(name: str) -> str:
        if name in {"xgboost", "alibi-detect"}:
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    findings = found(Settings(home=tmp_path))
    assert findings["packages"] == Finding("packages", "broken", "not installed: xgboost", "run `make install`")
    assert findings["extra alibi"].state == "missing", "an optional package breaks nothing"


def test_a_new_python_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.version_info", (3, 15, 0, "final", 0))
    assert found(Settings(home=tmp_path))["python"].state == "warning"
