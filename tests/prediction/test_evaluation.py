"""An evaluation survives JSON."""

from __future__ import annotations

import json
from datetime import date

import polars as pl

from within_pipelines.prediction import Evaluation
from within_pipelines.stats import Estimate


def test_an_evaluation_comes_back_from_json_as_it_was() -> None:
    half = Estimate(0.5, 0.4, 0.6, n=12)
    written = Evaluation(
        "ad_score", "stack", "accuracy", True, {"accuracy": half}, "longer_headline", {"accuracy": half}, half, {"ads": 40},
        date(2026, 1, 1), date(2026, 2, 1), {"reliability": pl.DataFrame({"bin": [0, 1], "observed": [None, 0.5]})},
    )  # fmt: skip
    again = Evaluation.from_dict(json.loads(json.dumps(written.to_dict())))
    assert again.tables["reliability"].equals(written.tables["reliability"])
    assert again.to_dict() == written.to_dict()
    assert again.metrics["accuracy"] == half
    assert again.first_day == date(2026, 1, 1)
