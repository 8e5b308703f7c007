"""The mirror holds every run and version once, however often and however badly it is made."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from within_pipelines import cli
from within_pipelines.database import TrainingRun, TrainingRunRepository
from within_pipelines.exceptions import SettingsError
from within_pipelines.pipeline import Workspace, mirror_registry, open_tracker
from within_pipelines.pipeline.mlflow_mirror import KEY, Mirrored, MirroredRun, MirroredVersion, mirrored_run
from within_pipelines.registry import ModelVersion
from within_pipelines.settings import Settings

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)


@dataclass
class Fake:
    """A tracking server in memory; it stops working after `works` runs."""

    kept: dict[str, dict[str, MirroredRun]] = field(default_factory=dict)
    models: dict[str, dict[str, str | None]] = field(default_factory=dict)
    works: int = 100

    def runs(self, experiment: str) -> Mapping[str, str]:
        return {key: f"id of {key}" for key in self.kept.get(experiment, {})}

    def add_run(self, experiment: str, run: MirroredRun) -> str:
        if self.works == 0:
            raise ConnectionError("The server is away.")
        self.works -= 1
        assert run.key not in self.kept.setdefault(experiment, {})
        self.kept[experiment][run.key] = run
        return f"id of {run.key}"

    def versions(self, model: str) -> frozenset[str]:
        return frozenset(self.models.get(model, {}))

    def add_version(self, model: str, version: MirroredVersion, *, run_id: str | None) -> None:
        assert version.key not in self.models.setdefault(model, {})
        self.models[model][version.key] = run_id


def run_of(version: int) -> TrainingRun:
    return TrainingRun(
        model="ad_score", version=version, kind="stack", params={"alpha": 0.5, "words": ["w" * 30] * 100, "name": "ridge"},
        metrics={"log_loss": {"value": 0.5, "low": 0.4, "n": 100, "note": "text", "nothing": float("nan")}},
        curves={"network": [0.9, 0.7], "history": {"x": [30, 60], "y": [0.6, 0.5], "x_label": "rows", "y_label": "loss"}},
        data_version="d" * 64, code_version="c", cpu_seconds=2.5, started_at=NOW.replace(minute=version),
    )  # fmt: skip


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    with Workspace.open(Settings(home=tmp_path / "home")) as opened:
        for number, letter in enumerate("ab", start=1):
            opened.registry.register(
                ModelVersion(
                    model="ad_score", version=0, kind="stack", model_sha256=letter * 64, artifact=f"ad_score/{letter}",
                    data_version="d" * 64, as_of=NOW, commit_seq=1, spec_sha256="s" * 64, training_fingerprint=letter * 64, seed=7,
                    trained_at=NOW,
                )
            )  # fmt: skip
            TrainingRunRepository(opened.database).record(run_of(number))
        yield opened


def test_a_second_call_adds_nothing_and_a_new_run_only_itself(ws: Workspace) -> None:
    fake = Fake()
    assert mirror_registry(ws, fake) == Mirrored(2, 2, 0, 0)
    assert mirror_registry(ws, fake) == Mirrored(0, 0, 2, 2)
    TrainingRunRepository(ws.database).record(run_of(3))
    assert mirror_registry(ws, fake) == Mirrored(1, 0, 2, 2)
    runs = fake.kept["within/ad_score"]
    assert fake.models["within-ad_score"] == {
        f"v{number}/{letter * 64}": f"id of {next(key for key in runs if f'/v{number}/' in key)}" for number, letter in ((1, "a"), (2, "b"))
    }


def test_a_mirror_that_was_cut_short_is_finished(ws: Workspace) -> None:
    fake = Fake(works=1)
    with pytest.raises(ConnectionError):
        mirror_registry(ws, fake)
    fake.works = 100
    assert mirror_registry(ws, fake) == Mirrored(1, 2, 1, 0)


def test_numbers_keep_their_values_and_no_text_is_cut() -> None:
    found = mirrored_run(run_of(1))
    assert set(found.metrics) == {
        ("log_loss.value", 0.5, 0), ("log_loss.low", 0.4, 0), ("log_loss.n", 100.0, 0), ("curve.network", 0.9, 0),
        ("curve.network", 0.7, 1), ("curve.history", 0.6, 30), ("curve.history", 0.5, 60), ("cpu_seconds", 2.5, 0),
    }  # fmt: skip
    assert (found.params["alpha"], found.params["name"]) == ("0.5", "ridge")
    assert found.params["words"].startswith("sha256:")
    assert len(found.params["words"]) < 120


def test_without_mlflow_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(SettingsError, match=r"within-pipelines\[mlflow\]"):
        open_tracker("http://127.0.0.1:1")
    result = CliRunner().invoke(cli.app, ["--home", str(tmp_path), "registry", "mirror", "--to", "http://127.0.0.1:1"])
    assert isinstance(result.exception, SettingsError)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="the extra mlflow is not installed")
@pytest.mark.filterwarnings("ignore")
def test_mlflow_itself_holds_what_was_mirrored_once(ws: Workspace, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert mirror_registry(ws, open_tracker(uri)) == Mirrored(2, 2, 0, 0)
    assert mirror_registry(ws, open_tracker(uri)) == Mirrored(0, 0, 2, 2)
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    experiment = client.get_experiment_by_name("within/ad_score")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 2
    first = next(run for run in runs if run.data.tags["version"] == "1")
    assert first.info.status == "FINISHED"
    assert first.data.metrics["log_loss.value"] == 0.5
    assert first.data.params["alpha"] == "0.5"
    assert [point.value for point in client.get_metric_history(first.info.run_id, "curve.network")] == [0.9, 0.7]
    versions = client.search_model_versions("name='within-ad_score'")
    assert {version.tags[KEY] for version in versions} == {f"v1/{'a' * 64}", f"v2/{'b' * 64}"}
    assert next(version.run_id for version in versions if version.tags["version"] == "1") == first.info.run_id
