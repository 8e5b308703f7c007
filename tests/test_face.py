"""The public face: the founding document's examples run as written, and importing it is cheap."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import within_pipelines
from within_pipelines.exceptions import NotFittedError
from within_pipelines.prediction import set_champion_source

HEAVY = "torch xgboost shap great_expectations alibi_detect sklearn pandas polars sqlalchemy dagster scipy matplotlib".split()  # noqa: SIM905
PREDICTORS = """
from within_pipelines import get_ad_score_predictor, get_health_predictor

# Initialize ad score predictor
ad_predictor_class = get_ad_score_predictor()
ad_predictor = ad_predictor_class()

# Train the model
ad_predictor.fit(ad_training_data, ad_training_labels)

# Make predictions
ad_scores = ad_predictor.predict(new_ads_data)

# Initialize health predictor
health_predictor_class = get_health_predictor()
health_predictor = health_predictor_class()
"""
ASSESSMENT = """
# Get account health assessment
health_metrics = health_predictor.predict(account_data)
"""
ANOMALIES = """
from within_pipelines import get_anomaly_detector

# Initialize anomaly detector
detector_class = get_anomaly_detector()
detector = detector_class(sensitivity=0.95)

# Train detector on normal data
detector.fit(normal_performance_data)

# Detect anomalies in new data
anomalies = detector.detect(new_performance_data)
if anomalies:
    print(f"Found {len(anomalies)} anomalies")
    for anomaly in anomalies:
        print(f"Anomaly detected: {anomaly['metric']} at {anomaly['timestamp']}")
"""
REGISTRY = r"""
from within_pipelines import MODEL_REGISTRY

# Get information about current models
for model_name, model_info in MODEL_REGISTRY.items():
    print(f"\nModel: {model_name}")
    print(f"Version: {model_info['version']}")
    print(f"Last trained: {model_info['last_trained']}")
    print("Performance metrics:")
    for metric_name, value in model_info['metrics'].items():
        print(f"  - {metric_name}: {value}")

# Check if a model needs retraining
from datetime import datetime
from dateutil.parser import parse

def needs_retraining(model_name, max_age_days=30):
    if model_name not in MODEL_REGISTRY:
        return True
        
    last_trained = parse(MODEL_REGISTRY[model_name]["last_trained"])
    age_days = (datetime.now() - last_trained).days
    return age_days > max_age_days

if needs_retraining("ad_score"):
    print("Ad score model needs retraining")
"""  # noqa: W293


@pytest.fixture(autouse=True)
def _empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("WITHIN_HOME", str(tmp_path / "home"))
    yield
    set_champion_source(None)


def run(source: str, **names: Any) -> dict[str, Any]:
    names["__name__"] = "example"
    exec(compile(source, "ORIGIN.md", "exec"), names)
    return names


def in_a_new_process(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_the_example_of_the_predictors_runs_with_pandas_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.prediction.worlds import creatives, daily_rows, feature_rows
    from within_pipelines.prediction import AccountHealthPredictor

    ads = creatives(30).to_pandas()
    names = run(
        PREDICTORS,
        ad_training_data=ads.drop(columns=["clicks", "truth"]),
        ad_training_labels=ads["clicks"] / ads["impressions"],
        new_ads_data=pd.DataFrame({"headline": ["Free coffee today", "Boring terms"]}),
    )
    free, boring = names["ad_scores"]
    assert free.score > 50 > boring.score
    account_data = daily_rows(2, days=60).to_pandas()
    with pytest.raises(NotFittedError, match=r"This account_health predictor.*`within run`"):
        run(ASSESSMENT, **(names | {"account_data": account_data}))

    AccountHealthPredictor().fit(feature_rows()).save(tmp_path / "champion")
    set_champion_source(SimpleNamespace(artifact_folder=lambda model: tmp_path / "champion"))
    reports = run(ASSESSMENT, **(names | {"account_data": account_data}))["health_metrics"]
    assert [report.state for report in reports] == ["scored", "scored"]
    assert reports.to_frame().height == 2


def test_the_example_of_the_detector_runs_with_pandas_data(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(3)
    spend = 100 * np.exp(0.1 * rng.standard_normal(150))
    spend[140] = 20
    frame = pd.DataFrame({"timestamp": pd.date_range("2026-01-01", periods=150), "spend": spend})
    run(ANOMALIES, normal_performance_data=frame[:120], new_performance_data=frame[120:])
    assert capsys.readouterr().out == "Found 1 anomalies\nAnomaly detected: spend at 2026-05-21 00:00:00\n"


def test_the_example_of_the_registry_runs_while_there_is_none_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names = run(REGISTRY)
    assert capsys.readouterr().out == "Ad score model needs retraining\n"
    assert len(names["MODEL_REGISTRY"]) == 0
    assert dict(names["MODEL_REGISTRY"]) == {}
    with pytest.raises(KeyError, match="ad_score"):
        names["MODEL_REGISTRY"]["ad_score"]
    assert list(tmp_path.rglob("*")) == [], "looking must not create a database"


class Store:
    """A registry that holds one ad-score version of a given age."""

    def __init__(self, age_days: int) -> None:
        metrics: Mapping[str, Any] = {"lift": {"value": 0.06, "low": 0.04, "high": 0.08, "n": 15, "level": 0.95}}
        self.version = SimpleNamespace(
            version=3, kind="stack", evaluation={}, trained_at=datetime.now(tz=UTC) - timedelta(days=age_days, hours=30), metrics=metrics,
            model_sha256="a" * 64, data_version="b" * 64,
        )  # fmt: skip

    def alias(self, model: str, name: str) -> Any:
        return self.version if (model, name) == ("ad_score", "champion") else None

    def versions(self, model: str) -> list[Any]:
        return [self.version] if model == "ad_score" else []


@pytest.mark.parametrize(("age", "told"), [(5, False), (40, True)])
def test_the_example_of_the_registry_tells_an_old_model_from_a_new_one(
    age: int, told: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from within_pipelines.registry import ModelRegistryView

    monkeypatch.setattr(within_pipelines, "MODEL_REGISTRY", ModelRegistryView(lambda: Store(age)))  # type: ignore[arg-type,return-value]
    names = run(REGISTRY)
    out = capsys.readouterr().out
    assert "\nModel: ad_score\nVersion: 3\nLast trained: 20" in out
    assert "Performance metrics:\n  - lift: 0.06\n" in out
    assert ("Ad score model needs retraining" in out) == told
    assert names["needs_retraining"]("account_health")


def test_the_registered_champion_answers_for_an_unfitted_predictor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from within_pipelines.database import Database
    from within_pipelines.settings import Settings

    settings = Settings()
    predictor = within_pipelines.get_ad_score_predictor()()
    with pytest.raises(ValueError, match="`within run`"):
        predictor.predict(pd.DataFrame({"headline": ["Free coffee"]}))
    Path(settings.database.removeprefix("sqlite:///")).parent.mkdir(parents=True)
    database = Database(settings.database)
    database.upgrade()
    database.dispose()
    assert len(within_pipelines.MODEL_REGISTRY) == 0
    with pytest.raises(ValueError, match="`within run`"):
        predictor.predict(pd.DataFrame({"headline": ["Free coffee"]}))


def test_importing_the_package_is_cheap_and_loads_nothing_heavy() -> None:
    code = (
        "import resource, sys\n"
        "def cpu(): u = resource.getrusage(resource.RUSAGE_SELF); return u.ru_utime + u.ru_stime\n"
        "before = cpu(); import within_pipelines; spent = cpu() - before\n"
        f"print(spent, [name for name in {HEAVY!r} if name in sys.modules])"
    )
    spent, loaded = in_a_new_process(code).split(" ", 1)
    assert loaded.strip() == "[]"
    assert float(spent) <= 0.3


def test_dir_shows_every_name_before_its_first_use_and_every_name_resolves() -> None:
    code = (
        "import within_pipelines as w; print(sorted(set(w.__all__) - set(dir(w))), [getattr(w, n) is None for n in w.__all__].count(True))"
    )
    assert in_a_new_process(code).strip() == "[] 0"
    assert sorted(within_pipelines.__all__) == sorted(set(within_pipelines.__all__))


def test_the_tables_are_those_of_the_database() -> None:
    from within_pipelines import database

    for name in ("BaseModel", "AdScoreModel", "AdScoreAnalysisModel", "AdAccountHealthModel", "PerformanceMetricModel"):
        assert getattr(within_pipelines, name) is getattr(database, name)


def test_factories_return_classes() -> None:
    from within_pipelines.prediction import AccountHealthPredictor, AdScorePredictor, AnomalyDetector

    assert within_pipelines.get_ad_score_predictor() is AdScorePredictor
    assert within_pipelines.get_health_predictor() is AccountHealthPredictor
    assert within_pipelines.get_anomaly_detector() is AnomalyDetector


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'within_pipelines' has no attribute 'ShinyPredictor'"):
        within_pipelines.ShinyPredictor  # noqa: B018
