"""From a training set to a fitted artifact and its evaluation; nothing is fitted or evaluated twice for the same inputs."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from within_pipelines.exceptions import ModelNotFoundError
from within_pipelines.files import write_text
from within_pipelines.pipeline.tables import code_version, fingerprint_of, training_fingerprint, training_set
from within_pipelines.pipeline.workspace import Pin, Workspace

if TYPE_CHECKING:
    import polars as pl

    from within_pipelines.database import TrainingRun
    from within_pipelines.prediction import AccountHealthPredictor, AdScorePredictor, AnomalyDetector, Evaluation
    from within_pipelines.registry import ModelVersion

    Predictor = AdScorePredictor | AccountHealthPredictor | AnomalyDetector

MODELS: tuple[str, ...] = ("ad_score", "account_health", "anomaly")
# The challenger first, then the simple rival that it has to beat; both are registered, either may serve.
KINDS: Mapping[str, tuple[str, str]] = {
    "ad_score": ("stack", "longer_headline"),
    "account_health": ("logistic_xgboost", "persistence"),
    "anomaly": ("ensemble_tail", "trailing_z"),
}


@dataclass(frozen=True, slots=True)
class Trained:
    """One fitted and stored version; `cached` when the same inputs had already produced it."""

    version: ModelVersion
    cached: bool


def _training_key(ws: Workspace, pin: Pin, model: str, kind: str, *, plain: bool = False) -> str:
    from within_pipelines.prediction.encoder import find_encoder

    # Other weights, layers or precision make another ad-score model of the same rows.
    found = find_encoder() if model == "ad_score" and kind == KINDS[model][0] else None
    encoder = {} if found is None else {"encoder": found.sha256}
    aim = None if plain else _objective(ws, model, kind)
    objective = {} if aim is None else {"objective": list(aim)}
    return fingerprint_of(training_set=training_fingerprint(pin, model), kind=kind, seed=ws.settings.seed, **encoder, **objective)


def _objective(ws: Workspace, model: str, kind: str) -> tuple[str, float] | None:
    """(name, strength) of what the settings ask this kind to be trained for beside its own loss; None for nothing."""
    from within_pipelines.pipeline.objectives import objective_strength

    name = ws.settings.ad_score_objective
    if name == "plain" or model != "ad_score" or kind != KINDS[model][0]:
        return None
    return name, objective_strength(name, ws.settings.ad_score_objective_strength)


def _bought(ws: Workspace, pin: Pin, predictor: Predictor, rows: pl.DataFrame, aim: tuple[str, float] | None) -> dict[str, Any]:
    """The objective that `predictor` was trained with, and what it does beside a version trained on the same rows without."""
    if aim is None:
        return {}
    from within_pipelines.pipeline.objectives import STRENGTHS, objective_costs

    told = {"objective": f"{aim[0]} ({STRENGTHS[aim[0]][0]}: {aim[1]:g})"}
    version = ws.registry.by_fingerprint("ad_score", _training_key(ws, pin, "ad_score", KINDS["ad_score"][0], plain=True))
    if version is not None and ws.artifacts.verify(version):
        plain = load_version(ws, version)
    else:
        plain = _fit("ad_score", KINDS["ad_score"][0], rows, seed=ws.settings.seed, threads=ws.settings.threads)
    rng = np.random.default_rng([ws.settings.seed, 23])
    costs = objective_costs(cast("Any", plain), cast("Any", predictor), held_back_rows(ws, pin, "ad_score"), rng=rng)
    return {**told, "objective_costs": costs.to_dicts()}


def _fit(model: str, kind: str, rows: pl.DataFrame, *, seed: int, threads: int, aim: tuple[str, float] | None = None) -> Predictor:
    from within_pipelines import prediction
    from within_pipelines.pipeline.objectives import objective_of

    if model == "ad_score":
        objective = None if aim is None else objective_of(*aim)
        return prediction.train_ad_score(rows, seed=seed, threads=threads, kind=kind, objective=objective)
    if model == "account_health":
        return prediction.train_account_health(rows, seed=seed, threads=threads, kind=kind)
    return prediction.train_anomaly(rows, seed=seed, kind=kind)


def load_version(ws: Workspace, version: ModelVersion) -> Predictor:
    """Load a registered version after checking every hash of its artifact.

    Raises `ArtifactError` when a file is missing or was changed."""
    from within_pipelines import prediction

    classes: dict[str, Any] = {
        "ad_score": prediction.AdScorePredictor,
        "account_health": prediction.AccountHealthPredictor,
        "anomaly": prediction.AnomalyDetector,
    }
    return cast("Predictor", classes[version.model].load(ws.artifacts.folder(version)))


def train(ws: Workspace, pin: Pin, model: str, kind: str, *, now: datetime) -> Trained:
    """Fit `kind` of `model` on the training set of `pin`, store the artifact, register the version.

    The artifact is bit-equal for the same pin, code and seed, so a repeated call returns the version that exists."""
    from within_pipelines.database import TrainingRun, TrainingRunRepository
    from within_pipelines.registry import ModelVersion

    key = _training_key(ws, pin, model, kind)
    # Imported here: the reference reads the rows that this module provides.
    from within_pipelines.pipeline.drift_reference import STORE, keep_reference, restore_reference

    existing = ws.registry.by_fingerprint(model, key)
    if existing is not None and ws.artifacts.verify(existing):
        restore_reference(ws, pin, existing, lambda: load_version(ws, existing))
        return Trained(existing, cached=True)
    rows = training_set(ws, pin, model)
    started = time.process_time()
    aim = _objective(ws, model, kind)
    predictor = _fit(model, kind, rows, seed=ws.settings.seed, threads=ws.settings.threads, aim=aim)
    cpu_seconds = time.process_time() - started
    details = {**getattr(predictor, "details", {}), **_bought(ws, pin, predictor, rows, aim)}
    ws.settings.artifacts.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ws.settings.artifacts, prefix=".within-tmp-") as scratch:
        folder = Path(scratch) / "model"
        model_sha256 = predictor.save(folder)
        artifact = ws.artifacts.put(model, folder)
    reference = keep_reference(ws, pin, model, predictor)
    version = ws.registry.register(
        ModelVersion(
            model=model,
            version=0,
            kind=kind,
            model_sha256=model_sha256,
            artifact=artifact,
            data_version=pin.data_version,
            as_of=pin.as_of,
            commit_seq=pin.commit_seq,
            spec_sha256=training_fingerprint(pin, model),
            training_fingerprint=key,
            seed=ws.settings.seed,
            trained_at=now,
            metrics={},
            baseline_metrics={},
            code_version=code_version(),
            evaluation={"details": {**details, STORE: reference}},
        )
    )
    TrainingRunRepository(ws.database).record(
        TrainingRun(
            model=model,
            version=version.version,
            kind=kind,
            params={
                "seed": ws.settings.seed,
                "kind": kind,
                "rows": rows.height,
                "columns": rows.width,
                **details,
            },
            metrics={},
            curves=getattr(predictor, "curves", {}),
            data_version=pin.data_version,
            code_version=code_version(),
            cpu_seconds=cpu_seconds,
            started_at=now,
        )
    )
    return Trained(version, cached=False)


def training_run(ws: Workspace, version: ModelVersion) -> TrainingRun | None:
    """What was recorded when `version` was fitted: parameters, learning curves, CPU; None for a version from elsewhere."""
    from within_pipelines.database import TrainingRunRepository

    runs = [run for run in TrainingRunRepository(ws.database).runs(version.model) if run.version == version.version]
    return runs[-1] if runs else None


def trained_version(ws: Workspace, pin: Pin, model: str, kind: str) -> ModelVersion:
    """The registered version of `kind` for this pin.

    Raises `ModelNotFoundError` when it has not been trained."""
    version = ws.registry.by_fingerprint(model, _training_key(ws, pin, model, kind))
    if version is None:
        raise ModelNotFoundError(f"No {kind} version of {model} exists for this state of the lake; materialize {model}_model first.")
    return version


def _evaluation_path(ws: Workspace, pin: Pin, version: ModelVersion, against: ModelVersion) -> Path:
    # What is measured depends on the code that measures and on its seed, not on the two artifacts alone.
    judged = fingerprint_of(data=pin.data_version, code=code_version(), seed=ws.settings.seed)[:16]
    return ws.reports / f"{version.model}-{version.model_sha256[:16]}-vs-{against.model_sha256[:16]}-{judged}.json"


def evaluate(ws: Workspace, pin: Pin, version: ModelVersion, against: ModelVersion) -> Evaluation:
    """Evaluate `version` beside `against` on the newest part of the training set, which neither has been fitted on.

    The result is kept as JSON and read back when the same pair was evaluated on the same data before."""
    from within_pipelines import prediction

    path = _evaluation_path(ws, pin, version, against)
    if path.is_file():
        return prediction.Evaluation.from_dict(json.loads(path.read_text()))
    test = held_back_rows(ws, pin, version.model)
    rng = np.random.default_rng([ws.settings.seed, 20])
    candidate: Any = load_version(ws, version)
    rival: Any = load_version(ws, against)
    evaluators: dict[str, Any] = {
        "ad_score": prediction.evaluate_ad_score,
        "account_health": prediction.evaluate_account_health,
        "anomaly": prediction.evaluate_anomaly,
    }
    evaluation: Evaluation = evaluators[version.model](candidate, rival, test, rng=rng)
    write_text(path, json.dumps(evaluation.to_dict(), sort_keys=True, indent=1))
    return evaluation


def held_back_rows(ws: Workspace, pin: Pin, model: str) -> pl.DataFrame:
    """The newest part of the training set, on which no version of `model` for this pin was fitted."""
    from within_pipelines import prediction

    splits: dict[str, Any] = {
        "ad_score": prediction.split_ad_score,
        "account_health": prediction.split_account_health,
        "anomaly": prediction.split_anomaly,
    }
    test: pl.DataFrame = splits[model](training_set(ws, pin, model))[-1]
    return test
