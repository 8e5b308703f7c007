"""On real ads the benchmark runs end to end, keeps its contract and finds what it found when it was written."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "benchmarks" / "account_health.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    sys.path.insert(0, str(SCRIPT.parent))
    try:
        spec = importlib.util.spec_from_file_location("account_health_benchmark", SCRIPT)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(SCRIPT.parent))
    return module


@pytest.mark.slow
def test_drops_of_sales_per_cost_are_found_within_weeks(benchmark: ModuleType, public_data: Path) -> None:
    panel = next(p for p in benchmark.PANELS if p.name == "online_engagement")
    answers = benchmark.run(panel, panel.read(public_data), None, "conversions_per_cost", 0.2, 7)
    y, fold = np.concatenate(answers.y), np.concatenate(answers.fold)
    own, rival = (benchmark.within_fold(y, np.concatenate(answers.said[kind]), fold) for kind in ("logistic_xgboost", "persistence"))
    # A standard error of about .07; .90 would mean that the future leaked.
    assert 0.7 < own < 0.9
    assert own > rival + 0.05
    assert np.concatenate(answers.covered["logistic_xgboost"]).mean() > 0.8


@pytest.mark.slow
def test_what_is_fitted_comes_from_one_folder_and_what_is_judged_from_the_other(
    benchmark: ModuleType, public_data: Path, tmp_path: Path
) -> None:
    whole = pl.read_csv(public_data / "online_advertising.csv")
    late = (pl.col("month") == "June") | ((pl.col("month") == "May") & (pl.col("day") >= 25))
    for name, part in (("data", whole.filter(~late)), ("test", whole.filter(late))):
        (tmp_path / name).mkdir()
        part.write_csv(tmp_path / name / "online_advertising.csv")
    command = [sys.executable, str(SCRIPT), "--data", str(tmp_path / "data"), "--test-data", str(tmp_path / "test")]
    environment = {"PYTHONPATH": str(SCRIPT.parents[1]), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, "--json", str(tmp_path / "found.json")], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "found.json").read_text())
    for panel in ("online", "online_engagement"):
        for target in ("cpa", "roas"):
            for metric in ("auroc", "within_fold_auroc", "brier_skill", "coverage_90"):
                for prefix in ("", "persistence_"):
                    key = f"{prefix}{panel}_{target}_{metric}"
                    assert found[f"{key}_low"] <= found[key] <= found[f"{key}_high"]
    assert "adwords: no file in" in done.stdout
