"""One evaluation, one version and its verdicts, small enough to check by eye."""

from __future__ import annotations

from datetime import UTC, date, datetime

import polars as pl
import pytest

from within_pipelines.prediction import Evaluation
from within_pipelines.registry import ModelVersion
from within_pipelines.stats import Estimate, Status, Verdict


@pytest.fixture
def evaluation() -> Evaluation:
    return Evaluation(
        model="account_health",
        model_kind="logistic_xgboost",
        main_metric="brier_skill",
        higher_is_better=True,
        metrics={"auroc": Estimate(0.71, 0.66, 0.75, n=24), "brier_skill": Estimate(0.08, 0.05, 0.11, n=24),
                 "base_rate": Estimate(0.2, 0.1, 0.3, n=24)},
        baseline="persistence",
        baseline_metrics={"auroc": Estimate(0.64, 0.6, 0.68, n=24), "brier_skill": Estimate(0.03, 0.01, 0.05, n=24)},
        difference=Estimate(0.05, 0.02, 0.08, n=24),
        n={"rows": 900, "accounts": 24},
        first_day=date(2026, 9, 1),
        last_day=date(2026, 10, 30),
        tables={
            "reliability": pl.DataFrame({"bin": [1, 0, 2], "predicted": [0.2, 0.1, 0.5], "observed": [0.25, 0.08, 0.4], "n": [10, 20, 10]}),
            "tail_reliability": pl.DataFrame(
                {"nominal": [0.1, 0.01], "measured": [0.12, 0.0], "low": [0.1, 0.0], "high": [0.15, 0.004], "points": [900, 900]}
            ),
            "importance": pl.DataFrame({"feature": [f"feature_{i}" for i in range(30)], "importance": [1 / (i + 1) for i in range(30)]}),
        },
    )  # fmt: skip


@pytest.fixture
def verdicts() -> tuple[Verdict, ...]:
    return (
        Verdict("performance", Status.PASSED, Estimate(0.05, 0.02, 0.08, n=24), 0.0, {"units": 24}, "gain is 0.05: above 0."),
        Verdict("calibration", Status.INSUFFICIENT, Estimate(1.1, 0.1, 6.0, n=9), 1.0, {"units": 9}, "only 9 of 12 units"),
        Verdict("golden_sample", Status.FAILED, None, None, {}, "the answers | <changed>"),
    )


@pytest.fixture
def version() -> ModelVersion:
    return ModelVersion(
        model="account_health",
        version=3,
        kind="logistic_xgboost",
        model_sha256="ab" * 32,
        artifact="account_health/" + "ab" * 32,
        data_version="cd" * 32,
        as_of=datetime(2026, 11, 22, 5, 30, tzinfo=UTC),
        commit_seq=8,
        spec_sha256="ef" * 32,
        training_fingerprint="01" * 32,
        seed=7,
        trained_at=datetime(2026, 11, 23, 6, 15, tzinfo=UTC),
        metrics={"auroc": Estimate(0.71, 0.66, 0.75, n=24).to_dict(), "brier_skill": Estimate(0.08, 0.05, 0.11, n=24).to_dict()},
        baseline_metrics={"brier_skill": Estimate(0.03, 0.01, 0.05, n=24).to_dict()},
        main_metric="brier_skill",
        code_version="feed",
        evaluation={"first_day": "2026-09-01", "last_day": "2026-10-30"},
    )
